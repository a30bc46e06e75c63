"""What the readers of other tools' locks share: digests, sizes and distributions as those files write them."""

from __future__ import annotations

import re
from urllib.parse import unquote

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from wherry.errors import FormatError
from wherry.formats.urls import strip_credentials
from wherry.model.digest import Digest
from wherry.model.foreign_lock import ForeignWheel

_MD5 = re.compile(r"[0-9a-fA-F]{32}")
_DISTRIBUTION = re.compile(r"\.(?:whl|zip|tar\.(?:gz|bz2|xz)|tgz)$", re.IGNORECASE)
_SIZE_LIMIT = 1 << 50


def parse_sha256(text: str | None, where: str) -> Digest | None:
    if not text:
        return None
    try:
        return Digest.parse(f"sha256:{text.lower()}")
    except FormatError as error:
        raise FormatError("not a sha256: 64 hex digits are expected", where=where) from error


def parse_md5(text: str | None, where: str) -> str | None:
    if not text:
        return None
    if not _MD5.fullmatch(text):
        raise FormatError("not an md5: 32 hex digits are expected", where=where)
    return text.lower()


def parse_size(text: str | None, where: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text[:20]) > _SIZE_LIMIT:
        raise FormatError(f"not a size in bytes: {text[:40]!r}", where=where)
    return int(text)


def make_wheel(
    *,
    name: str | None,
    version: str | None,
    address: str,
    sha256: Digest | None,
    requires: tuple[str, ...],
    editable: bool,
    where: str,
) -> ForeignWheel:
    """A distribution from its address, which may be a URL, ``git+…``, ``direct+…`` or a path."""
    plain = address.removeprefix("direct+")
    is_url = "://" in plain
    path = (strip_credentials(plain) if is_url else plain).partition("#")[0]
    file = unquote(path.rpartition("/")[2])
    if plain.startswith("git+") or not _DISTRIBUTION.search(file):
        file = ""
    if file.endswith(".whl"):
        try:
            named = parse_wheel_filename(file)
        except InvalidWheelFilename as error:
            raise FormatError(f"not the file name of a wheel: {file[:120]!r}", where=where) from error
        name, version = name or named[0], version or str(named[1])
    if not name:
        raise FormatError("a distribution without a name", where=where)
    return ForeignWheel(
        name=canonicalize_name(name),
        version=version or "",
        file=file,
        url=path if is_url else plain,
        sha256=sha256,
        requires=requires,
        editable=editable,
    )
