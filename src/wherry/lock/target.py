"""A platform as wheels see it: its tags, best first, its markers, and uv's name for it where uv knows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from packaging.tags import Tag, compatible_tags, cpython_tags

from wherry.errors import DeclarationError
from wherry.model.platform import Platform

# What `uv pip compile --python-platform` takes besides 2_17, checked against uv 0.13.
_UV_LEVELS = (17, 28, *range(31, 41))
_UV_MACHINES = ("x86_64", "aarch64")
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
# The first glibc of each machine's manylinux policy: PEP 600, PEP 599.
_LOWEST = {"x86_64": 5, "i686": 5}


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelTarget:
    """`glibc` is the base's; `python` the interpreter's version, full where it is known."""

    platform: Platform
    glibc: tuple[int, int]
    python: str

    @property
    def minor(self) -> tuple[int, int]:
        parts = self.python.split(".")
        try:
            return int(parts[0]), int(parts[1])
        except (ValueError, IndexError):
            raise DeclarationError(f"not a Python version: {self.python!r}", hint='python = "3.11"') from None

    @property
    def uv_platform(self) -> str | None:
        """uv's name with the greatest manylinux level that the base's glibc has; None where uv knows none."""
        if self.platform.machine not in _UV_MACHINES or self.glibc[0] != 2:
            return None
        levels = [level for level in _UV_LEVELS if level <= self.glibc[1]]
        return f"{self.platform.machine}-manylinux_2_{levels[-1]}" if levels else None


def tags_of(target: WheelTarget) -> tuple[Tag, ...]:
    """Every tag that the target takes, best first, as pip on the device would order them."""
    platforms = list(_platform_tags(target.platform.machine, target.glibc))
    interpreter = f"cp{target.minor[0]}{target.minor[1]}"
    return (
        *cpython_tags(target.minor, abis=[interpreter], platforms=platforms),
        *compatible_tags(target.minor, interpreter=interpreter, platforms=platforms),
    )


def markers_of(target: WheelTarget) -> dict[str, str]:
    """PEP 508's variables. Release and version of the kernel are the device's affair and empty here."""
    minor = ".".join(map(str, target.minor))
    full = target.python if target.python.count(".") > 1 else f"{minor}.0"
    return {
        "implementation_name": "cpython",
        "implementation_version": full,
        "os_name": "posix",
        "platform_machine": target.platform.machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": full,
        "python_version": minor,
        "sys_platform": "linux",
    }


def _platform_tags(machine: str, glibc: tuple[int, int]) -> Iterator[str]:
    for level in range(glibc[1], _LOWEST.get(machine, 17) - 1, -1):
        yield f"manylinux_{glibc[0]}_{level}_{machine}"
        if level in _LEGACY:
            yield f"{_LEGACY[level]}_{machine}"
    yield f"linux_{machine}"
