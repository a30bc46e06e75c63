"""``conda list --explicit``'s output to a `ForeignLock`: one address a line, below a line ``@EXPLICIT``.

A digest may follow (``#md5``, ``#sha256:…``). It is for one platform: the one that its comment ``# platform: …`` names, else
the one whose packages it lists. conda-lock adds ``# pip NAME @ URL --hash=sha256:…`` for distributions: these are read too.
"""

from __future__ import annotations

import re

from wherry.errors import FormatError
from wherry.formats.conda_address import split_record_address
from wherry.formats.foreign_packages import make_wheel, parse_md5, parse_sha256
from wherry.model.foreign_lock import ForeignLock, ForeignPlatform, ForeignRecord, ForeignWheel

MARK = "@EXPLICIT"
_PLATFORM = re.compile(r"#\s*platform:\s*([a-z]+-[a-z0-9_]+)\s*")
_PIP = re.compile(
    r"#\s*pip\s+(?P<name>[A-Za-z0-9._-]+)\s*@\s*(?P<url>\S+?)(?:#sha256=\S*)?(?:\s+--hash=sha256:(?P<sha256>\S+))?\s*"
)
_HINT = "conda list --explicit --sha256"


def parse_explicit(text: str, where: str) -> ForeignLock:
    """Read the list. `where` is the file's name for every `FormatError`."""
    platform: str | None = None
    records: list[ForeignRecord] = []
    wheels: list[ForeignWheel] = []
    marked = False
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff")), 1):
        place, line = f"{where}:{number}", line.strip()
        if line == MARK:
            marked = True
        elif found := _PLATFORM.fullmatch(line):
            platform = found[1]
        elif found := _PIP.fullmatch(line):
            wheels.append(_wheel(found, place))
        elif line and not line.startswith("#"):
            records.append(_record(line, place))
    if not marked:
        raise FormatError(f"no line {MARK}", where=where, hint=_HINT)
    listed = ForeignPlatform(subdir=platform or _guess(records, where), records=tuple(records), wheels=tuple(wheels))
    channels = tuple(dict.fromkeys(record.channel for record in records))
    return ForeignLock(channels=channels, platforms=(listed,))


def _record(line: str, place: str) -> ForeignRecord:
    address, _, digest = line.partition("#")
    split = split_record_address(address, place)
    is_sha256 = digest.startswith("sha256:") or len(digest) == 64
    return ForeignRecord(
        name=split.name,
        version=split.version,
        build=split.build,
        channel=split.channel,
        subdir=split.subdir,
        file=split.file,
        sha256=parse_sha256(digest.removeprefix("sha256:"), place) if is_sha256 else None,
        md5=None if is_sha256 else parse_md5(digest, place),
        noarch_python=None if split.subdir == "noarch" else False,
    )


def _wheel(found: re.Match[str], place: str) -> ForeignWheel:
    sha256 = parse_sha256(found["sha256"], place)
    return make_wheel(
        name=found["name"], version=None, address=found["url"], sha256=sha256, requires=(), editable=False, where=place
    )


def _guess(records: list[ForeignRecord], where: str) -> str:
    subdirs = sorted({record.subdir for record in records} - {"noarch"})
    if len(subdirs) != 1:
        what = f"packages of several platforms: {', '.join(subdirs)}" if subdirs else "no package tells the platform"
        raise FormatError(what, where=where, hint="a line `# platform: linux-64` above @EXPLICIT")
    return subdirs[0]
