"""This machine, as far as images care."""

from __future__ import annotations

import os
import platform

from wherry.model.platform import Platform


def read_host_platform() -> Platform:
    """This machine's platform. Containers are Linux's, whatever the host is."""
    return Platform.parse(platform.machine().lower())


def read_host_name() -> str:
    """What this machine calls itself."""
    return platform.node() or "localhost"


def read_host_glibc() -> tuple[int, int]:
    """This machine's C library; (2, 17), which conda takes for the oldest, where it has another."""
    try:
        words = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        major, minor = words[1].split(".")[:2]
        return int(major), int(minor)
    except (ValueError, OSError, IndexError):
        return 2, 17
