"""Archives of conda's as the lock would name them. Whole channels are made by tools/conda_channel."""

from __future__ import annotations

import bz2
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from wherry.formats.decompress import unpack_chunks
from wherry.model.digest import Digest
from wherry.model.lock import LockedRecord

_LARGEST = 1 << 24


def lock_archive(archive: Path, *, channel: str = "conda-forge", requested: bool = False) -> LockedRecord:
    """What the lock says of an archive; `requires` are the names that it depends on."""
    index = read_index(archive)
    raw = archive.read_bytes()
    depends = {spec.split()[0] for spec in index.get("depends", ())}
    return LockedRecord(
        name=index["name"],
        version=index["version"],
        build=index["build"],
        subdir=index.get("subdir") or "noarch",
        channel=channel,
        file=archive.name,
        size=len(raw),
        sha256=Digest.of(raw),
        noarch_python=index.get("noarch") == "python",
        requires=tuple(sorted(depends)),
        requested=requested,
    )


def read_index(archive: Path) -> dict[str, Any]:
    """Its info/index.json."""
    if archive.suffix == ".conda":
        with zipfile.ZipFile(archive) as outer:
            info = next(name for name in outer.namelist() if name.startswith("info-"))
            raw = b"".join(unpack_chunks([outer.read(info)], "zst", limit=_LARGEST, where=archive.name))
    else:
        raw = bz2.decompress(archive.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(raw)) as inner:
        member = inner.extractfile("info/index.json")
        assert member is not None
        return dict(json.load(member))
