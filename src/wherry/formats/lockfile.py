"""Reads and writes `wherry.lock` (docs/spec/lock.md): TOML, one small table per package, the same value the same bytes.

Refused: an unknown version, an unknown or missing key, two entries of one name, and every character that could make a
value into a URL, a host with a path, or a credential. Both directions check alike, so what is written can be read.
An error names the entry: ``wherry.lock: platform[0].wheel[3].sha256``. tomllib and dataclasses only: a rebuild reads it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Set
from typing import TypeVar

from wherry.errors import FormatError, LockError, WherryError
from wherry.formats.lockfile_lines import platform_lines, quote
from wherry.model.digest import DiffId, Digest
from wherry.model.lock import (
    LOCK_VERSION,
    BuildKind,
    LayerKind,
    Lock,
    LockedArchive,
    LockedBase,
    LockedBuild,
    LockedDeb,
    LockedInterpreter,
    LockedLayer,
    LockedRecord,
    LockedWheel,
    PlatformLock,
)
from wherry.model.platform import Platform

HEADER = "# What this project's images are made of. Written by `wherry lock`; keep it under version control, do not edit it.\n"
MAX_LOCK = 16 * 1024 * 1024  # characters; a lock of a thousand wheels on four platforms is 2 MB
MAX_SIZE = 2**53 - 1  # bytes of one file; every reader of JSON or TOML holds it exactly

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+-]*[A-Za-z0-9+])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~!_:-]*")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~!_%-]*\.(?:whl|deb)")
_RECORD = re.compile(r"[a-z0-9_][a-z0-9._-]*")
_BUILD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!~-]*")
_CHANNEL = re.compile(r"(?!(?:.*/)?t/)[A-Za-z0-9_][A-Za-z0-9._+-]*(?:/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")  # no /t/TOKEN
_RECORD_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9.+~!_-]*\.(?:conda|tar\.bz2)")
_SOURCE_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~!_%-]*\.(?:tar\.gz|tar|zip)")
_ARCHIVE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]*\.tar\.(?:gz|zst)")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_HEX = re.compile(r"[0-9a-f]{64}")
_IMAGE = re.compile(r"[a-z0-9][a-z0-9._/-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?")  # no registry
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MEMBER = re.compile(rf"(?:{_NAME.pattern}|{_RECORD.pattern}) {_VERSION.pattern}")
_OWNER = re.compile(rf"{_NAME.pattern}|{_RECORD.pattern}")
_LAYER = re.compile(r"[a-z0-9][a-z0-9._+-]*")
_PATH = re.compile(r"(?:/[A-Za-z0-9_.+-]+)+")
_WORD = re.compile(r"[a-z][a-z0-9-]*")
_RELEASE = re.compile(r"[a-z][a-z0-9-]*:[a-z][a-z0-9-]*")

Table = Mapping[str, object]
T = TypeVar("T")


class _MalformedError(Exception):
    """What is wrong, and the path to it, which grows at its head as the error climbs."""

    def __init__(self, what: str, *path: str) -> None:
        super().__init__(what)
        self.what = what
        self.path = list(path)


def parse_lock(text: str, where: str = "wherry.lock") -> Lock:
    """Read a lockfile. Damage is a `FormatError`; a version of the format that we do not know is a `LockError`."""
    if len(text) > MAX_LOCK:
        raise FormatError(f"is larger than {MAX_LOCK} characters", where=where)
    hint = "take the file back from version control, or write it anew: wherry lock"
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        raise FormatError(f"is not TOML: {str(error)[:200]}", where=where, hint=hint) from None
    version = document.get("version")
    if isinstance(version, int) and not isinstance(version, bool) and version != LOCK_VERSION:
        raise LockError(f"lock version {version} is unknown, only {LOCK_VERSION} is known", where=where, hint="a newer wherry")
    try:
        return _read_lock(document)
    except _MalformedError as error:
        place = ".".join(error.path)
        raise FormatError(error.what, where=f"{where}: {place}" if place else where, hint=hint) from None


def render_lock(lock: Lock, header: str = HEADER) -> str:
    """Write a lockfile; `header` is its first line. A value that may not stand in one, such as a URL, is a `LockError`."""
    lines = [header.rstrip("\n"), f"version = {LOCK_VERSION}", f"declaration = {quote(str(lock.declaration))}"]
    for platform in lock.platforms:
        lines += platform_lines(platform)
    text = "\n".join(lines) + "\n"
    try:
        reread = parse_lock(text)
    except WherryError as error:
        raise LockError(f"this cannot be locked: {error.what}", where=error.where) from None
    if reread != lock:  # pragma: no cover - the law that the tests hold
        raise LockError("this cannot be locked: it would read back as something else")
    return text


def _read_lock(document: Table) -> Lock:
    _only(document, {"version", "declaration"}, {"platform"})
    version = document["version"]
    if isinstance(version, bool) or version != LOCK_VERSION:
        raise _MalformedError(f"must be the number {LOCK_VERSION}", "version")
    platforms = _read_tables(document, "platform", _read_platform)
    _no_twins("platform", (str(locked.platform) for locked in platforms))
    return Lock(declaration=Digest.parse(_text(document, "declaration", _DIGEST)), platforms=platforms)


def _read_platform(table: Table) -> PlatformLock:
    _only(table, {"platform", "interpreter"}, {"base", "deb", "record", "wheel", "build", "layer"})
    try:
        platform = Platform.parse(_text(table, "platform"))
    except WherryError as error:
        raise _MalformedError(error.what, "platform") from None
    if str(platform) != table["platform"]:
        raise _MalformedError(f"must be written {platform}", "platform")
    debs = _read_tables(table, "deb", _read_deb)
    records = _read_tables(table, "record", _read_record)
    wheels = _read_tables(table, "wheel", _read_wheel)
    layers = _read_tables(table, "layer", _read_layer)
    _no_twins("deb", (deb.name for deb in debs))
    builds = _read_tables(table, "build", _read_build)
    _no_twins("record", (record.name for record in records))
    _no_twins("build", (build.name for build in builds))
    _no_twins("wheel", (wheel.name for wheel in wheels))
    _only_built(builds, wheels)
    _no_twins("layer", (layer.name for layer in layers))
    base = _climb("base", _read_base, table["base"]) if "base" in table else None
    interpreter = _climb("interpreter", _read_interpreter, table["interpreter"])
    return PlatformLock(
        platform=platform,
        base=base,
        interpreter=interpreter,
        debs=debs,
        records=records,
        wheels=wheels,
        builds=builds,
        layers=layers,
    )


def _read_base(table: Table) -> LockedBase:
    _only(table, {"name", "manifest", "config", "diff_ids"}, {"release"})
    return LockedBase(
        name=_text(table, "name", _IMAGE),
        manifest=Digest.parse(_text(table, "manifest", _DIGEST)),
        config=Digest.parse(_text(table, "config", _DIGEST)),
        diff_ids=tuple(DiffId.parse(text) for text in _texts(table, "diff_ids", _DIGEST)),
        release=_text(table, "release", _RELEASE) if "release" in table else None,
    )


def _read_interpreter(table: Table) -> LockedInterpreter:
    _only(table, {"source", "version", "path"}, {"file", "size", "sha256"})
    path = _text(table, "path", _PATH)
    if any(part in (".", "..") for part in path.split("/")):
        raise _MalformedError("must be an absolute path without dots", "path")
    source = _text(table, "source", _WORD)
    archive = _read_archive(table) if source == "managed" else None
    if archive is None and not table.keys().isdisjoint({"file", "size", "sha256"}):
        raise _MalformedError("only one that is managed is a file", "file")
    return LockedInterpreter(source=source, version=_text(table, "version", _VERSION), path=path, archive=archive)


def _read_archive(table: Table) -> LockedArchive:
    _only(table, {"file", "size", "sha256"}, table.keys())
    return LockedArchive(file=_text(table, "file", _ARCHIVE), size=_size(table), sha256=Digest(_text(table, "sha256", _HEX)))


def _read_deb(table: Table) -> LockedDeb:
    _only(table, {"name", "version", "architecture", "file", "size", "sha256", "part"})
    part = _kind(table, "part")
    if part not in (LayerKind.BASE, LayerKind.INTERPRETER):
        raise _MalformedError("must be base or interpreter", "part")
    return LockedDeb(
        name=_text(table, "name", _NAME),
        version=_text(table, "version", _VERSION),
        architecture=_text(table, "architecture", _WORD),
        file=_text(table, "file", _FILE),
        size=_size(table),
        sha256=Digest(_text(table, "sha256", _HEX)),
        part=part,
    )


def _read_record(table: Table) -> LockedRecord:
    needed = {"name", "version", "build", "subdir", "channel", "file", "size", "sha256"}
    _only(table, needed, {"noarch_python", "provides", "requires", "requested"})
    return LockedRecord(
        name=_text(table, "name", _RECORD),
        version=_text(table, "version", _VERSION),
        build=_text(table, "build", _BUILD),
        subdir=_text(table, "subdir", _WORD),
        channel=_text(table, "channel", _CHANNEL),
        file=_text(table, "file", _RECORD_FILE),
        size=_size(table),
        sha256=Digest(_text(table, "sha256", _HEX)),
        noarch_python=_flag(table, "noarch_python"),
        provides=_texts(table, "provides", _NAME) if "provides" in table else None,
        requires=_texts(table, "requires", _RECORD) if "requires" in table else (),
        requested=_flag(table, "requested"),
    )


def _read_wheel(table: Table) -> LockedWheel:
    _only(table, {"name", "version", "file", "size", "sha256"}, {"requires", "requested"})
    return LockedWheel(
        name=_text(table, "name", _NAME),
        version=_text(table, "version", _VERSION),
        file=_text(table, "file", _FILE),
        size=_size(table),
        sha256=Digest(_text(table, "sha256", _HEX)),
        requires=_texts(table, "requires", _NAME) if "requires" in table else (),
        requested=_flag(table, "requested"),
    )


def _read_build(table: Table) -> LockedBuild:
    _only(table, {"name", "version", "file", "size", "sha256", "kind", "recipe"}, {"commit", "tool"})
    try:
        kind = BuildKind(_text(table, "kind"))
    except ValueError:
        raise _MalformedError(f"is unknown: {str(table['kind'])[:80]!r}", "kind") from None
    recipe = table["recipe"]
    if not isinstance(recipe, int) or isinstance(recipe, bool) or recipe < 1:
        raise _MalformedError("must be a positive number", "recipe")
    if (kind is BuildKind.GIT) != ("commit" in table):
        raise _MalformedError("stands with kind git, and only there", "commit")
    tools = _read_tables(table, "tool", _read_tool)
    _no_twins("tool", (tool.name for tool in tools))
    return LockedBuild(
        name=_text(table, "name", _NAME),
        version=_text(table, "version", _VERSION),
        kind=kind,
        file=_text(table, "file", _SOURCE_FILE),
        size=_size(table),
        sha256=Digest(_text(table, "sha256", _HEX)),
        recipe=recipe,
        commit=_text(table, "commit", _COMMIT) if "commit" in table else None,
        tools=tools,
    )


def _read_tool(table: Table) -> LockedWheel:
    _only(table, {"name", "version", "file", "size", "sha256"})
    return _read_wheel(table)


def _read_layer(table: Table) -> LockedLayer:
    _only(table, {"name", "kind", "members"}, {"diff_id", "yields"})
    return LockedLayer(
        name=_text(table, "name", _LAYER),
        kind=_kind(table, "kind"),
        members=_texts(table, "members", _MEMBER),
        diff_id=DiffId.parse(_text(table, "diff_id", _DIGEST)) if "diff_id" in table else None,
        yields=_texts(table, "yields", _OWNER) if "yields" in table else (),
    )


def _read_tables(table: Table, key: str, read: Callable[[Table], T]) -> tuple[T, ...]:
    values = table.get(key, [])
    if not isinstance(values, list):
        raise _MalformedError("must be an array of tables", key)
    return tuple(_climb(f"{key}[{number}]", read, value) for number, value in enumerate(values))


def _climb(step: str, read: Callable[[Table], T], value: object) -> T:
    if not isinstance(value, dict):
        raise _MalformedError("must be a table", step)
    try:
        return read(value)
    except _MalformedError as error:
        error.path.insert(0, step)
        raise


def _only(table: Table, needed: Set[str], allowed: Set[str] = frozenset()) -> None:
    missing = sorted(needed - table.keys())
    if missing:
        raise _MalformedError("is missing", missing[0])
    unknown = sorted(table.keys() - needed - allowed)
    if unknown:
        raise _MalformedError(f"has the unknown key {unknown[0][:80]!r}")


def _only_built(builds: Iterable[LockedBuild], wheels: Iterable[LockedWheel]) -> None:
    made = {(wheel.name, wheel.version) for wheel in wheels}
    for number, build in enumerate(builds):
        if (build.name, build.version) not in made:
            raise _MalformedError(f"there is no wheel {build.name} {build.version}", f"build[{number}]")


def _no_twins(key: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for number, name in enumerate(names):
        if name in seen:
            raise _MalformedError(f"{name} stands here a second time", f"{key}[{number}]")
        seen.add(name)


def _text(table: Table, key: str, pattern: re.Pattern[str] | None = None) -> str:
    return _checked(table[key], pattern, key)


def _texts(table: Table, key: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
    values = table[key]
    if not isinstance(values, list):
        raise _MalformedError("must be an array of strings", key)
    return tuple(_checked(value, pattern, f"{key}[{number}]") for number, value in enumerate(values))


def _checked(value: object, pattern: re.Pattern[str] | None, step: str) -> str:
    if not isinstance(value, str):
        raise _MalformedError("must be a string", step)
    if len(value) > 1024 or (pattern is not None and pattern.fullmatch(value) is None):
        raise _MalformedError(f"must not be {value[:80]!r}", step)
    return value


def _flag(table: Table, key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise _MalformedError("must be true or false", key)
    return value


def _size(table: Table) -> int:
    value = table["size"]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_SIZE:
        raise _MalformedError("must be a number of bytes", "size")
    return value


def _kind(table: Table, key: str) -> LayerKind:
    try:
        kind = LayerKind(_text(table, key))
    except ValueError:
        raise _MalformedError(f"is unknown: {str(table[key])[:80]!r}", key) from None
    if kind is LayerKind.FOREIGN:
        raise _MalformedError("must not be foreign", key)
    return kind
