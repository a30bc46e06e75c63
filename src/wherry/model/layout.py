"""Where things lie in an image (docs/spec/layers.md). Paths have no leading slash unless they say so."""

from __future__ import annotations

ENVIRONMENT = "opt/env"
PYTHON_CACHE = "/var/cache/python"


def site_packages(minor: str) -> str:
    """Where the libraries of Python `minor` (such as ``3.11``) lie."""
    return f"{ENVIRONMENT}/lib/python{minor}/site-packages"
