"""Where things lie in an image (docs/spec/layers.md). Paths have no leading slash unless they say so."""

from __future__ import annotations

ENVIRONMENT = "opt/env"
CONFIGURATION = f"{ENVIRONMENT}/pyvenv.cfg"
PYTHON_CACHE = "/var/cache/python"


def interpreter_names(minor: str) -> tuple[str, ...]:
    """The environment's names of its interpreter, the first of which is what the others point to."""
    return tuple(f"{ENVIRONMENT}/bin/{name}" for name in ("python", "python3", f"python{minor}"))


def site_packages(minor: str) -> str:
    """Where the libraries of Python `minor` (such as ``3.11``) lie."""
    return f"{ENVIRONMENT}/lib/python{minor}/site-packages"
