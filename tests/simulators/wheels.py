"""Makes small wheels, sound ones and hostile ones."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path


def record_digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def make_wheel(
    folder: Path,
    name: str = "pkg",
    version: str = "1.0",
    files: Mapping[str, bytes] | None = None,
    *,
    tag: str = "py3-none-any",
    requires: tuple[str, ...] = (),
    entry_points: str = "",
    record: Mapping[str, str] | None = None,
    unrecorded: Mapping[str, bytes] | None = None,
    executable: tuple[str, ...] = (),
) -> Path:
    """Write `name-version-tag.whl`. `record` replaces or adds lines of RECORD; `unrecorded` files are not named in it."""
    members = dict(files if files is not None else {f"{name}/__init__.py": b"VERSION = '%s'\n" % version.encode()})
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(
        f"Requires-Dist: {line}\n" for line in requires
    )
    members[f"{info}/METADATA"] = metadata.encode()
    members[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    if entry_points:
        members[f"{info}/entry_points.txt"] = entry_points.encode()
    lines = {path: f"{record_digest(data)},{len(data)}" for path, data in members.items()}
    lines[f"{info}/RECORD"] = ","
    lines.update(record or {})
    members[f"{info}/RECORD"] = "".join(f"{path},{line}\n" for path, line in lines.items() if line != "absent").encode()
    members.update(unrecorded or {})
    path = folder / f"{name}-{version}-{tag}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            entry = zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if member in executable else 0o100644) << 16
            archive.writestr(entry, data)
    return path
