"""Writes `parcel/`: documents of two releases, and the parcels between them (docs/spec/parcel.md)."""

from __future__ import annotations

import random
from pathlib import Path

from tests.simulators.parcels import make_documents, make_layers
from wherry.formats.parcel import BaseDocuments, Documents, ParcelLayer, find_lacking, stream_parcel
from wherry.formats.parcel_dictionary import TEMPLATES

FOLDER = Path(__file__).parent / "parcel"
PARTS = ("manifest", "config", "targets", "snapshot", "timestamp")


def make_vectors() -> dict[str, bytes]:
    """Name → bytes. Bodies are noise here; those of deltas have vectors of their own."""
    base, target = make_releases()
    released = BaseDocuments(manifest=base.manifest, config=base.config, targets=base.metadata.targets)
    image = BaseDocuments(manifest=base.manifest, config=base.config)
    return {
        "templates.json": b"\n".join(TEMPLATES) + b"\n",
        **_name("base", base),
        **_name("target", target),
        "release.parcel": _pack(target, released),
        "image.parcel": _pack(target, image),
        "itself.parcel": _pack(base, released),
        "full.parcel": _pack(target, None),
    }


def make_releases() -> tuple[Documents, Documents]:
    base = make_documents(make_layers(4), release=7, day=1, others=("linux/arm64",))
    target = make_documents(make_layers(4, changed=[3]), release=8, day=3, others=("linux/arm64",), roots=(b'{"root":"2"}',))
    return base, target


def make_body(number: int) -> bytes:
    return random.Random(number).randbytes(100 + number)


def _name(end: str, documents: Documents) -> dict[str, bytes]:
    metadata = documents.metadata
    raw = (documents.manifest, documents.config, metadata.targets, metadata.snapshot, metadata.timestamp)
    return {f"{end}.{part}.json": data for part, data in zip(PARTS, raw, strict=True)}


def _pack(documents: Documents, base: BaseDocuments | None) -> bytes:
    lacking = find_lacking(documents.config, base.config if base else None)
    layers = [
        ParcelLayer(diff_id=diff_id, size=len(make_body(number)), chunks=lambda number=number: [make_body(number)])  # type: ignore[misc]
        for number, diff_id in enumerate(lacking)
    ]
    return b"".join(stream_parcel(documents, base, layers))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, data in make_vectors().items():
        (FOLDER / name).write_bytes(data)
