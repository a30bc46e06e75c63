"""Locks the wheels of a platform where some have to be built first: those that the author allows, by name.

uv sees wheels only. What the author names by its source (a commit, a folder) is built before uv is asked, and comes as a
constraint. For a package without a wheel in the versions that are wanted, uv first chooses a version among empty stand-ins of
its source archives; that one is built, and uv is asked again, now with what the built wheel truly requires. What a former lock
has built stays.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import Requirement as Pep508
from packaging.utils import canonicalize_name, parse_sdist_filename
from packaging.version import Version

from wherry.errors import LockError, TransferError, TrustError, WherryError
from wherry.formats.simple_index import IndexFile
from wherry.lock.build_sandbox import SourceArchive
from wherry.lock.build_sources import BuildSources, named_sources
from wherry.lock.build_tools import require_tools, resolve_tools
from wherry.lock.builder import Builder, BuiltWheel
from wherry.lock.candidates import Candidate, NoWheelError, SourceOnlyError
from wherry.lock.standins import list_source_archives, name_standin, write_standin
from wherry.lock.target import WheelTarget, markers_of
from wherry.lock.wheels import LockOptions, lock_candidates, lock_wheels, resolve_candidates
from wherry.model.declaration import Declaration, Requirement
from wherry.model.lock import LockedBuild, LockedWheel, PlatformLock
from wherry.model.platform import Platform
from wherry.sources.package_sources import PackageSources

_ROUNDS = 20  # of uv; each but the last one builds something


@dataclass(frozen=True, slots=True, kw_only=True)
class Yard:
    """Where a platform's wheels are built. Tools are for this `host`; one build at a time has the `turn`."""

    builder: Builder
    sources: BuildSources
    host: Platform
    turn: threading.Lock = field(default_factory=threading.Lock)


def lock_built_wheels(
    declaration: Declaration,
    target: WheelTarget,
    sources: PackageSources,
    *,
    keep: PlatformLock | None,
    options: LockOptions,
    yard: Yard,
) -> tuple[tuple[LockedWheel, ...], tuple[LockedBuild, ...]]:
    """The wheels of one platform, and how those were made that nobody publishes."""
    attempt = _Attempt(declaration, target, sources, keep, options, yard)
    attempt.take_former()
    attempt.build_named()
    for _ in range(_ROUNDS):
        try:
            return attempt.lock()
        except LockError as error:
            if not attempt.build_chosen(error):
                if isinstance(error, NoWheelError) and canonicalize_name(error.package) in declaration.allow_build:
                    error.hint = "another version: this one has no source archive either that could be built"
                raise
    raise LockError("packages to be built ask for more and more others", hint="fewer names in allow-build")


def lock_listed_wheels(
    choose: Callable[[Mapping[str, Candidate]], tuple[Candidate, ...]],
    declaration: Declaration,
    target: WheelTarget,
    sources: PackageSources,
    *,
    keep: PlatformLock | None,
    options: LockOptions,
    yard: Yard,
) -> tuple[tuple[LockedWheel, ...], tuple[LockedBuild, ...]]:
    """The same where another tool's lock names the wheels: `choose` gives them, of its source archives what was built."""
    attempt = _Attempt(declaration, target, sources, keep, options, yard)
    attempt.take_former()
    while True:
        try:
            return attempt.add_builds(lock_candidates(choose(attempt.candidates()), keep, sources))
        except SourceOnlyError as error:
            if not attempt.build_chosen(error):
                raise


def make_again(yard: Yard, build: LockedBuild, wheel: LockedWheel) -> Path:
    """The file of a locked wheel that is nowhere, built as the lock says; another one than before is a `TrustError`."""
    require_tools(build, yard.host)
    with yard.turn:
        made = yard.builder.build_again(build, yard.sources.bring_locked(build))
        if (made.sha256, made.path.name) != (wheel.sha256, wheel.file):
            raise TrustError(
                f"{build.name} {build.version} was built again and is another wheel: {made.sha256} instead of {wheel.sha256}",
                where="wherry.lock",
                hint=f"--find a folder with {wheel.file}, or wherry lock --upgrade-package {build.name}",
            )
        return made.path


class NoStandinError(Exception):
    """uv finds no answer, although some source archives have stand-ins."""

    def __init__(self, error: LockError) -> None:
        super().__init__(error.what)
        self.error = error


class _Attempt:
    """One platform being locked: `forced` are built from what the author named, `offered` are what uv may take."""

    def __init__(
        self,
        declaration: Declaration,
        target: WheelTarget,
        sources: PackageSources,
        keep: PlatformLock | None,
        options: LockOptions,
        yard: Yard,
    ) -> None:
        self._declaration = declaration
        self._target = target
        self._sources = sources
        self._keep = None if options.upgrade else keep
        self._options = options
        self._yard = yard
        self._named = tuple(entry for entry in named_sources(declaration) if _applies(entry, target))
        self._forced: dict[str, BuiltWheel] = {}
        self._offered: dict[str, BuiltWheel] = {}
        self._tried: set[str] = set()

    def take_former(self) -> None:
        """Offer what the former lock has built out of released sources, so that versions stay."""
        named = {entry.name for entry in self._named}
        for build, wheel in self._former_builds():
            if build.name not in named and build.name in self._declaration.allow_build:
                source = self._yard.sources.bring_locked(build)
                self._offered[build.name] = self._as_built(build, wheel, source)

    def build_named(self) -> None:
        former = {build.name: (build, wheel) for build, wheel in self._former_builds()}
        for entry in self._named:
            source = self._yard.sources.bring_named(entry)
            build, wheel = former.get(entry.name, (None, None))
            if build is not None and wheel is not None and build.sha256 == source.sha256:
                self._forced[entry.name] = self._as_built(build, wheel, source)
            else:
                self._forced[entry.name] = self._build(source, build.tools if build is not None else ())

    def build_chosen(self, error: LockError) -> bool:
        """After uv found no answer among wheels: build what lacks one and may be built. False when there is nothing."""
        if isinstance(error, SourceOnlyError):
            return self._build_listed(error.source)
        standins: dict[IndexFile, str] = {}
        while more := self._open_names(error):
            found = {file: name for name in more for file in list_source_archives(name, self._sources, self._target)}
            standins |= found
            if found:
                try:
                    return self._build_standins(standins, self._choose_standins(standins))
                except NoStandinError as another:
                    error = another.error
        if standins:
            raise error
        return False

    def _open_names(self, error: LockError) -> list[str]:
        """Names that may be built and were not tried yet: those that the error speaks of, else all."""
        left = [name for name in self._declaration.allow_build if name not in self._forced and name not in self._tried]
        names = [name for name in left if _is_mentioned(name, error)] or left
        self._tried.update(names)
        return names

    def _choose_standins(self, standins: Mapping[IndexFile, str]) -> tuple[Candidate, ...]:
        """What uv takes where source archives count as wheels that require nothing."""
        with tempfile.TemporaryDirectory(prefix="wherry-") as scratch:
            for file in standins:
                write_standin(file, Path(scratch))
            declaration, sources = self._declare(), self._open_sources((Path(scratch),))
            free = {*standins.values(), *self._options.upgrade_packages}
            former = {wheel.name: wheel.version for wheel in self._kept_wheels() if wheel.name not in free}
            try:
                return resolve_candidates(declaration, self._target, sources, former, self._options)[0]
            except LockError as error:
                raise NoStandinError(error) from error

    def _build_standins(self, standins: Mapping[IndexFile, str], candidates: Iterable[Candidate]) -> bool:
        """Build those source archives whose stand-ins were chosen."""
        chosen = {(candidate.name, Version(candidate.version)): candidate for candidate in candidates}
        some = False
        for file, name in standins.items():
            candidate = chosen.get((name, parse_sdist_filename(file.file)[1]))
            if candidate is not None and candidate.file == name_standin(file):
                source = self._yard.sources.bring_released(name, candidate.version, file)
                self._offered[name] = self._build(source, ())
                some = True
        return some

    def _build_listed(self, listed: Candidate) -> bool:
        """Build what a resolved file (pylock.toml, uv.lock) has as a source archive alone."""
        if listed.name not in self._declaration.allow_build or listed.name in self._tried:
            return False
        self._tried.add(listed.name)
        file = IndexFile(file=listed.file, url=listed.url, sha256=listed.sha256, size=listed.size)
        self._offered[listed.name] = self._build(self._yard.sources.bring_released(listed.name, listed.version, file), ())
        return True

    def lock(self) -> tuple[tuple[LockedWheel, ...], tuple[LockedBuild, ...]]:
        """Ask uv for wheels, those that were built among them."""
        keep = replace(self._keep, wheels=self._kept_wheels()) if self._keep is not None else None
        declaration, sources, built = self._declare(), self._open_sources(), self.candidates()
        wheels = lock_wheels(declaration, self._target, sources, keep=keep, options=self._options, built=built)
        own = self._declaration.environment.own
        if own is not None and all(wheel.name != own.name for wheel in wheels):
            asked = {entry.name for entry in self._declaration.environment.requirements}
            wheels = tuple(sorted((*wheels, _own_wheel(self._forced[own.name], wheels, asked)), key=lambda wheel: wheel.name))
        return self.add_builds(wheels)

    def candidates(self) -> dict[str, Candidate]:
        """What was built of released sources, to be chosen by name and version."""
        return {name: _as_candidate(wheel) for name, wheel in self._offered.items()}

    def add_builds(self, wheels: tuple[LockedWheel, ...]) -> tuple[tuple[LockedWheel, ...], tuple[LockedBuild, ...]]:
        """The wheels, and how those of them were made that were built."""
        made = {built.sha256: built for built in self._built.values()}
        builds = tuple(made[wheel.sha256].as_locked() for wheel in wheels if wheel.sha256 in made)
        return wheels, builds

    @property
    def _built(self) -> dict[str, BuiltWheel]:
        return {**self._offered, **self._forced}

    def _kept_wheels(self) -> tuple[LockedWheel, ...]:
        """Of the former lock; what is built is not looked for among files of the same version."""
        wheels = self._keep.wheels if self._keep is not None else ()
        return tuple(wheel for wheel in wheels if wheel.name not in self._built)

    def _former_builds(self) -> Iterable[tuple[LockedBuild, LockedWheel]]:
        if self._keep is None:
            return
        wheels = {wheel.name: wheel for wheel in self._keep.wheels}
        for build in self._keep.builds:
            if build.name not in self._options.upgrade_packages and build.name in wheels:
                yield build, wheels[build.name]

    def _as_built(self, build: LockedBuild, wheel: LockedWheel, source: SourceArchive) -> BuiltWheel:
        """A wheel of the former lock: found, or made again."""
        try:
            path = self._sources.finder().fetch_wheel(wheel)
        except (LockError, TransferError):
            path = make_again(self._yard, build, wheel)
        return BuiltWheel(
            name=build.name,
            version=build.version,
            path=path,
            size=wheel.size,
            sha256=wheel.sha256,
            source=source,
            tools=build.tools,
        )

    def _build(self, source: SourceArchive, former_tools: tuple[LockedWheel, ...]) -> BuiltWheel:
        def resolve(requires: Sequence[str]) -> tuple[LockedWheel, ...]:
            target = replace(self._target, platform=self._yard.host)
            return resolve_tools(source.name, requires, self._declaration, target, self._sources, former_tools, self._options)

        with self._yard.turn:
            return self._yard.builder.build_first(source, resolve)

    def _declare(self) -> Declaration:
        """The declaration as uv is to see it: what is built stands as a constraint to its file."""
        environment = self._declaration.environment
        built = tuple(
            Requirement(text=f"{name} @ {wheel.path.resolve().as_uri()}#sha256={wheel.sha256.hex}", name=name)
            for name, wheel in sorted(self._forced.items())
            if environment.own is None or name != environment.own.name or environment.own in environment.requirements
        )
        changed = replace(
            environment,
            requirements=tuple(self._with_digest(entry) for entry in environment.requirements),
            constraints=(*(self._with_digest(entry) for entry in environment.constraints), *built),
        )
        return replace(self._declaration, environment=changed)

    def _with_digest(self, entry: Requirement) -> Requirement:
        """Where the author gave digests, they are of the source: the wheel that was built of it is as good."""
        built = self._built.get(entry.name)
        if built is None or not entry.hashes:
            return entry
        if str(built.source.sha256) not in entry.hashes:
            raise LockError(
                f"none of the digests given for {entry.name} is of {built.source.file}, which it is built from",
                where=entry.where or None,
                hint=f"add --hash={built.source.sha256}",
            )
        return replace(entry, hashes=(str(built.sha256),))

    def _open_sources(self, folders: tuple[Path, ...] = ()) -> PackageSources:
        return self._sources.with_folders((*folders, *(wheel.path.parent for wheel in self._offered.values())))


def _applies(entry: Requirement, target: WheelTarget) -> bool:
    marker = Pep508(entry.text).marker
    return marker is None or marker.evaluate(markers_of(target))


def _is_mentioned(name: str, error: LockError) -> bool:
    if isinstance(error, NoWheelError) and canonicalize_name(error.package) == name:
        return True
    cause = error.__cause__ or error.__context__
    text = f"{error} {cause if isinstance(cause, WherryError) else ''}"
    pattern = "[-_.]+".join(re.escape(part) for part in name.split("-"))
    return re.search(rf"(?<![\w.-]){pattern}(?![\w-])", text, re.IGNORECASE) is not None


def _as_candidate(built: BuiltWheel) -> Candidate:
    return Candidate(
        name=built.name,
        version=built.version,
        file=built.path.name,
        sha256=built.sha256,
        url=built.path.resolve().as_uri(),
        size=built.size,
    )


def _own_wheel(built: BuiltWheel, wheels: Sequence[LockedWheel], asked: set[str]) -> LockedWheel:
    return LockedWheel(
        name=built.name,
        version=built.version,
        file=built.path.name,
        size=built.size,
        sha256=built.sha256,
        requires=tuple(wheel.name for wheel in wheels if wheel.name in asked),
        requested=True,
    )
