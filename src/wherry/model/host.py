"""What was found about a machine: lines that are well or not, each with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class HostState(Enum):
    """`FAILING`: something that wherry does will fail; `WARNING`: some of it may."""

    OK = "ok"
    WARNING = "warning"
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFinding:
    """`subject` is what was looked at, such as ``clock`` or ``registry ghcr.io``."""

    subject: str
    state: HostState
    what: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What a file system has left. `inodes` is None where it does not count them."""

    size: int
    free: int
    inodes: int | None
    free_inodes: int | None
    writable: bool
