"""A Python of this machine, as it says of itself: what an environment is laid out around (`interpreters` finds it)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPython:
    """`executable` is the interpreter's own, outside of any virtual environment; `glibc` is None where there is none."""

    executable: str
    version: str  # full: 3.11.2
    glibc: tuple[int, int] | None

    @property
    def minor(self) -> str:
        return self.version.rpartition(".")[0]


def list_program_places(minor: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """Where the PATH may have a Python of this minor, in the order in which they are asked; whether there is one or not."""
    folders = [folder for folder in env.get("PATH", "").split(":") if folder.startswith("/")]
    return tuple(f"{folder}/{name}" for name in (f"python{minor}", "python3", "python") for folder in folders)
