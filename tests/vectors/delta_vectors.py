"""Deltas, frozen: one of each form with base and target, and some that a reader must refuse (docs/spec/delta.md).

`python -m tests.vectors.delta_vectors` writes `delta/` beside this file. The bytes depend on the versions of liblzma and
libzstd, so a test holds the files to what is read of them, not to what would be written today.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.unit.deltas import cut, make_base, make_tar, move_references, noise, odd_layer, words
from wherry.formats.delta import Codec, Part, Section, render_head
from wherry.formats.delta_file import checksum_of, render_file_head
from wherry.model.digest import DiffId

FOLDER = Path(__file__).parent / "delta"
_BINARY = b"\x7fELF\0" + noise(1, 8_000)
OLD = {
    "lib/binary.so": _BINARY,
    "lib/kept.so": b"\x7fELF\0" + noise(2, 300),
    "lib/gone.py": words(3, 10),
    "lib/module.py": words(4, 60),
    "lib/été/other.py": words(5, 20),
}
NEW = {
    "lib/binary.so": move_references(_BINARY[:6_400]) + b"some more\0" + _BINARY[6_400:],
    "lib/kept.so": OLD["lib/kept.so"],
    "lib/module.py": OLD["lib/module.py"] + b"value_51 = None\n",
    "lib/new.bin": b"\0" + noise(6, 200),
    "lib/new.py": words(7, 10),
    "lib/été/other.py": OLD["lib/été/other.py"],
}


def make_vectors() -> dict[str, bytes]:
    """File name → bytes."""
    base, derived, carried = make_tar(OLD), make_tar(NEW), odd_layer(NEW)
    files = {"base.tar": base, "derived.tar": derived, "carried.tar": carried}
    with make_base(base) as tree, make_base() as nothing:
        for name, target, over in (("derived", derived, tree), ("carried", carried, tree), ("full", derived, nothing)):
            body, diff_id, _ = cut(target, over)
            files[f"{name}.delta"] = wrap(body, diff_id)
    return files | {f"refused-{name}.delta": wrap(body, diff_id_of(derived)) for name, body in _refused().items()}


def diff_id_of(tar: bytes) -> DiffId:
    return DiffId(hashlib.sha256(tar).hexdigest())


def wrap(body: bytes, diff_id: DiffId) -> bytes:
    data = render_file_head(b"", [(diff_id, len(body))]) + body
    return data + checksum_of((data,))


def _refused() -> dict[str, bytes]:
    """Bodies that are well-formed up to one thing."""
    columns = bytes(8)
    leaves = b"\1\2.." + b"\0\1" + columns
    overlap = b"\2\3lib\5lib/a" + b"\0\1" + columns
    return {
        "endless-number": b"\1" + b"\xff" * 12,
        "unknown-form": b"\2\0",
        "large-window": _body(b"", {Part.LITERAL: Section(codec=Codec.ZSTD, offset=0, stored=1, raw=9, window_log=31)}, b"\0"),
        "name-leaves-root": _body(leaves, {}, b""),
        "scopes-overlap": _body(overlap, {}, b""),
        "left-over": _body(b"\0\0\1" + columns, {}, b"") + b"\0",
        "other-layer": _body(b"\0\0\1" + columns, {}, b""),
    }


def _body(index: bytes, parts: dict[Part, Section], data: bytes) -> bytes:
    if index:
        parts = {Part.INDEX: Section(codec=Codec.STORED, offset=0, stored=len(index), raw=len(index)), **parts}
    return render_head(target_size=1024, entries=0, operations=0, prefix=0, parts=parts, groups=()) + index + data


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, data in make_vectors().items():
        (FOLDER / name).write_bytes(data)
