"""conda-lock.yml to a `ForeignLock`: its main packages, and those of further categories that are named.

Each entry of ``package`` is one package on one platform, with its address and digests but without its size. ``manager: pip``
marks distributions.
"""

from __future__ import annotations

from collections.abc import Collection

from wherry.errors import FormatError
from wherry.formats.conda_address import name_channel, split_record_address
from wherry.formats.foreign_packages import make_wheel, parse_md5, parse_sha256
from wherry.formats.yaml_document import YamlMap, YamlNode, items_of, parse_yaml, scalar_of
from wherry.model.foreign_lock import ForeignLock, ForeignPlatform, ForeignRecord, ForeignWheel

MAIN = "main"


def parse_conda_lock(text: str, where: str, categories: Collection[str] = ()) -> ForeignLock:
    """Read all platforms. `categories` are taken besides ``main``; `where` is the file's name for every `FormatError`."""
    document = parse_yaml(text, where)
    if not isinstance(document, YamlMap) or document.get("package") is None:
        raise FormatError("not a conda-lock.yml: no packages", where=where, hint="conda-lock lock")
    version = scalar_of(document.get("version"))
    if version not in (None, "1"):
        raise FormatError(f"a conda-lock.yml of version {version[:20]}; 1 is read", where=where)
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, YamlMap) else YamlMap(pairs=(), line=1)
    platforms: dict[str, tuple[list[ForeignRecord], list[ForeignWheel]]] = {
        name: ([], []) for item in items_of(metadata.get("platforms")) if (name := scalar_of(item))
    }
    seen, left_out = set[str](), set[str]()
    for item in items_of(document.get("package")):
        package = _Package(item, where)
        seen.add(package.category)
        records, wheels = platforms.setdefault(package.text("platform"), ([], []))
        if package.category != MAIN and package.category not in categories:
            left_out.add(package.category)
        elif package.text("manager") == "pip":
            wheels.append(package.read_wheel())
        else:
            records.append(package.read_record())
    if missing := sorted(set(categories) - seen - {MAIN}):
        raise FormatError(f"no category {missing[0]!r}, there are: {', '.join(sorted(seen)) or 'none'}", where=where)
    return ForeignLock(
        channels=tuple(name_channel(url) for item in items_of(metadata.get("channels")) if (url := _channel(item))),
        platforms=tuple(
            ForeignPlatform(subdir=name, records=tuple(records), wheels=tuple(wheels))
            for name, (records, wheels) in platforms.items()
        ),
        notes=tuple(f"{where}: packages of the category {name!r} are left out" for name in sorted(left_out)),
    )


class _Package:
    def __init__(self, item: YamlNode, where: str) -> None:
        if not isinstance(item, YamlMap):
            raise FormatError("not a package", where=f"{where}:{item.line}")
        self.item = item
        self.where = f"{where}:{item.line}"

    @property
    def category(self) -> str:
        return scalar_of(self.item.get("category")) or MAIN

    def text(self, key: str) -> str:
        found = scalar_of(self.item.get(key))
        if not found:
            raise FormatError(f"a package without {key}", where=self.where, hint="conda-lock lock")
        return found

    def digest(self, key: str) -> str | None:
        digests = self.item.get("hash")
        return scalar_of(digests.get(key)) if isinstance(digests, YamlMap) else None

    def read_record(self) -> ForeignRecord:
        split = split_record_address(self.text("url"), self.where)
        return ForeignRecord(
            name=self.text("name"),
            version=self.text("version"),
            build=split.build,
            channel=split.channel,
            subdir=split.subdir,
            file=split.file,
            sha256=parse_sha256(self.digest("sha256"), self.where),
            md5=parse_md5(self.digest("md5"), self.where),
            noarch_python=None if split.subdir == "noarch" else False,
            depends=self.dependencies(),
        )

    def read_wheel(self) -> ForeignWheel:
        return make_wheel(
            name=self.text("name"),
            version=self.text("version"),
            address=self.text("url"),
            sha256=parse_sha256(self.digest("sha256"), self.where),
            requires=self.dependencies(),
            editable=False,
            where=self.where,
        )

    def dependencies(self) -> tuple[str, ...]:
        listed = self.item.get("dependencies")
        pairs = listed.pairs if isinstance(listed, YamlMap) else ()
        return tuple(f"{name.text} {'' if (spec := scalar_of(value)) in (None, '*') else spec}".strip() for name, value in pairs)


def _channel(item: YamlNode) -> str | None:
    return scalar_of(item.get("url") if isinstance(item, YamlMap) else item)
