"""The lock: exactly what an image is made of, per platform, without saying where it lies (docs/spec/lock.md)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from wherry.errors import LockError
from wherry.model.digest import DiffId, Digest
from wherry.model.platform import Platform

LOCK_VERSION = 1


class LayerKind(Enum):
    """What a layer holds, in the order in which layers lie: by rate of change, slowest first."""

    BASE = "base"
    INTERPRETER = "interpreter"
    RECORD = "record"  # one big record of conda
    RECORDS = "records"  # the small ones together
    WHEEL = "wheel"  # one big wheel
    WHEELS = "wheels"  # the small ones together
    BYTECODE = "bytecode"
    CODE = "code"
    MODEL = "model"
    FOREIGN = "foreign"  # made by another tool; never in a plan of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedDeb:
    """A Debian package. `section` is ``base``, ``interpreter`` or ``system`` (asked for by the author)."""

    name: str
    version: str
    architecture: str
    file: str  # the file's own name, no folder
    size: int
    sha256: Digest
    part: LayerKind = LayerKind.BASE  # BASE or INTERPRETER: the layer it goes to


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedWheel:
    """A wheel. `requires` are the normalised names of the locked wheels that it asks for on this platform."""

    name: str  # normalised (PEP 503)
    version: str
    file: str
    size: int
    sha256: Digest
    requires: tuple[str, ...] = ()
    requested: bool = False  # named by the author, not only by another wheel


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedRecord:
    """A package of conda's. `channel` is its name, such as ``conda-forge``: never an address, never a token.

    `requires` are the names of the locked records that it depends on. A `noarch_python` one lies where Python looks.
    `provides` are the normalised names of the Python distributions in its archive; None: nobody has looked.
    """

    name: str
    version: str
    build: str
    subdir: str
    channel: str
    file: str
    size: int
    sha256: Digest
    noarch_python: bool = False
    requires: tuple[str, ...] = ()
    requested: bool = False
    provides: tuple[str, ...] | None = None

    @property
    def may_hold_python(self) -> bool:
        """A record that does not ask for Python has nothing where Python looks."""
        return self.noarch_python or not {"python", "python_abi"}.isdisjoint(self.requires)


class BuildKind(Enum):
    """What a wheel was built from: a released source archive, a commit of git's, a folder of this machine."""

    SDIST = "sdist"
    GIT = "git"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedBuild:
    """How a locked wheel was made, so that it can be made again (docs/spec/builds.md). It has the wheel's name and version.

    `file`, `size` and `sha256` are of the source archive; one of git's or of a folder is put together by wherry.
    `tools` are the wheels of the build environment. `recipe` is the version of the rules of building.
    """

    name: str
    version: str
    kind: BuildKind
    file: str
    size: int
    sha256: Digest
    recipe: int
    commit: str | None = None  # of git, in full
    tools: tuple[LockedWheel, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedBase:
    """A base given as a reference: the manifest of this platform and its layers, all by digest.

    `name` is the reference without its registry, to tell whether another base is declared now. `release` is the
    distribution's whose packages are added over it, such as ``debian:bookworm``; None where none are.
    """

    name: str
    manifest: Digest
    config: Digest
    diff_ids: tuple[DiffId, ...]
    release: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedArchive:
    """A file that is unpacked whole: an interpreter as it is published for one platform."""

    file: str
    size: int
    sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedInterpreter:
    """The Python that runs the wheels. `source` is ``debian``, ``base``, ``conda`` or ``managed``, which has an `archive`.

    `path` is where it lies in the image.
    """

    source: str
    version: str  # full: 3.11.2
    path: str
    archive: LockedArchive | None = None

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedLayer:
    """One layer of the plan. `members` name packages as ``name version``; `diff_id` comes with the first build.

    So does `yields`: the names of wheels of other layers to which the members left a file that both bring.
    """

    name: str
    kind: LayerKind
    members: tuple[str, ...]
    diff_id: DiffId | None = None
    yields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformLock:
    platform: Platform
    base: LockedBase | None  # None: from debs
    interpreter: LockedInterpreter
    debs: tuple[LockedDeb, ...]
    wheels: tuple[LockedWheel, ...]
    layers: tuple[LockedLayer, ...]
    records: tuple[LockedRecord, ...] = ()
    builds: tuple[LockedBuild, ...] = ()  # of those wheels that nobody publishes


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """`declaration` is the digest of what the lock answers (docs/spec/lock.md, "The declaration's digest")."""

    declaration: Digest
    platforms: tuple[PlatformLock, ...]

    def for_platform(self, platform: Platform) -> PlatformLock:
        for locked in self.platforms:
            if locked.platform == platform:
                return locked
        have = ", ".join(str(locked.platform) for locked in self.platforms)
        raise LockError(f"the lock has no platform {platform}, only {have}", where="wherry.lock", hint="wherry lock")


def packages_digest(locked: PlatformLock) -> Digest:
    """What an environment on this machine is made of: the Python's minor version, the wheels, the records.

    Neither layers nor Debian packages count, so a first build or a newer base makes no environment stale.
    """
    packages: tuple[LockedWheel | LockedRecord, ...] = (*locked.wheels, *locked.records)
    lines = sorted(f"{package.file} {package.sha256}" for package in packages)
    return Digest.of("\n".join((f"python {locked.interpreter.minor}", *lines)).encode())
