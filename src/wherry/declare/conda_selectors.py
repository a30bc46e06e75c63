"""Selectors in comments, ``- pywin32  # [win]``: which of conda's platforms a line of environment.yml is meant for.

conda itself reads over them; conda-build and conda-lock follow them. The grammar is names of systems and machines with
``not``, ``and``, ``or`` and parentheses. Any other comment says nothing.
"""

from __future__ import annotations

import ast
import re

SUBDIRS = {
    "linux-64": {"linux", "linux64", "unix", "x86_64", "x86"},
    "linux-32": {"linux", "linux32", "unix", "x86"},
    "linux-aarch64": {"linux", "aarch64", "unix"},
    "linux-armv7l": {"linux", "armv7l", "unix"},
    "linux-ppc64le": {"linux", "ppc64le", "unix"},
    "linux-s390x": {"linux", "s390x", "unix"},
    "linux-riscv64": {"linux", "riscv64", "unix"},
    "osx-64": {"osx", "osx64", "unix", "x86_64", "x86"},
    "osx-arm64": {"osx", "arm64", "unix"},
    "win-32": {"win", "win32", "x86"},
    "win-64": {"win", "win64", "x86_64", "x86"},
    "win-arm64": {"win", "arm64"},
}
_NAMES = frozenset().union(*SUBDIRS.values())
_COMMENT = re.compile(r"\s*#\s*\[(?P<selector>[^\[\]]{1,200})\]")


def read_selector(rest: str) -> tuple[str, ...]:
    """The subdirs that the comment behind an entry selects; empty: all, or no selector. `rest` is the line behind it."""
    found = _COMMENT.match(rest)
    if found is None:
        return ()
    text = found["selector"].strip()
    if text in SUBDIRS:
        return (text,)
    try:
        expression = ast.parse(text, mode="eval").body
        chosen = tuple(subdir for subdir, names in SUBDIRS.items() if _holds(expression, names))
    except (SyntaxError, ValueError, RecursionError):
        return ()
    return () if len(chosen) == len(SUBDIRS) else chosen or ("none",)


def _holds(expression: ast.expr, names: set[str]) -> bool:
    if isinstance(expression, ast.Name) and expression.id in _NAMES:
        return expression.id in names
    if isinstance(expression, ast.UnaryOp) and isinstance(expression.op, ast.Not):
        return not _holds(expression.operand, names)
    if isinstance(expression, ast.BoolOp):
        values = [_holds(value, names) for value in expression.values]  # all of them: an unknown name makes it no selector
        return all(values) if isinstance(expression.op, ast.And) else any(values)
    raise ValueError("not a selector")
