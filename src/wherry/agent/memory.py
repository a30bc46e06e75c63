"""Memory of the agent's processes, as far as the C library decides about it."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_MMAP_THRESHOLD = -3  # mallopt(3)
_LARGE = 1 << 20


def return_freed_blocks() -> None:
    """Have large blocks given back as soon as they are freed, in this process and those that it forks.

    glibc keeps them once it saw a few; a decoder that opens one window of 8 MiB after another would then hold several. Other C
    libraries are left as they are.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
