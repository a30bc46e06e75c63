"""Reads model files as they stream by: pickles by their opcodes, joblib's compressed forms, torch's zip, safetensors, ONNX.

Nothing is unpickled and no library of a model's makers is loaded. A file that claims to be a model and is not sound is
noted, as `broken`.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from itertools import chain

from wherry.check.facts import ModelFacts
from wherry.errors import FormatError
from wherry.formats.decompress import unpack_chunks
from wherry.formats.model_headers import check_safetensors, parse_onnx
from wherry.formats.pickle_stream import scan_pickle
from wherry.formats.zip_member import ERRORS, stream_member
from wherry.store.spooled import SliceReader, SpooledFile

_MODEL = re.compile(r".*\.(?:pkl|pickle|joblib|pt|pth|ckpt|safetensors|onnx)", re.IGNORECASE)
_UNPACKED = 1 << 36
_MAX_PICKLES = 16
# How joblib's compressed files begin; zlib's and lz4's have no suffix that `unpack_chunks` knows.
_CODECS = ((b"\x1f\x8b", "gz"), (b"BZh", "bz2"), (b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "zst"))
_ZIP = b"PK\x03\x04"
_PROTOCOL = re.compile(rb"\x80[\x02-\x05]")
# In UBJSON, which xgboost writes since 1.6: the key and a list of three small numbers.
_BOOSTER = re.compile(rb"\x07version\[#L\0{7}\x03i(.)i(.)i(.)", re.DOTALL)
_BOOSTER_LENGTH = 25
_OLD = b"(]}lcdIFVSNp"  # what pickles of protocol 0 and 1 may begin with


def is_model(path: str) -> bool:
    """Whether a file's name says that it is a model of a form that is read here."""
    return _MODEL.fullmatch(path) is not None


def scan_model(path: str, size: int, content: Iterator[bytes]) -> ModelFacts | None:
    """Read a model file; None where it is of none of these forms, whatever its name says."""
    suffix = path.rpartition(".")[2].lower()
    try:
        if suffix == "safetensors":
            check_safetensors(content, size, path)
            return ModelFacts(form="safetensors")
        if suffix == "onnx":
            found = parse_onnx(content, size, path)
            return ModelFacts(form="onnx", opsets=dict(found.opsets))
        return _scan_pickled(path, content)
    except FormatError as error:
        return ModelFacts(form=suffix, broken=error.what)


def _scan_pickled(path: str, content: Iterator[bytes]) -> ModelFacts | None:
    first = next(content, b"")
    rest = chain((first,), content)
    if first.startswith(_ZIP):
        return _scan_zip(path, rest)
    for magic, codec in _CODECS:
        if first.startswith(magic):
            return _describe(path, unpack_chunks(rest, codec, limit=_UNPACKED, where=path))
    if _PROTOCOL.match(first) or first[:1] in [_OLD[at : at + 1] for at in range(len(_OLD))]:
        return _describe(path, rest)
    return None


def _describe(path: str, chunks: Iterator[bytes]) -> ModelFacts:
    versions: set[str] = set()
    found = scan_pickle(_watch_boosters(chunks, versions), path)
    xgboost = sorted(versions) if any(name.startswith("xgboost.") for name in found.names) else ()
    return ModelFacts(form="pickle", names=found.names, sklearn=found.sklearn, xgboost=tuple(xgboost), complete=found.complete)


def _watch_boosters(chunks: Iterator[bytes], versions: set[str]) -> Iterator[bytes]:
    """Pass on what is read; gather the versions that xgboost writes into the bytes of its boosters, where no opcode says them."""
    before = b""
    for chunk in chunks:
        for found in _BOOSTER.finditer(before + chunk):
            versions.add(".".join(map(str, b"".join(found.groups()))))
        before = (before + chunk)[-_BOOSTER_LENGTH:]
        yield chunk


def _scan_zip(path: str, content: Iterator[bytes]) -> ModelFacts | None:
    """torch.save's form: pickles among raw tensors."""
    with SpooledFile(content) as spooled:
        try:
            with zipfile.ZipFile(SliceReader(spooled, 0, spooled.size)) as archive:
                pickles = [info for info in archive.infolist() if info.filename.endswith(".pkl")][:_MAX_PICKLES]
                found = [scan_pickle(stream_member(archive, info), f"{path}: {info.filename}") for info in pickles]
        except ERRORS as error:
            raise FormatError(f"a damaged zip archive: {error}", where=path) from error
    if not found:
        return None
    return ModelFacts(
        form="pickle",
        names=tuple(sorted({name for one in found for name in one.names})),
        sklearn=tuple(sorted({version for one in found for version in one.sklearn})),
        complete=all(one.complete for one in found),
    )
