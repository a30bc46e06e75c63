"""Changes a declaration in place: a Debian package more, a requirement in the place of another. What else stands there stays.

Only what can be done safely in the author's own text: a top-level ``system-packages`` of one array, and the name at the
beginning of a requirement's line. Each edit is read again and must say what was meant; otherwise nothing is written.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from packaging.utils import canonicalize_name

from wherry.errors import DeclarationError
from wherry.model.declaration import Requirement
from wherry.store.posix import write_atomically

_FILE = "wherry.toml"
_KEY = re.compile(r"^system-packages\s*=\s*\[(?P<items>[^\]]*)\]", re.MULTILINE)
_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)
_NAME = re.compile(r"(?P<indent>[\s\"']*)(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")


def add_system_packages(root: Path, packages: Iterable[str]) -> Path:
    """Name more Debian packages in the project's wherry.toml, which is made where there is none. Gives the file."""
    path = root / _FILE
    text = path.read_bytes().decode() if path.exists() else ""
    if not path.exists() and _has_own_table(root / "pyproject.toml"):
        raise DeclarationError(
            "the declaration is in pyproject.toml, which is not edited",
            where=str(root / "pyproject.toml"),
            hint=f"[tool.wherry] system-packages = {json.dumps(sorted(packages))}",
        )
    former: list[str] = tomllib.loads(text).get("system-packages", [])
    wanted = sorted({*former, *packages})
    line = f"system-packages = {json.dumps(wanted)}"
    found = _KEY.search(text)
    first_table = _TABLE.search(text)
    if found and (first_table is None or found.start() < first_table.start()):
        made = text[: found.start()] + line + text[found.end() :]
    else:
        at = first_table.start() if first_table else len(text)
        head = text[:at] if not text[:at] or text[:at].endswith("\n") else f"{text[:at]}\n"
        made = f"{head}{line}\n{text[at:]}"
    if tomllib.loads(made) != {**tomllib.loads(text), "system-packages": wanted}:
        raise DeclarationError("system-packages cannot be edited safely", where=str(path), hint=line)
    write_atomically(path, made.encode())
    return path


def replace_requirement(root: Path, requirements: Sequence[Requirement], former: str, wanted: str) -> Path | None:
    """Ask for `wanted` where `former` was asked for, extras, versions and markers alike. None where nobody asks for it."""
    for requirement in requirements:
        if canonicalize_name(requirement.name) != canonicalize_name(former):
            continue
        file, _, number = requirement.where.rpartition(":")
        path = root / file
        if not number.isdigit() or not path.is_file():
            return None
        lines = path.read_bytes().decode().splitlines(keepends=True)
        line = lines[int(number) - 1]
        found = _NAME.match(line)
        if not found or canonicalize_name(found["name"]) != canonicalize_name(former):
            return None
        lines[int(number) - 1] = line[: found.start("name")] + wanted + line[found.end("name") :]
        write_atomically(path, "".join(lines).encode())
        return path
    return None


def _has_own_table(path: Path) -> bool:
    if not path.is_file():
        return False
    tool = tomllib.loads(path.read_text("utf-8")).get("tool", {})
    return isinstance(tool, dict) and "wherry" in tool
