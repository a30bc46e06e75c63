"""What the bench asks of a tool that builds images, and how an image is weighed.

A builder keeps everything it writes (storage, caches, project) in one folder of its own. `empty` brings it to the
state of a machine that has the base and nothing else; `set_version` writes the requirements of one release, fully
pinned; the bench edits code and model in `project` by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.harness import Run


class Builder(Protocol):
    """`name` is the subject under which figures are kept. It is opened (daemons started, base loaded) as a context."""

    name: str
    project: Path

    def opened(self) -> AbstractContextManager[object]: ...

    def empty(self) -> None: ...

    def set_version(self, number: int) -> None: ...

    def build(self, *, memory: bool = False) -> Run: ...

    def export(self, *, memory: bool = False) -> Run | None:
        """Write the image as an OCI layout that can be pushed; None where the build's own result is one."""
        ...

    def weigh(self) -> Weight:
        """The image last exported, or last built where the build exports."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """The blobs a registry would hold of an image, as digest → bytes: layers, configuration and manifest."""

    blobs: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.blobs.values())

    def beyond(self, former: Weight) -> int:
        """What a pull moves where the former image is there already."""
        return sum(size for digest, size in self.blobs.items() if digest not in former.blobs)


def weigh_layout(layout: Path, name: str | None = None) -> Weight:
    """Weigh the image called `name` in an OCI layout, or its only one."""
    named = "org.opencontainers.image.ref.name"
    entries = _read(layout / "index.json")["manifests"]
    entry = next(entry for entry in entries if name is None or entry.get("annotations", {}).get(named) == name)
    blobs = {}
    document = _read_blob(layout, entry["digest"])
    if "manifests" in document:
        entry = document["manifests"][0]
        document = _read_blob(layout, entry["digest"])
    blobs[entry["digest"]] = entry["size"]
    for part in (document["config"], *document["layers"]):
        blobs[part["digest"]] = part["size"]
    return Weight(blobs=blobs)


def _read_blob(layout: Path, digest: str) -> Any:
    return _read(layout / "blobs" / digest.replace(":", "/"))


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())
