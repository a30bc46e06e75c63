"""Tells what no running container needs by its place and name: tests of packages, static archives, headers, type stubs, caches.

But for caches only within Python's folders and among libraries: a project's own files are its author's business. What a package
may read when it runs is not counted: ``__init__.pyi`` is one such (lazy-loader takes scikit-image's names out of it).
"""

from __future__ import annotations

import re

from wherry.check.hygiene import name_cache

TESTS = "tests of packages"
ARCHIVES = "static archives"
HEADERS = "C and C++ headers"
STUBS = "type stubs and Cython sources"
CACHES = "caches of package managers"
GPU = "packages for GPUs"
HIDDEN = "hidden by later layers"
# What each is good for, so that somebody can tell whether it is needed after all.
WORTH_KNOWING = {
    TESTS: "the packages' own test suites and what they read; nothing imports them but a test run",
    ARCHIVES: "for linking programs; nothing loads them",
    HEADERS: "for compiling against the package; torch.compile and the like do that while they run",
    STUBS: "for type checkers and for compiling; nothing imports them",
    CACHES: "what pip, uv, conda and apt keep for another installation, and git's history",
    GPU: "for devices without one, ask for builds for processors, such as xgboost-cpu or torch from its own index",
    HIDDEN: "files that a later layer replaces or removes: every pull moves them, and no container sees them",
}
_PACKAGED = re.compile(r"(?:.*/)?lib(?:64)?/python3(?:\.\d+)?t?/(?:(?:site|dist)-packages/)?(.*)")
_TESTS = re.compile(r"(?:.+/)?(?:tests?|idle_test)/.+|(?:.+/)?conftest\.pyc?")
_LIBRARIES = re.compile(r"(?:.*/)?lib(?:64)?/.+\.a")
_HEADER = re.compile(r".+\.(?:h|hh|hpp|hxx|cuh|inl)")
_STUB = re.compile(r"(?:.*/)?(?!__init__\.pyi$)[^/]+\.(?:pyi|pyx|pxd|pxi)")
_OF_CHECKERS = re.compile(r"(?:.*/)?(?:typeshed|third_party)/.*")  # what mypy, pyright and jedi know of other packages


def classify_unneeded(path: str) -> str | None:
    """The kind of what could go; None for what may be needed."""
    if name_cache(path):
        return CACHES
    found = _PACKAGED.fullmatch(path)
    if found is None:
        return ARCHIVES if path.endswith(".a") and _LIBRARIES.fullmatch(path) else None
    inner = found[1]
    if _TESTS.fullmatch(inner):
        return TESTS
    if inner.endswith(".a"):
        return ARCHIVES
    if _HEADER.fullmatch(inner):
        return HEADERS
    return STUBS if _STUB.fullmatch(inner) and not _OF_CHECKERS.fullmatch(inner) else None
