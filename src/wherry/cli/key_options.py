"""The keys that a command signs with: their folders, and how their passphrases are asked for.

A passphrase comes from `WHERRY_PASSPHRASE`, else from a person at a terminal. It is never an option: others could see it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.errors import UsageError

if TYPE_CHECKING:
    from wherry.deliver.keys import Keys

ChannelFolder = Annotated[Path, typer.Argument(metavar="DIR", help="The channel's folder.", show_default=False)]
KeyFolders = Annotated[
    list[Path] | None,
    typer.Option(
        "--keys", metavar="DIR", help="A folder with keys, outside of the channel; may be given again.", show_default=False
    ),
]
_PASSPHRASE = "WHERRY_PASSPHRASE"  # noqa: S105 - the name of a variable
_FOLDERS = "WHERRY_KEYS"


def open_keys(folders: Sequence[Path] | None) -> Keys:
    """The keys in these folders, or in those that WHERRY_KEYS names."""
    # Lazily: cryptography is slow to load.
    from wherry.deliver.keys import Keys

    named = os.environ.get(_FOLDERS, "")
    return Keys(folders or [Path(name) for name in named.split(os.pathsep) if name], ask_passphrase)


def ask_passphrase(path: Path) -> str:
    """The passphrase of a key file."""
    given = os.environ.get(_PASSPHRASE)
    return _prompt(f"passphrase of {path.name}") if given is None else given


def ask_new_passphrase(role: str) -> str:
    """A passphrase for new keys; an empty one leaves them unprotected."""
    given = os.environ.get(_PASSPHRASE)
    if given is not None:
        return given
    first = _prompt(f"new passphrase for the keys of {role} (empty: none)")
    if first and _prompt("once more") != first:
        raise UsageError("the two passphrases differ")
    return first


def _prompt(text: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError(
            f"nobody is here to give the {text}", hint=f"{_PASSPHRASE}=… in the environment, or --no-passphrase for new keys"
        )
    return str(typer.prompt(text, hide_input=True, default="", show_default=False, err=True))
