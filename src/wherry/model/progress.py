"""How long work is told: a port, so that the library never prints."""

from __future__ import annotations

from collections.abc import Callable

# What is being done, how much of it is done, and how much there is: bytes or things; 0 where that is not known.
Progress = Callable[[str, int, int], None]


def be_silent(_name: str, _done: int, _total: int) -> None:
    """The progress that nobody watches."""
