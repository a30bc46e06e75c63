"""The documents of a parcel: signed metadata, manifest and config, told by what they differ in from the base's.

First they are folded: a hex string becomes its bytes, a time its seconds, and the digest of the document before a single
byte, since whoever unfolds has that document. Then they are one zstd frame, with the base's documents as its prefix
(docs/spec/parcel.md, "Documents"). What stands in the prefix follows from the base alone: of the base's metadata only
what it says about images, since signatures and times are renewed while a release lasts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from wherry.errors import DeviceError, FormatError
from wherry.formats.codec import load_zstd
from wherry.formats.oci_json import parse_json, render_json
from wherry.formats.parcel_dictionary import TEMPLATES
from wherry.model.release import Metadata

CHECK = 4  # bytes of sha256 by which a parcel knows its prefix
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_LEVEL = 22
_MAX_WINDOW_LOG = 22
_MIN_WINDOW_LOG = 10
_END, _DIGEST, _SIGNATURE, _HEX, _TIME, _BEFORE = range(6)
_FOLDABLE = re.compile(rb"((?:[0-9a-f]{2}){8,255})|([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_FIXED = 5  # config, manifest, targets, snapshot, timestamp; roots follow


class Prefix(IntEnum):
    """What stands before the documents when they are unpacked: the dictionary alone, or the base's documents after it."""

    NONE = 0
    IMAGE = 1
    RELEASE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """What a device needs before it can believe a layer. `metadata.roots` are those that the base's owner may lack."""

    metadata: Metadata
    manifest: bytes
    config: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseDocuments:
    """The base's manifest and config, and the targets of its release as signed at any time; None: it was never released."""

    manifest: bytes
    config: bytes
    targets: bytes | None = None

    @property
    def prefix(self) -> Prefix:
        return Prefix.IMAGE if self.targets is None else Prefix.RELEASE


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedDocuments:
    """A frame without its magic number; `folded` is the size of what it unpacks to, `check` tells its prefix."""

    prefix: Prefix
    check: bytes
    folded: int
    frame: bytes


def pack_documents(documents: Documents, base: BaseDocuments | None, limit: int) -> PackedDocuments:
    """Pack for the owner of `base`. More than `limit` bytes, which devices would refuse, are a `FormatError`."""
    metadata = documents.metadata
    fixed = (documents.config, documents.manifest, metadata.targets, metadata.snapshot, metadata.timestamp)
    folded = b"".join(fold_documents((*fixed, *metadata.roots)))
    kind = base.prefix if base else Prefix.NONE
    prefix = _join_prefix(base, kind)
    if len(folded) > limit or sum(map(len, (*fixed, *metadata.roots))) > limit:
        raise FormatError(f"manifest, config and metadata have more than the {limit} bytes that devices take", where="parcel")
    return PackedDocuments(prefix=kind, check=_check(prefix), folded=len(folded), frame=_pack(folded, prefix))


def unpack_documents(packed: PackedDocuments, base: BaseDocuments | None, limit: int, where: str) -> Documents:
    """The documents, none of them believed yet. A parcel that was made for another base is a `DeviceError`."""
    needs = {Prefix.NONE: True, Prefix.IMAGE: base is not None, Prefix.RELEASE: base is not None and base.targets is not None}
    prefix = _join_prefix(base, packed.prefix) if needs[packed.prefix] else b""
    if not prefix or (packed.prefix is not Prefix.NONE and _check(prefix) != packed.check):
        raise DeviceError("this parcel is for a device that runs another image", where=where, hint="take the full parcel")
    found = tuple(unfold_documents(_unpack(packed, prefix, where), limit, where))
    if len(found) < _FIXED:
        raise _damaged("a document is missing", where)
    config, manifest, targets, snapshot, timestamp, *roots = found
    metadata = Metadata(roots=tuple(roots), timestamp=timestamp, snapshot=snapshot, targets=targets)
    return Documents(metadata=metadata, manifest=manifest, config=config)


def _join_prefix(base: BaseDocuments | None, kind: Prefix) -> bytes:
    if base is None or kind is Prefix.NONE:
        return b"".join(fold_documents(TEMPLATES))
    images = [_render_images(base.targets)] if kind is Prefix.RELEASE and base.targets is not None else []
    return b"".join(fold_documents((*TEMPLATES, base.config, base.manifest, *images)))


def _render_images(targets: bytes) -> bytes:
    """What a targets document says about images, whoever signed it and when."""
    signed = parse_json(targets, "targets").get("signed")
    images = signed.get("targets") if isinstance(signed, dict) else None
    if not isinstance(images, dict):
        raise FormatError("no targets in it", where="targets")
    return render_json(images)


def same_images(targets: bytes, other: bytes) -> bool:
    """Whether two targets documents say the same of their images; signatures, numbers and times do not count."""
    return _render_images(targets) == _render_images(other)


def _check(prefix: bytes) -> bytes:
    return hashlib.sha256(prefix).digest()[:CHECK]


# -- folding


def fold_documents(documents: Sequence[bytes]) -> Iterator[bytes]:
    """Each document, folded, with its end mark. What is no JSON for its control characters is a `FormatError`."""
    before = b""
    for document in documents:
        if _CONTROL.search(document):
            raise FormatError("not JSON: a control character in it", where="document")
        digest = hashlib.sha256(before).hexdigest().encode()
        yield _FOLDABLE.sub(lambda match, digest=digest: _fold(match, digest), document)  # type: ignore[misc]
        yield bytes((_END,))
        before = document


def _fold(match: re.Match[bytes], before: bytes) -> bytes:
    if match[1] is None:
        return _fold_time(match[2])
    if match[1] == before:
        return bytes((_BEFORE,))
    raw = bytes.fromhex(match[1].decode())
    if len(raw) == 32:
        return bytes((_DIGEST,)) + raw
    return bytes((_SIGNATURE,)) + raw if len(raw) == 64 else bytes((_HEX, len(raw))) + raw


def _fold_time(text: bytes) -> bytes:
    try:
        seconds = int(datetime.strptime(text.decode(), _TIME_FORMAT).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return text
    return bytes((_TIME,)) + seconds.to_bytes(4, "big") if 0 <= seconds < 1 << 32 else text


def unfold_documents(folded: bytes, limit: int, where: str) -> Iterator[bytes]:
    """The documents again, of whose text at most `limit` bytes were folded. Whatever is no folding is a `FormatError`."""
    before, parts, made, at = b"", list[bytes](), 0, 0
    while at < len(folded):
        mark = _CONTROL.search(folded, at)
        if mark is None:
            raise _damaged("a document without an end", where)
        parts.append(folded[at : mark.start()])
        at = mark.end()
        if mark[0][0] == _END:
            before, parts = b"".join(parts), []
            yield before
        else:
            text, at = _unfold(mark[0][0], folded, at, before, where)
            parts.append(text)
            made += len(text)
            if made > limit:
                raise FormatError(f"documents of more than {limit} bytes", where=where)
    if parts:
        raise _damaged("a document without an end", where)


def _unfold(code: int, folded: bytes, at: int, before: bytes, where: str) -> tuple[bytes, int]:
    """What a mark stands for, and where its own bytes end."""
    if code == _BEFORE:
        return hashlib.sha256(before).hexdigest().encode(), at
    size = {_DIGEST: 32, _SIGNATURE: 64, _TIME: 4}.get(code, -1)
    if code == _HEX and at < len(folded):
        size, at = folded[at], at + 1
    raw = folded[at : at + max(size, 0)]
    if size < 0 or len(raw) != size:
        raise _damaged("a mark that means nothing", where)
    if code == _TIME:
        return datetime.fromtimestamp(int.from_bytes(raw, "big"), UTC).strftime(_TIME_FORMAT).encode(), at + size
    return raw.hex().encode(), at + size


# -- packing


def _pack(folded: bytes, prefix: bytes) -> bytes:
    zstd = load_zstd()
    option = zstd.CompressionParameter
    window_log = max(_MIN_WINDOW_LOG, (len(prefix) + len(folded) - 1).bit_length())
    if window_log > _MAX_WINDOW_LOG:
        raise FormatError(f"the documents of base and target have {len(prefix) + len(folded)} bytes", where="parcel")
    engine = zstd.ZstdCompressor(
        options={
            option.compression_level: _LEVEL,
            option.window_log: window_log,
            option.content_size_flag: 0,
            option.checksum_flag: 0,
            option.dict_id_flag: 0,
        },
        zstd_dict=zstd.ZstdDict(prefix, is_raw=True).as_prefix,
    )
    frame: bytes = engine.compress(folded, mode=engine.FLUSH_FRAME)
    return frame[len(_ZSTD_MAGIC) :]


def _unpack(packed: PackedDocuments, prefix: bytes, where: str) -> bytes:
    zstd = load_zstd()
    options: dict[Any, int] = {zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG}
    engine = zstd.ZstdDecompressor(zstd_dict=zstd.ZstdDict(prefix, is_raw=True).as_prefix, options=options)
    try:
        folded: bytes = engine.decompress(_ZSTD_MAGIC + packed.frame, packed.folded)
        more = b"" if engine.eof else engine.decompress(b"", 1)
    except zstd.ZstdError as error:
        raise _damaged(str(error), where) from error
    if len(folded) != packed.folded or more or not engine.eof or engine.unused_data:
        raise _damaged("its documents are longer or shorter than it says", where)
    return folded


def _damaged(what: str, where: str) -> FormatError:
    return FormatError(f"a damaged parcel: {what}", where=where)
