"""A Debian archive as wherry uses it: signed indexes in, verified packages out.

Knows how the suites of one release hang together (`bookworm`, `bookworm-updates`, `bookworm-security`), where mirrors
keep them, and how to keep what was fetched. Rules: nothing is believed that does not hang from an InRelease signed by
a key of `debian_trust`; a suite once seen is never replaced by an older one, an expired one is refused; a release that
apt on this machine is not configured for is looked for on the same mirrors. Ubuntu's archives are laid out alike.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from wherry.errors import FormatError, LockError, TransferError, TrustError, WherryError
from wherry.formats.deb import open_deb
from wherry.formats.debian_index import (
    BinaryPackage,
    IndexFile,
    PackageIndex,
    Release,
    parse_package,
    parse_release,
    split_paragraphs,
)
from wherry.formats.decompress import CHUNK, unpack_chunks
from wherry.formats.tar import EntryKind
from wherry.formats.urls import strip_login
from wherry.model.lock import LockedDeb
from wherry.model.platform import Platform
from wherry.model.progress import Progress, be_silent
from wherry.sources.apt import AptSource, read_apt_logins, read_apt_proxies, read_apt_sources
from wherry.sources.debian_fetch import Fetcher
from wherry.sources.debian_trust import (
    DEBIAN,
    MAX_INRELEASE,
    MAX_KEYRING,
    UBUNTU,
    Distribution,
    Keyring,
    host_keyring,
    own_sources,
    read_host,
)
from wherry.store.posix import write_atomically

__all__ = ["DEBIAN", "UBUNTU", "AptSource", "DebianArchive", "mirror_sources", "open_archive", "read_apt_sources"]

MAX_INDEX = 1 << 30
_KINDS = ("", "-updates", "-security")


def mirror_sources(mirror: str) -> tuple[AptSource, ...]:
    """What `[debian] mirror` means: one address for everything, its sibling ``…-security`` for security."""
    uri = mirror.rstrip("/")
    return tuple(
        AptSource(uri=address, suite=suite, components=(), where="[debian] mirror")
        for address, suite in ((uri, "stable"), (f"{uri}-security", "any-security"))
    )


def open_archive(
    env: Mapping[str, str],
    cache: Path,
    *,
    mirror: str | None = None,
    offline: bool = False,
    progress: Progress = be_silent,
    root: Path = Path("/"),
    distribution: Distribution = DEBIAN,
) -> DebianArchive | None:
    """The distribution's archive that this machine is configured for, or `mirror`; None where there is neither."""
    sources = mirror_sources(mirror) if mirror else own_sources(read_apt_sources(env, root), distribution, read_host(root))
    if not sources:
        return None
    fetcher = Fetcher(read_apt_proxies(env, root), read_apt_logins(root), env)
    return DebianArchive(sources, cache, offline=offline, progress=progress, fetcher=fetcher, root=root, distribution=distribution)


class DebianArchive:
    """Indexes and packages of one archive. Close it, or use it as a context manager."""

    def __init__(
        self,
        sources: Sequence[AptSource],
        cache: Path,
        *,
        offline: bool = False,
        progress: Progress = be_silent,
        fetcher: Fetcher | None = None,
        root: Path = Path("/"),
        distribution: Distribution = DEBIAN,
        keyring: Keyring | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.distribution = distribution
        self._cache = cache
        self._offline = offline
        self._progress = progress
        self._fetcher = fetcher or Fetcher({})
        self._now = now
        self._keyring = keyring if keyring is not None else host_keyring(sources, distribution, root)
        self._sources = own_sources(sources, distribution, distribution.name)
        self._releases: dict[tuple[str, str], tuple[str, Release] | None] = {}
        self._reading = threading.Lock()
        self._indexes: dict[tuple[str, str], PackageIndex] = {}

    def __enter__(self) -> DebianArchive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._fetcher.close()

    def packages(self, suite: str, platform: Platform) -> PackageIndex:
        """All packages of a release for one platform: the suite, its updates and its security updates, merged."""
        key = (suite, platform.debian)
        with self._reading:  # `fetch_all` may ask from several threads
            if key not in self._indexes:
                self._indexes.clear()  # one at a time: each is 100 MB, and platforms are locked in turn
                self._indexes[key] = self._merge(suite, platform)
            return self._indexes[key]

    def fetch(self, deb: LockedDeb, *, suite: str | None = None, platform: Platform | None = None) -> Path:
        """The verified package file, from the cache or a mirror.

        A package that this cache never saw being locked is looked up in `suite` for `platform`.
        """
        target = self._cache / "artefacts" / "sha256" / deb.sha256.hex / deb.file
        if _is_whole(target, deb):
            return target
        if self._offline:
            raise LockError(
                f"{deb.name} {deb.version} is not in the cache", where="wherry.lock", hint="build once without --offline"
            )
        for filename in self._locations(deb, suite, platform):
            for uri in dict.fromkeys(source.uri for source in self._sources):
                url = f"{uri}/{filename}"
                if self._fetcher.fetch(url, target, size=deb.size, sha256=deb.sha256, progress=self._progress):
                    return target
        raise LockError(
            f"{deb.name} {deb.version} ({deb.architecture}) is no longer on the mirror",
            where="wherry.lock",
            hint=f"wherry lock --upgrade-package {deb.name}",
        )

    def fetch_all(
        self, debs: Sequence[LockedDeb], *, suite: str | None = None, platform: Platform | None = None
    ) -> tuple[tuple[LockedDeb, Path], ...]:
        """`fetch` for many at once, in the order given."""
        with ThreadPoolExecutor(8) as pool:
            paths = list(pool.map(lambda deb: self.fetch(deb, suite=suite, platform=platform), debs))
        return tuple(zip(debs, paths, strict=True))

    def name_file(self, suite: str, platform: Platform, *paths: str) -> IndexFile | None:
        """The first of some files that a suite's signed Release names; None where it names none of them."""
        found = self._release(suite, platform)
        return next((found[1].files[path] for path in paths if path in found[1].files), None) if found else None

    def fetch_file(self, suite: str, platform: Platform, file: IndexFile) -> Path:
        """A file that `name_file` gave, in the cache now; `read_verified` reads it."""
        found = self._release(suite, platform)
        assert found is not None  # noqa: S101 - it named the file
        return self._fetch_named(*found, suite, file, Path(file.path).suffix.lstrip("."), f"{suite} {file.path}")

    def remember(self, package: BinaryPackage) -> None:
        """Keep where in the pool a package lies, so that fetching it needs no index."""
        if package.sha256 is not None:
            _keep(self._cache / "debian" / "pool" / package.sha256.hex, package.filename.encode())

    def _locations(self, deb: LockedDeb, suite: str | None, platform: Platform | None) -> Iterator[str]:
        known = self._cache / "debian" / "pool" / deb.sha256.hex
        with contextlib.suppress(FileNotFoundError):
            yield known.read_text("utf-8")
        if suite is not None and platform is not None:
            for package in self.packages(suite, platform).candidates(deb.name):
                if package.sha256 == deb.sha256:
                    yield package.filename

    def _merge(self, suite: str, platform: Platform) -> PackageIndex:
        index = PackageIndex()
        for kind in _KINDS:
            found = self._release(suite + kind, platform)
            if found is not None:
                self._read_index(index, *found, suite + kind, platform)
        return index

    def _release(self, suite: str, platform: Platform) -> tuple[str, Release] | None:
        """The address and the verified Release of a suite; None for updates that no source offers."""
        key = (suite, platform.debian)
        if key not in self._releases:
            self._releases[key] = self._find_release(suite, platform)
        return self._releases[key]

    def _find_release(self, suite: str, platform: Platform) -> tuple[str, Release] | None:
        kind = "-" + suite.partition("-")[2] if "-" in suite else ""
        refused: WherryError | None = None
        for uri in self._candidates(suite, kind, platform):
            try:
                release = self._read_release(uri, suite)
            except TrustError as error:
                refused = refused or error
                continue
            if release is None:
                continue
            if platform.debian in release.architectures:
                return uri, release
            has = ", ".join(release.architectures)
            refused = refused or LockError(f"{suite} has no packages for {platform}, only for {has}", where=strip_login(uri))
        if refused is not None:
            raise refused
        if not kind or any(source.suite.endswith(kind) and source.where != "[debian] mirror" for source in self._sources):
            places = ", ".join(dict.fromkeys(source.place for source in self._sources)) or "any source"
            state = "in the cache" if self._offline else f"on {places}"
            hint = "once without --offline" if self._offline else "set [debian] mirror"
            raise LockError(f"the suite {suite} is not {state}", where="apt configuration", hint=hint)
        return None

    def _candidates(self, suite: str, kind: str, platform: Platform) -> list[str]:
        """Addresses to ask: those configured for this very suite, then those of its kind, then the rest."""

        def rank(source: AptSource) -> tuple[bool, int]:
            other_architecture = bool(source.architectures) and platform.debian not in source.architectures
            if source.suite == suite:
                return other_architecture, 0
            return other_architecture, 1 if (kind == "-security") == source.suite.endswith("-security") else 2

        return list(dict.fromkeys(source.uri for source in sorted(self._sources, key=rank)))

    def _read_release(self, uri: str, suite: str) -> Release | None:
        where = f"{strip_login(uri)} {suite} InRelease"
        kept = self._cache / "debian" / "suites" / f"{hashlib.sha256(uri.encode()).hexdigest()[:16]}-{suite}"
        if self._offline:
            return self._verify(kept.read_bytes(), suite, where, uri) if kept.is_file() else None
        data = self._fetcher.read(f"{uri}/dists/{suite}/InRelease", MAX_INRELEASE)
        if data is None:
            return None
        release = self._verify(data, suite, where, uri)
        former = None
        with contextlib.suppress(TrustError, FormatError, FileNotFoundError):  # what was kept may be damaged
            former = self._verify(kept.read_bytes(), suite, where, uri)
        if former is not None and former.date > release.date:
            release = former  # the mirror is behind, or made to look so: what was seen stays
        else:
            _keep(kept, data)
        if release.valid_until is not None and release.valid_until < self._now():
            raise TrustError(
                f"expired on {release.valid_until:%Y-%m-%d}",
                where=where,
                hint="the mirror is stale, or this machine's clock is wrong",
            )
        return release

    def _verify(self, data: bytes, suite: str, where: str, uri: str) -> Release:
        if not self._keyring and not self._offline:
            self._fetch_keyring(data, uri, where)
        release = parse_release(self._keyring.verify_inrelease(data, where), where)
        if suite not in (release.codename, release.suite):
            raise TrustError(f"is the InRelease of {release.codename}, not of {suite}", where=where)
        return release

    def _read_index(self, index: PackageIndex, uri: str, release: Release, suite: str, platform: Platform) -> None:
        where = f"{strip_login(uri)} {suite} Packages"
        for component in self.distribution.components:
            path, file, suffix = self._index_file(uri, release, suite, f"{component}/binary-{platform.debian}", where)
            index.add(read_verified(path, file, suffix, where), uri, where)

    def _index_file(self, uri: str, release: Release, suite: str, folder: str, where: str) -> tuple[Path, IndexFile, str]:
        """The Packages file of a folder such as ``main/binary-arm64``, in the cache now; with its compression."""
        for suffix in ("xz", "gz", ""):
            file = release.files.get(f"{folder}/Packages.{suffix}".rstrip("."))
            if file is not None:
                break
        else:
            raise LockError(f"{suite} has no {folder}", where=where)
        return self._fetch_named(uri, release, suite, file, suffix, where), file, suffix

    def _fetch_named(self, uri: str, release: Release, suite: str, file: IndexFile, suffix: str, where: str) -> Path:
        path = self._cache / "debian" / "indexes" / f"{file.sha256.hex}.{suffix or 'plain'}"
        if path.is_file() and path.stat().st_size == file.size:
            return path
        if self._offline:
            raise LockError("is not in the cache", where=where, hint="lock once without --offline")
        folder = file.path.rpartition("/")[0]
        names = [f"{folder}/by-hash/SHA256/{file.sha256.hex}".lstrip("/")] if release.by_hash else []
        for name in (*names, file.path):
            url = f"{uri}/dists/{suite}/{name}"
            if self._fetcher.fetch(url, path, size=file.size, sha256=file.sha256, progress=self._progress):
                return path
        raise TransferError(
            "the index that the suite names is not there", where=where, hint="the mirror is being updated: try again"
        )

    def _fetch_keyring(self, unverified: bytes, uri: str, where: str) -> None:
        """Bring the keys from the archive's own package.

        Everything read on the way is unproven and only tells where the package lies: of what it holds, `Keyring` keeps
        nothing but the certificates whose fingerprints stand in the source.
        """
        text = unverified.partition(b"\n\n")[2].partition(b"-----BEGIN PGP SIGNATURE")[0]
        release = parse_release(text, where)
        path, file, suffix = self._index_file(uri, release, release.codename, "main/binary-amd64", where)
        for paragraph in split_paragraphs(read_verified(path, file, suffix, where), where):
            if paragraph.startswith(f"Package: {self.distribution.keyring}\n".encode()):
                package = parse_package(paragraph, where)
                break
        else:
            return
        if package.sha256 is None:
            return
        target = self._cache / "artefacts" / "sha256" / package.sha256.hex / Path(package.filename).name
        if not self._fetcher.fetch(f"{uri}/{package.filename}", target, size=package.size, sha256=package.sha256):
            return
        with target.open("rb") as stream:
            for member in open_deb(stream, target.name).members:
                if member.path.startswith("usr/share/keyrings/") and member.kind is EntryKind.FILE and member.size <= MAX_KEYRING:
                    self._keyring.add(b"".join(member.content))


def read_verified(path: Path, file: IndexFile, suffix: str, where: str) -> Iterator[bytes]:
    """An index unpacked, hashing what is read; a cache that was altered is a `TrustError` at the end."""
    digest = hashlib.sha256()

    def read() -> Iterator[bytes]:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                yield chunk

    yield from unpack_chunks(read(), suffix, limit=MAX_INDEX, where=where)
    if digest.hexdigest() != file.sha256.hex:
        path.unlink(missing_ok=True)
        raise TrustError("the index in the cache was altered", where=where, hint="run the command again: it was removed")


def _is_whole(path: Path, deb: LockedDeb) -> bool:
    """Whether the cached file is the locked one; another is removed, to be fetched again."""
    try:
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() == deb.sha256.hex:
                return True
    except FileNotFoundError:
        return False
    path.unlink(missing_ok=True)
    return False


def _keep(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)
