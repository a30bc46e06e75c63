"""Writes a wheel, or writes one anew, in the one form that its files have (docs/spec/builds.md, "The wheel").

Whatever a build backend wrote into the zip's headers (time, order, compression) is gone after that: equal files give equal
bytes on every host. Refused: what a foreign wheel is refused for, and wheels that are not for every platform.
"""

from __future__ import annotations

import base64
import hashlib
import stat
import zipfile
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from wherry.errors import FormatError
from wherry.formats.wheel import plan_wheel
from wherry.formats.zip_member import ERRORS, stream_member
from wherry.model.layout import VENV, EnvironmentLayout

_TIME = (1980, 1, 1, 0, 0, 0)
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")
_UNIX = 3


class CompiledError(FormatError):
    """A wheel for some platforms only."""


def check_tags(file: str) -> None:
    """Only a wheel for every platform is taken: its tags end with ``none-any``. Else a `CompiledError`."""
    try:
        tags = parse_wheel_filename(file)[3]
    except InvalidWheelFilename:
        raise FormatError(f"{file[:120]!r} is no name of a wheel") from None
    if any(tag.platform != "any" or tag.abi != "none" for tag in tags):
        raise CompiledError(f"{file} is for some platforms only")


def rewrite_wheel(source: BinaryIO, file: str, minor: str, sink: BinaryIO) -> None:
    """Read a sound wheel and write it to `sink`. `minor` is the Python it is for, such as ``3.11``."""
    check_tags(file)
    try:
        with zipfile.ZipFile(source) as archive, zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as written:
            plan_wheel(archive, file, EnvironmentLayout(prefix=VENV, minor=minor))
            record = next(info.filename for info in archive.infolist() if info.filename.endswith(".dist-info/RECORD"))
            lines = []
            for info in _in_order(archive, record.rpartition("/")[0]):
                digest = base64.urlsafe_b64encode(_copy(archive, info, written)).rstrip(b"=").decode()
                lines.append(f"{_quote(info.filename)},sha256={digest},{info.file_size}\n")
            lines.append(f"{record},,\n")
            written.writestr(_header(record, executable=False), "".join(lines))
    except ERRORS as error:
        raise FormatError(f"damaged: {error}", where=file) from error


def write_wheel(name: str, version: str, files: Mapping[str, bytes], metadata: str, sink: BinaryIO) -> None:
    """A wheel for every platform in the same form, of files that are at hand. `metadata` is what follows name and version."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    wheel = "Wheel-Version: 1.0\nGenerator: wherry\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    own = {f"{info}/METADATA": (head + metadata).encode(), f"{info}/WHEEL": wheel.encode()}
    lines = []
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as written:
        for path, content in (*sorted(files.items()), *own.items()):
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            lines.append(f"{_quote(path)},sha256={digest},{len(content)}\n")
            written.writestr(_header(path, executable=False), content)
        written.writestr(_header(f"{info}/RECORD", executable=False), "".join([*lines, f"{info}/RECORD,,\n"]))


def _in_order(archive: zipfile.ZipFile, dist_info: str) -> Iterator[zipfile.ZipInfo]:
    left_out = {f"{dist_info}/{name}" for name in ("RECORD", *_SIGNATURES)}
    files = [info for info in archive.infolist() if not info.is_dir() and info.filename not in left_out]
    yield from sorted(files, key=lambda info: (info.filename.startswith(f"{dist_info}/"), info.filename))


def _copy(archive: zipfile.ZipFile, info: zipfile.ZipInfo, written: zipfile.ZipFile) -> bytes:
    """Copy one member; the digest of its bytes, which `plan_wheel` does not read."""
    running = hashlib.sha256()
    header = _header(info.filename, executable=bool(info.external_attr >> 16 & 0o111))
    header.file_size = info.file_size
    with written.open(header, "w") as target:
        for chunk in stream_member(archive, info):
            running.update(chunk)
            target.write(chunk)
    return running.digest()


def _header(name: str, *, executable: bool) -> zipfile.ZipInfo:
    header = zipfile.ZipInfo(name, _TIME)
    header.create_system = _UNIX
    header.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
    return header


def _quote(path: str) -> str:
    """As csv quotes it."""
    return '"' + path.replace('"', '""') + '"' if any(sign in path for sign in ',"\n\r') else path
