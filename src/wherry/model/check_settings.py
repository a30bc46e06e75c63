"""What a project says about its own checks: how large its image may be, and which findings its author accepts, with a reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Findings of a rule that are accepted. `where` is a glob over files, subjects and distributions; empty: all of the rule."""

    rule: str
    reason: str
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeLimits:
    """Bytes as stored: of all layers together, and of each. None: as many as there are."""

    budget: int | None = None
    layer: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """``[check]`` of wherry.toml; none of it goes into an image or a lock."""

    limits: SizeLimits = SizeLimits()
    silences: tuple[Silence, ...] = ()
