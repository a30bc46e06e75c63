"""Any other tool's lock of conda packages, by its kind."""

from __future__ import annotations

from collections.abc import Sequence

from wherry.formats.conda_lock import parse_conda_lock
from wherry.formats.explicit_list import parse_explicit
from wherry.formats.pixi_lock import parse_pixi_lock
from wherry.model.declaration import EnvironmentKind
from wherry.model.foreign_lock import ForeignLock


def parse_foreign_lock(kind: EnvironmentKind, text: str, where: str, groups: Sequence[str] = ()) -> ForeignLock:
    """`groups` name the environment of a pixi.lock, or categories of a conda-lock.yml besides main."""
    if kind is EnvironmentKind.PIXI_LOCK:
        return parse_pixi_lock(text, where, *groups[:1])
    if kind is EnvironmentKind.CONDA_LOCK:
        return parse_conda_lock(text, where, groups)
    return parse_explicit(text, where)
