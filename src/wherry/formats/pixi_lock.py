"""pixi.lock, versions 4 to 7, to a `ForeignLock`: one environment of it, all its platforms.

``environments.NAME.packages.PLATFORM`` lists addresses; ``packages`` describes each once (4 and 5: ``kind`` and ``url``; from 6
on: ``conda: ADDRESS`` or ``pypi: ADDRESS``, and what the address tells is left out). Refused: packages that pixi would build
from source, because no digest fixes what comes out of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wherry.errors import FormatError
from wherry.formats.conda_address import ARCHIVES, RecordAddress, name_channel, split_record_address
from wherry.formats.foreign_packages import make_wheel, parse_md5, parse_sha256, parse_size
from wherry.formats.yaml_document import YamlMap, YamlNode, YamlScalar, items_of, parse_yaml, scalar_of
from wherry.model.foreign_lock import ForeignLock, ForeignPlatform, ForeignRecord, ForeignWheel

VERSIONS = range(4, 8)
_Described = Mapping[tuple[str, str], YamlMap]


def parse_pixi_lock(text: str, where: str, environment: str = "default") -> ForeignLock:
    """Read one environment. `where` is the file's name for every `FormatError`."""
    document = parse_yaml(text, where)
    if not isinstance(document, YamlMap):
        raise FormatError("not a pixi.lock", where=where, hint="pixi lock")
    version = check_pixi_version(document, where)
    chosen = _choose(document, environment, where)
    reader = _Reader(where=where, described=_index(document, version, where))
    subdirs = _subdirs(document)
    platforms = []
    packages = chosen.get("packages")
    for key, listed in packages.pairs if isinstance(packages, YamlMap) else ():
        platforms.append(reader.read_platform(subdirs.get(key.text, key.text), items_of(listed)))
    channels = [_address(channel) for channel in items_of(chosen.get("channels"))]
    return ForeignLock(channels=tuple(name_channel(channel) for channel in channels if channel), platforms=tuple(platforms))


def check_pixi_version(document: YamlMap, where: str) -> int:
    """The version of the file; a `FormatError` for those that are not read."""
    text = scalar_of(document.get("version"))
    if text is None or not text.isdigit():
        raise FormatError("not a pixi.lock: no version", where=where, hint="pixi lock")
    version = int(text[:9])
    if version not in VERSIONS:
        what = f"a pixi.lock of version {version}; {VERSIONS[0]} to {VERSIONS[-1]} are read"
        raise FormatError(what, where=where, hint="pixi lock with a newer pixi" if version < VERSIONS[0] else "a newer wherry")
    return version


def _choose(document: YamlMap, environment: str, where: str) -> YamlMap:
    environments = document.get("environments")
    pairs = environments.pairs if isinstance(environments, YamlMap) else ()
    for name, found in pairs:
        if name.text == environment and isinstance(found, YamlMap):
            return found
    have = ", ".join(name.text for name, _ in pairs) or "none"
    hint = 'environment = { file = "pixi.lock", groups = ["NAME"] }'
    raise FormatError(f"no environment {environment!r}, there are: {have}", where=where, hint=hint)


def _subdirs(document: YamlMap) -> dict[str, str]:
    """Names of platforms that are not conda's names themselves (version 7)."""
    listed = (item for item in items_of(document.get("platforms")) if isinstance(item, YamlMap))
    named = ((scalar_of(item.get("name")), scalar_of(item.get("subdir"))) for item in listed)
    return {name: subdir for name, subdir in named if name and subdir}


def _index(document: YamlMap, version: int, where: str) -> _Described:
    found: dict[tuple[str, str], YamlMap] = {}
    for item in items_of(document.get("packages")):
        if not isinstance(item, YamlMap):
            raise FormatError("not the description of a package", where=f"{where}:{item.line}")
        if version >= VERSIONS[2]:
            keys = [(kind, scalar_of(item.get(kind))) for kind in ("conda", "pypi")]
        else:
            keys = [(scalar_of(item.get("kind")) or "", scalar_of(item.get("url")) or scalar_of(item.get("path")))]
        for kind, address in keys:
            if address is not None:
                found[kind, address] = item
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    where: str
    described: _Described

    def read_platform(self, subdir: str, listed: tuple[YamlNode, ...]) -> ForeignPlatform:
        records, wheels = [], []
        for item in listed:
            kind, address = _reference(item)
            place = f"{self.where}:{item.line}"
            described = self.described.get((kind, address))
            if kind == "conda":
                records.append(self._read_record(address, described, place))
            elif kind == "pypi":
                wheels.append(self._read_wheel(address, described, place))
            else:
                raise FormatError("neither conda: nor pypi:", where=place)
        return ForeignPlatform(subdir=subdir, records=tuple(records), wheels=tuple(wheels))

    def _read_record(self, address: str, described: YamlMap | None, place: str) -> ForeignRecord:
        if not address.partition("#")[0].endswith(ARCHIVES):
            name = scalar_of(described.get("name")) if described else None
            hint = "publish it to a channel and lock again, or take it out of the environment"
            raise FormatError(f"{name or address[:80]} is built from source by pixi", where=place, hint=hint)
        if described is None:
            raise FormatError(f"not described under packages: {address.rpartition('/')[2][:120]}", where=place, hint="pixi lock")
        at = f"{self.where}:{described.line}"
        split = split_record_address(address, place)
        return ForeignRecord(
            name=scalar_of(described.get("name")) or split.name,
            version=scalar_of(described.get("version")) or split.version,
            build=scalar_of(described.get("build")) or split.build,
            channel=name_channel(scalar_of(described.get("channel")) or split.channel),
            subdir=scalar_of(described.get("subdir")) or split.subdir,
            file=split.file,
            size=parse_size(scalar_of(described.get("size")), at),
            sha256=parse_sha256(scalar_of(described.get("sha256")), at),
            md5=parse_md5(scalar_of(described.get("md5")), at),
            noarch_python=_is_noarch_python(described, split),
            depends=_texts(described.get("depends")),
        )

    def _read_wheel(self, address: str, described: YamlMap | None, place: str) -> ForeignWheel:
        if described is None:
            raise FormatError("not described under packages", where=place, hint="pixi lock")
        at = f"{self.where}:{described.line}"
        return make_wheel(
            name=scalar_of(described.get("name")),
            version=scalar_of(described.get("version")),
            address=address,
            sha256=parse_sha256(scalar_of(described.get("sha256")), at),
            requires=_texts(described.get("requires_dist")),
            editable=scalar_of(described.get("editable")) == "true",
            where=at,
        )


def _reference(item: YamlNode) -> tuple[str, str]:
    if isinstance(item, YamlMap):
        for kind in ("conda", "pypi"):
            if (address := scalar_of(item.get(kind))) is not None:
                return kind, address
    return "", ""


def _is_noarch_python(described: YamlMap, split: RecordAddress) -> bool | None:
    """From version 6 on it is left out where subdir and build tell it."""
    if split.subdir != "noarch":
        return False
    if (noarch := scalar_of(described.get("noarch"))) is not None:
        return noarch == "python"
    return True if split.build.startswith("py") else None


def _address(channel: YamlNode) -> str | None:
    return scalar_of(channel.get("url") if isinstance(channel, YamlMap) else channel)


def _texts(node: YamlNode | None) -> tuple[str, ...]:
    return tuple(item.text for item in items_of(node) if isinstance(item, YamlScalar))
