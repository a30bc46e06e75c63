"""The arguments and options that several commands have: one name, one help text, one reading of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from wherry.errors import UsageError
from wherry.model.platform import Platform

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The project's folder.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Locked = Annotated[bool, typer.Option("--locked", help="Fail if wherry.lock would have to change.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse a model that was made in another environment, not only warn.")]
PlainHttp = Annotated[bool, typer.Option("--plain-http", help="Speak http; for loopback that is the default.")]


def platform_option(purpose: str) -> Any:
    """``--platform``, once or several times; `purpose` such as ``Build for this platform``."""
    return typer.Option("--platform", metavar="OS/ARCH", help=f"{purpose}; may be given again.")


def parse_platforms(texts: Sequence[str] | None) -> tuple[Platform, ...]:
    return tuple(Platform.parse(text, "--platform") for text in texts or ())


def parse_tag(text: str | None) -> str | None:
    """What ``--tag`` says, completed; None where it is not given. A digest is no name that one may choose."""
    if text and "@" in text:
        raise UsageError(f"a digest cannot be chosen: {text!r}", where="--tag", hint="NAME:TAG, such as anomaly:latest")
    return complete_name(text) if text else None


def complete_name(text: str) -> str:
    """An image's name as the store has it: with a tag, ``latest`` where none is given."""
    return text if "@" in text or ":" in text.rpartition("/")[2] else f"{text}:latest"
