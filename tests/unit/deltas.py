"""Tars and bases for the tests of deltas: of ours, and odd ones as strangers make them."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Iterable, Mapping

from wherry.deliver.encoder import encode_delta
from wherry.formats.delta import Form
from wherry.formats.delta_decoder import Base, decode_delta
from wherry.formats.tar import add_parents, file_entry, stream_tar
from wherry.model.digest import DiffId
from wherry.store.layer_tree import Tree, layered_tree
from wherry.store.spooled import SpooledFile


def make_tar(files: Mapping[str, bytes], modes: Mapping[str, int] | None = None) -> bytes:
    """As wherry writes layers."""
    entries = (file_entry(path, data, (modes or {}).get(path, 0o644)) for path, data in files.items())
    return b"".join(stream_tar(add_parents(entries)))


def odd_tar(members: Iterable[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    """As Python's tarfile writes it, padded to 10 KiB."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def member(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.uid, info.mtime, info.uname = kind, link, mode, 1000, 1_700_000_000, "ann"
    return info, data


def make_base(*layers: bytes) -> Tree:
    return layered_tree((SpooledFile((layer,)) for layer in layers), "base")


def cut(target: bytes, base: Tree) -> tuple[bytes, DiffId, Form]:
    """A delta's body."""
    with SpooledFile((target,)) as tar:
        delta = encode_delta(tar, base, threads=1)
        with delta.body as body:
            return body.read(0, body.size), delta.diff_id, delta.form


def apply(body: bytes, base: Base, diff_id: DiffId) -> bytes:
    return b"".join(decode_delta(lambda offset, size: body[offset : offset + size], len(body), base, diff_id))


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def words(seed: int, lines: int) -> bytes:
    """Text that is like other text of the same seed."""
    chosen = random.Random(seed)
    return b"".join(b"value_%d = compute(%d)\n" % (chosen.randrange(50), chosen.randrange(1000)) for _ in range(lines))


# One of everything: what stays, a patched binary, a changed text, a new text, a new binary, what goes.
OLD = {
    "lib/binary.so": b"\x7fELF\0" + noise(1, 60_000),
    "lib/kept.so": b"\x7fELF\0" + noise(2, 3_000),
    "lib/gone.py": words(3, 50),
    "lib/module.py": words(4, 400),
    "lib/other.py": words(5, 100),
}


def move_references(data: bytes) -> bytes:
    """As a linker does when something was inserted: many single bytes are a bit larger."""
    return b"".join(
        data[at : at + 40] + bytes(((data[at + 40] + 3) & 255,)) + data[at + 41 : at + 64] for at in range(0, len(data) - 63, 64)
    )


NEW = {
    "lib/binary.so": move_references(OLD["lib/binary.so"][:40_000]) + b"some more\0" + OLD["lib/binary.so"][40_000:],
    "lib/kept.so": OLD["lib/kept.so"],
    "lib/module.py": OLD["lib/module.py"] + b"value_51 = None\n",
    "lib/new.bin": b"\0" + noise(6, 2_000),
    "lib/new.py": words(7, 60),
    "lib/other.py": OLD["lib/other.py"],
}


def odd_layer(files: Mapping[str, bytes]) -> bytes:
    """The same files in a tar of somebody else: its headers do not follow from its entries."""
    return odd_tar(member(f"./{path}", data) for path, data in files.items())
