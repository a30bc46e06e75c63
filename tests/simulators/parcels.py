"""Documents of made-up releases, with signatures that are none: enough for what moves them and does not verify them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from wherry.formats.oci_json import render_config, render_json, render_manifest
from wherry.formats.parcel_documents import BaseDocuments, Documents
from wherry.formats.tuf_workflow import DAYS
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import CONFIG, LAYER_GZIP, LAYER_KIND, LAYER_NAME, Descriptor, History
from wherry.model.platform import Platform
from wherry.model.release import Metadata

NAMES = ("base", "interpreter", "numpy 2.4.6", "scipy 1.17.1", "pandas 3.0.6", "scikit-learn 1.9.1")
NAMES = (*NAMES, "joblib 1.5.2", "wheels", "pytz 2026.1", "narwhals 2.0.1", "code", "models/model.pkl")


def make_layers(count: int = 12, *, seed: int = 1, changed: Sequence[int] = ()) -> tuple[tuple[DiffId, Digest], ...]:
    """diff_ids and digests; those whose number is in `changed` are others."""
    stable, fresh = random.Random(seed), random.Random(seed + 1)
    layers = []
    for number in range(count):
        former = DiffId(stable.randbytes(32).hex()), Digest(stable.randbytes(32).hex())
        later = DiffId(fresh.randbytes(32).hex()), Digest(fresh.randbytes(32).hex())
        layers.append(later if number in changed else former)
    return tuple(layers)


def make_documents(
    layers: Sequence[tuple[DiffId, Digest]],
    *,
    release: int = 1,
    day: int = 1,
    others: Sequence[str] = (),
    roots: Sequence[bytes] = (),
) -> Documents:
    """A release of the image with these layers; `day` of January 2027 is when all of it expires."""
    names = [NAMES[number % len(NAMES)] for number in range(len(layers))]
    config = render_config(
        platform=Platform("linux", "amd64"),
        created="1980-01-01T00:00:00Z",
        diff_ids=[diff_id for diff_id, _ in layers],
        history=[History(created_by=f"wherry layer wheel {name}", comment=name) for name in names],
        entrypoint=("python", "-m", "app"),
        env=("PATH=/opt/env/bin:/usr/bin", "PYTHONPATH=/opt/env/lib/python3.11/site-packages"),
    )
    manifest = render_manifest(
        config=Descriptor(media_type=CONFIG, digest=Digest.of(config), size=len(config)),
        layers=[
            Descriptor(
                media_type=LAYER_GZIP, digest=digest, size=1000 + number, annotations={LAYER_KIND: "wheel", LAYER_NAME: name}
            )
            for number, ((_, digest), name) in enumerate(zip(layers, names, strict=True))
        ],
    )
    images = {
        name: {
            "custom": {
                "layers": [{"diff_id": str(diff_id), "size": 10_240 * (number + 1)} for number, (diff_id, _) in enumerate(layers)],
                "memory": 34 << 20,
                "release": release,
            },
            "hashes": {"sha256": Digest.of(manifest).hex},
            "length": len(manifest),
        }
        for name in ("linux/amd64", *others)
    }
    return Documents(
        metadata=Metadata(
            roots=tuple(roots),
            timestamp=_sign("timestamp", day, release, meta={"snapshot.json": {"version": release}}, **{DAYS: 14}),
            snapshot=_sign("snapshot", day, release, meta={"targets.json": {"version": release}}),
            targets=_sign("targets", day, release, targets=images),
        ),
        manifest=manifest,
        config=config,
    )


def base_of(documents: Documents) -> BaseDocuments:
    return BaseDocuments(manifest=documents.manifest, config=documents.config, targets=documents.metadata.targets)


def _sign(kind: str, day: int, version: int, **members: Any) -> bytes:
    signed = {"_type": kind, "expires": f"2027-01-{day:02}T00:00:00Z", "spec_version": "1.0.31", "version": version, **members}
    noise = random.Random(f"{kind} {day} {version}")
    return render_json({"signatures": [{"keyid": "5c" * 8, "sig": noise.randbytes(64).hex()}], "signed": signed})
