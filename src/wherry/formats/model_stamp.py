"""The file that lies beside a model and says what made it: ``model.pkl.stamp.json``. Small, and a stranger's word."""

from __future__ import annotations

import re

from wherry.errors import FormatError
from wherry.formats.oci_json import parse_json, render_json
from wherry.model.stamp import ModelStamp

SCHEMA = 1
MAX_STAMP = 4 << 10
_SHA256 = re.compile(r"[0-9a-f]{64}")


def render_stamp(stamp: ModelStamp) -> bytes:
    fields = {"sha256": stamp.sha256, "job": stamp.job, "lock": stamp.lock, "platform": stamp.platform, "python": stamp.python}
    return render_json({"schema": SCHEMA, **fields}) + b"\n"


def parse_stamp(raw: bytes, where: str) -> ModelStamp:
    """Read what `render_stamp` wrote; anything else is a `FormatError`."""
    if len(raw) > MAX_STAMP:
        raise FormatError(f"{len(raw)} bytes, at most {MAX_STAMP} are read", where=where)
    value = parse_json(raw, where)
    if value.get("schema") != SCHEMA:
        raise FormatError(f"of schema {value.get('schema')!r}, not {SCHEMA}", where=where)
    names = ("sha256", "job", "lock", "platform", "python")
    sha256, job, lock, platform, python = (_text(value.get(name), where) for name in names)
    if not _SHA256.fullmatch(sha256):
        raise FormatError("no sha256 of a model", where=where)
    return ModelStamp(sha256=sha256, job=job, lock=lock, platform=platform, python=python or None)


def _text(value: object, where: str) -> str:
    if value is not None and not (isinstance(value, str) and value.isprintable()):
        raise FormatError("not the stamp of a model", where=where)
    return str(value or "")
