"""The words and options of `wherry check`, and how sizes among them are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wherry.errors import UsageError
from wherry.formats.tariff import parse_size
from wherry.model.check_settings import SizeLimits

Subject = Annotated[
    str | None,
    typer.Argument(metavar="SUBJECT", help="An image (name, digest, reference, archive), a folder or a wheel.", show_default=False),
]
Strict = Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")]
Files = Annotated[bool, typer.Option("--files", help="Also hold every file against RECORD, dpkg's lists and the lock.")]
WithFix = Annotated[bool, typer.Option("--fix", help="Of a project: write the remedies into its declaration, and lock.")]
Rebuild = Annotated[bool, typer.Option("--rebuild", help="Instead: build the image again from its sources alone, and compare.")]
Twins = Annotated[
    bool, typer.Option("--twins", help="Instead: whether the project's environment, image and kernels equal the lock.")
]
Host = Annotated[bool, typer.Option("--host", help="Instead: whether this machine can do what wherry asks of it.")]
Offline = Annotated[bool, typer.Option("--offline", help="Ask nothing of the network but a registry that is named.")]
Ignore = Annotated[
    list[str] | None, typer.Option("--ignore", metavar="RULE[:SUBJECT]", help="Leave out findings; may be given again.")
]
Explain = Annotated[str | None, typer.Option("--explain", metavar="RULE", help="Say what a rule means, and check nothing.")]
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
