"""Reads the indexes of a Debian archive: Release fields, Packages paragraphs, dependency fields, dpkg's status.

Follows Debian policy 5 and 7. `split_paragraphs` streams; an index of 60,000 packages is passed in about a second.
Knows nothing of signatures or of where the bytes came from. Versions are compared in `lock`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from wherry.errors import FormatError
from wherry.model.digest import Digest

MAX_PARAGRAPH = 1 << 20

_NAME = r"[a-z0-9][a-z0-9+.\-]*"
_RELATION = re.compile(
    rf"\s*(?P<name>{_NAME})(?::(?P<arch>[a-z0-9-]+))?\s*(?:\(\s*(?P<op><<|<=|=|>=|>>|<|>)\s*(?P<version>[A-Za-z0-9.+~:\-]+)\s*\))?"
    r"\s*(?:\[(?P<arches>[^\]]*)\])?\s*(?:<[^>]*>\s*)*"
)
_PROVIDED = re.compile(rb"(?:^|,)\s*([a-z0-9][a-z0-9+.\-]*)")
_OLD_OPERATORS = {"<": "<=", ">": ">="}


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """A file that a Release names: `path` is relative to the suite's folder."""

    path: str
    size: int
    sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A suite's Release file. Times are UTC; `valid_until` is absent for suites that do not promise freshness."""

    origin: str
    suite: str
    codename: str
    date: datetime
    valid_until: datetime | None
    by_hash: bool
    architectures: tuple[str, ...]
    components: tuple[str, ...]
    files: Mapping[str, IndexFile]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """One alternative: a name, and the version it must have. `operator` is empty when any will do."""

    name: str
    operator: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.operator} {self.version})" if self.operator else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryPackage:
    """A paragraph of Packages or of dpkg's status; there `filename` and `sha256` are absent.

    `depends` are groups of alternatives, Pre-Depends first. `archive` is where the paragraph was read.
    """

    name: str
    version: str
    architecture: str
    depends: tuple[tuple[Relation, ...], ...]
    provides: tuple[Relation, ...]
    conflicts: tuple[Relation, ...]
    priority: str
    filename: str
    size: int
    sha256: Digest | None
    archive: str = ""
    unpacked: int = 0  # bytes, as its paragraph says


def parse_fields(paragraph: bytes, where: str) -> dict[str, str]:
    """One deb822 paragraph as field → value; continuation lines stay, joined by newlines."""
    fields: dict[str, str] = {}
    name = ""
    for line in paragraph.decode("utf-8", "replace").split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        if line[0] in " \t":
            if not name:
                raise FormatError("a continuation line without a field", where=where)
            fields[name] += "\n" + line.strip()
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or not name:
            raise FormatError(f"not a field: {line[:80]!r}", where=where)
        if name in fields:
            raise FormatError(f"the field {name} stands twice in one paragraph", where=where)
        fields[name] = value.strip()
    return fields


def split_paragraphs(chunks: Iterable[bytes], where: str) -> Iterator[bytes]:
    """Cut a stream at its empty lines."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n\n")
        for paragraph in whole:
            if paragraph.strip():
                yield paragraph.lstrip(b"\n")
        if len(rest) > MAX_PARAGRAPH:
            raise FormatError("a paragraph without an end", where=where)
    if rest.strip():
        yield rest.strip(b"\n")


def parse_release(data: bytes, where: str) -> Release:
    """Read the signed text of an InRelease. Only SHA256 entries count."""
    fields = parse_fields(data, where)
    try:
        date = _parse_date(fields["date"], where)
        return Release(
            origin=fields.get("origin", ""),
            suite=fields.get("suite", ""),
            codename=fields.get("codename", ""),
            date=date,
            valid_until=_parse_date(fields["valid-until"], where) if "valid-until" in fields else None,
            by_hash=fields.get("acquire-by-hash", "") == "yes",
            architectures=tuple(fields.get("architectures", "").split()),
            components=tuple(fields.get("components", "").split()),
            files={file.path: file for file in _parse_files(fields["sha256"], where)},
        )
    except KeyError as error:
        raise FormatError(f"a Release without the field {error.args[0]}", where=where) from error


def _parse_files(text: str, where: str) -> Iterator[IndexFile]:
    for line in text.split("\n"):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 3 or not parts[1].isdigit() or ".." in parts[2].split("/") or parts[2].startswith("/"):
            raise FormatError(f"a damaged entry: {line[:120]!r}", where=where)
        yield IndexFile(path=parts[2], size=int(parts[1]), sha256=Digest.parse(f"sha256:{parts[0]}"))


def _parse_date(text: str, where: str) -> datetime:
    try:
        moment = parsedate_to_datetime(text.replace(" UTC", " +0000"))
    except ValueError as error:
        raise FormatError(f"not a date: {text[:80]!r}", where=where) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_package(paragraph: bytes, where: str, archive: str = "") -> BinaryPackage:
    """Read one paragraph of Packages or status."""
    fields = parse_fields(paragraph, where)
    for wanted in ("package", "version", "architecture"):
        if not fields.get(wanted):
            raise FormatError(f"a paragraph without the field {wanted}", where=where)
    place = f"{where}: {fields['package']}"
    size, sha256 = fields.get("size", "0"), fields.get("sha256")
    unpacked = fields.get("installed-size", "0")
    filename = fields.get("filename", "")
    if not size.isdigit() or ".." in filename.split("/") or filename.startswith("/"):
        raise FormatError("a damaged Size or Filename", where=place)
    architecture = fields["architecture"]
    return BinaryPackage(
        name=fields["package"],
        version=fields["version"],
        architecture=architecture,
        depends=(
            *parse_relations(fields.get("pre-depends", ""), architecture, place),
            *parse_relations(fields.get("depends", ""), architecture, place),
        ),
        provides=_flatten(parse_relations(fields.get("provides", ""), architecture, place)),
        conflicts=_flatten(
            parse_relations(", ".join(filter(None, (fields.get("conflicts"), fields.get("breaks")))), architecture, place)
        ),
        priority=fields.get("priority", "optional"),
        filename=filename,
        size=int(size),
        sha256=Digest.parse(f"sha256:{sha256}") if sha256 else None,
        archive=archive,
        unpacked=int(unpacked) * 1024 if unpacked.isdigit() else 0,
    )


def parse_relations(text: str, architecture: str, where: str) -> tuple[tuple[Relation, ...], ...]:
    """Read a dependency field: groups joined by commas, alternatives by bars. ``[arch]`` restrictions are applied."""
    groups = []
    for group in text.split(","):
        if not group.strip():
            continue
        alternatives = tuple(
            relation for part in group.split("|") if (relation := _parse_relation(part, architecture, where)) is not None
        )
        if alternatives:
            groups.append(alternatives)
    return tuple(groups)


def _parse_relation(text: str, architecture: str, where: str) -> Relation | None:
    match = _RELATION.fullmatch(text)
    if match is None:
        raise FormatError(f"not a dependency: {text.strip()[:80]!r}", where=where)
    arches = (match["arches"] or "").split()
    if arches:
        named = {arch.lstrip("!") for arch in arches}
        if (architecture in named) == arches[0].startswith("!"):
            return None
    operator = match["op"] or ""
    return Relation(name=match["name"], operator=_OLD_OPERATORS.get(operator, operator), version=match["version"] or "")


def _flatten(groups: tuple[tuple[Relation, ...], ...]) -> tuple[Relation, ...]:
    return tuple(relation for group in groups for relation in group)


def read_status(data: bytes, where: str) -> Iterator[BinaryPackage]:
    """The installed packages of dpkg's status file."""
    for paragraph in split_paragraphs([data], where):
        status = re.search(rb"^Status:[ \t]*(.*)$", paragraph, re.MULTILINE | re.IGNORECASE)
        if status is not None and status[1].split()[-1:] == [b"installed"]:
            yield parse_package(paragraph, where)


class PackageIndex:
    """The paragraphs of several Packages files, by name; parsed when asked for, since a lock needs few of them."""

    def __init__(self) -> None:
        self._paragraphs: dict[str, list[tuple[str, bytes]]] = {}
        self._providers: dict[str, set[str]] = {}

    def add(self, chunks: Iterable[bytes], archive: str, where: str) -> None:
        """Take in one Packages file."""
        for paragraph in split_paragraphs(chunks, where):
            head, _, _ = paragraph.partition(b"\n")
            if not head.startswith(b"Package: "):
                raise FormatError(f"a paragraph that does not begin with Package: {head[:80]!r}", where=where)
            name = head[9:].strip().decode("utf-8", "replace")
            self._paragraphs.setdefault(name, []).append((archive, paragraph))
            start = paragraph.find(b"\nProvides: ")
            if start >= 0:
                for virtual in _PROVIDED.findall(paragraph[start + 11 : paragraph.find(b"\n", start + 1) % (1 << 62)]):
                    self._providers.setdefault(virtual.decode(), set()).add(name)

    def candidates(self, name: str) -> tuple[BinaryPackage, ...]:
        """All versions there are, in no order, each once."""
        found: dict[tuple[str, str], BinaryPackage] = {}
        for archive, paragraph in self._paragraphs.get(name, ()):
            package = parse_package(paragraph, name, archive)
            found.setdefault((package.version, package.architecture), package)
        return tuple(found.values())

    def providers(self, name: str) -> tuple[str, ...]:
        """The names of the packages that provide `name`, sorted."""
        return tuple(sorted(self._providers.get(name, ())))

    def __contains__(self, name: str) -> bool:
        return name in self._paragraphs
