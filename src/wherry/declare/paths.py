"""Paths as an author writes them: POSIX, relative to the project's folder."""

from __future__ import annotations

import posixpath

from wherry.errors import DeclarationError


def relative_path(text: str, where: str, *, inside: bool = True) -> str:
    """`text` normalised. `inside` refuses a path that leaves the project, or is the project itself."""
    path = posixpath.normpath(text) if text else ""
    if not path or path.startswith("/") or not text.isprintable():
        raise DeclarationError(f"{text!r} is not a path relative to the project", where=where)
    if inside and (path == "." or path.split("/")[0] == ".."):
        raise DeclarationError(f"{text!r} leaves the project", where=where, hint="a path below the folder of wherry.toml")
    return path
