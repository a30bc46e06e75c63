"""wherry carries a Python ML project, exactly as its author ran it, to every place it has to work.

The public names load on first use, so that the command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.pipeline import Project as Project

from wherry.version import VERSION

__version__ = VERSION
__all__ = ["Project", "__version__"]

_LAZY = {"Project": "wherry.pipeline"}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'wherry' has no attribute {name!r}")
