"""Versions of CUDA, and of NVIDIA's driver on Linux that brings each.

A driver serves programs built for its own version of CUDA and for older ones; those for a newer one of the same major version
as far as they need no more (minor version compatibility, since CUDA 11). The pairs are those of NVIDIA's "CUDA Toolkit Release
Notes", table "CUDA Toolkit and Corresponding Driver Versions".
"""

from __future__ import annotations

import re

Version = tuple[int, ...]
# The first release of each toolkit, and the driver that came with it.
_DRIVERS: tuple[tuple[Version, str], ...] = (
    ((10, 0), "410.48"),
    ((10, 1), "418.39"),
    ((10, 2), "440.33"),
    ((11, 0), "450.36.06"),
    ((11, 1), "455.23"),
    ((11, 2), "460.27.03"),
    ((11, 3), "465.19.01"),
    ((11, 4), "470.42.01"),
    ((11, 5), "495.29.05"),
    ((11, 6), "510.39.01"),
    ((11, 7), "515.43.04"),
    ((11, 8), "520.61.05"),
    ((12, 0), "525.60.13"),
    ((12, 1), "530.30.02"),
    ((12, 2), "535.54.03"),
    ((12, 3), "545.23.06"),
    ((12, 4), "550.54.14"),
    ((12, 5), "555.42.02"),
    ((12, 6), "560.28.03"),
    ((12, 8), "570.26"),
    ((12, 9), "575.51.03"),
    ((13, 0), "580.65.06"),
)
_NUMBERS = re.compile(r"\d{1,5}(?:\.\d{1,5}){1,2}")


def parse_version(text: str) -> Version:
    """``12.4`` or ``550.54.14`` as numbers; a `ValueError` for anything else."""
    if not _NUMBERS.fullmatch(text):
        raise ValueError(text)
    return tuple(map(int, text.split(".")))


def find_cuda(driver: str) -> str | None:
    """The newest CUDA that a driver brings, of as many numbers as it is given with; None for one older than all that are known."""
    given = parse_version(driver)
    fitting = [version for version, least in _DRIVERS if parse_version(least)[: len(given)] <= given]
    return render_version(fitting[-1]) if fitting else None


def find_driver(cuda: Version) -> str | None:
    """The oldest driver that brings a version of CUDA; None where that is newer than all that are known."""
    return next((driver for version, driver in _DRIVERS if version >= cuda), None)


def render_version(version: Version) -> str:
    return ".".join(map(str, version))


def name_cuda_wheel(pattern: str, *major: str) -> str:
    """The wheel of a library of the toolkit, ``nvidia-cublas-cu{0}``; from CUDA 13 on NVIDIA names these without the number."""
    return pattern.format(*major) if not major or int(major[0]) < 13 else pattern.removesuffix("-cu{0}")
