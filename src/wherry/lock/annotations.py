"""Who asked for what: read from the ``# via`` comments of a requirements file that uv compiled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from packaging.utils import canonicalize_name

_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?:==\s*(?P<version>[^\s;\\]+)|@)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A resolved package. `version` is None for one that was given as a URL; `parents` asked for it."""

    name: str
    version: str | None
    parents: frozenset[str]
    requested: bool


def parse_pins(text: str) -> Mapping[str, Pin]:
    """Read uv's output with split annotations. What no package asked for was asked for by the author."""
    found: dict[str, tuple[str | None, list[str]]] = {}
    current: list[str] = []
    for line in text.splitlines():
        pin = _PIN.match(line)
        if pin is not None:
            current = []
            found[canonicalize_name(pin["name"])] = (pin["version"], current)
        elif line.startswith("    #"):
            current.append(line.strip().removeprefix("#").strip().removeprefix("via").strip())
    return {name: _read_pin(name, version, vias, found) for name, (version, vias) in found.items()}


def _read_pin(name: str, version: str | None, vias: list[str], known: Mapping[str, object]) -> Pin:
    asked = [via for via in vias if via and not via.startswith("-c ")]
    parents = frozenset(canonicalize_name(via) for via in asked if canonicalize_name(via) in known)
    requested = not asked or any(canonicalize_name(via) not in known for via in asked)
    return Pin(name=name, version=version, parents=parents, requested=requested)
