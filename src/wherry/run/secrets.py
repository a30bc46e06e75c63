"""Reads what a container is to know and nobody else: ``NAME=env:VARIABLE`` or ``NAME=file:PATH``, never the value itself.

The values go into variables of the container, without standing on any command line. A file's last line end is none of the value's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from wherry.errors import UsageError

_REFERENCE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(env|file):(.+)", re.DOTALL)
_HINT = "--secret NAME=env:VARIABLE, or NAME=file:PATH"
_MOUNT = "-v PATH:/run/secrets/NAME:ro"
_LIMIT = 64 << 10


def read_secrets(references: Iterable[str], folder: Path, env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Names and values; the last of one name counts. Relative paths are taken from `folder`. No error shows what was given."""
    values: dict[str, str] = {}
    for reference in references:
        found = _REFERENCE.fullmatch(reference)
        if not found:
            raise UsageError("not a reference to a secret", where="--secret", hint=_HINT)
        name, kind, place = found.groups()
        values[name] = _read_variable(place, env) if kind == "env" else _read_file(folder / place)
    return tuple(values.items())


def _read_variable(name: str, env: Mapping[str, str]) -> str:
    if name not in env:
        raise UsageError(f"no variable {name}", where="--secret", hint=f"export {name}=…")
    return env[name]


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT + 1)
        text = data.decode()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", where="--secret") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text: no variable can hold it", where="--secret", hint=_MOUNT) from error
    if len(data) > _LIMIT or "\0" in text:
        raise UsageError(f"{path} is nothing that a variable can hold", where="--secret", hint=_MOUNT)
    return text.removesuffix("\n").removesuffix("\r")
