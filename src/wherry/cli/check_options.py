"""The options of `wherry check` that say how large an image may be and how its report is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wherry.errors import UsageError
from wherry.formats.tariff import parse_size
from wherry.model.check_settings import SizeLimits

SizeBudget = Annotated[
    str | None, typer.Option("--size-budget", metavar="SIZE", help="An error if all layers, as stored, weigh more: 300MB.")
]
MaxLayer = Annotated[str | None, typer.Option("--max-layer", metavar="SIZE", help="An error if one layer, as stored, weighs more.")]
VerifyKey = Annotated[
    list[str] | None,
    typer.Option("--verify-key", metavar="KEY", help="Instead: verify signatures with this public key; may be given again."),
]
Slim = Annotated[bool, typer.Option("--slim", help="Also say which files could go, and what that saves.")]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also write it as a page for a browser, with sizes.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also show what wherry.toml silences, with the reasons.")]


def parse_limits(size_budget: str | None, max_layer: str | None) -> SizeLimits:
    return SizeLimits(budget=_parse_size(size_budget, "--size-budget"), layer=_parse_size(max_layer, "--max-layer"))


def _parse_size(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        size = parse_size(text)
    except ValueError:
        size = 0
    if size < 1:
        raise UsageError(f"{text!r} is no size", where=option, hint="such as 300MB")
    return size
