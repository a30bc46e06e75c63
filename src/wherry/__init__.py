"""wherry carries a Python ML project, exactly as its author ran it, to every place it has to work.

The public names load on first use, so that the command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.pipeline import Project as Project
    from wherry.run.metrics import log_metric as log_metric
    from wherry.run.metrics import log_params as log_params

from wherry.version import VERSION

__version__ = VERSION
__all__ = ["Project", "__version__", "log_metric", "log_params"]

_LAZY = {"Project": "wherry.pipeline", "log_metric": "wherry.run.metrics", "log_params": "wherry.run.metrics"}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'wherry' has no attribute {name!r}")
