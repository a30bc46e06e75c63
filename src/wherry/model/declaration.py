"""What the author asks for: the value behind `wherry.toml`, `[tool.wherry]`, or a bare folder.

Paths are POSIX and relative to the project's folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from wherry.model.lock import BuildKind
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.model.scoring import ScoreService


class Bytecode(Enum):
    """What happens to `.pyc` files (docs/explanation: bytecode)."""

    LAYER = "layer"
    CACHE = "cache"
    NONE = "none"


class Compression(Enum):
    GZIP = "gzip"
    ZSTD = "zstd"


class InterpreterSource(Enum):
    """Where the image's Python comes from, where it is not one of an environment of conda's: the base, uv's managed CPython,
    or a channel of conda's."""

    BASE = "base"
    MANAGED = "managed"
    CONDA = "conda"


class EnvironmentKind(Enum):
    """Which reader made the environment. A file of another tool's lock is resolved already."""

    REQUIREMENTS = "requirements.txt"
    PYPROJECT = "pyproject.toml"
    PYLOCK = "pylock.toml"
    UV_LOCK = "uv.lock"
    CONDA = "environment.yml"
    CONDA_LOCK = "conda-lock.yml"
    PIXI_LOCK = "pixi.lock"
    CONDA_EXPLICIT = "@EXPLICIT"
    EMPTY = "empty"

    @property
    def is_conda(self) -> bool:
        """Whether its packages, Python among them, are conda's."""
        return self in (
            EnvironmentKind.CONDA,
            EnvironmentKind.CONDA_LOCK,
            EnvironmentKind.PIXI_LOCK,
            EnvironmentKind.CONDA_EXPLICIT,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOrigin:
    """Where the source of a package lies that is to be built. `url` may hold a login: never put it in a lock or log.

    For git `commit` is in full; `folder` is of a FOLDER, relative to the project. `subfolder` is the package's in the source.
    """

    kind: BuildKind
    url: str = ""
    commit: str | None = None
    folder: str = ""
    subfolder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One line as uv reads it. `text` is PEP 508 without options; `hashes` are ``sha256:…``; `where` is ``file:line``.

    With a `source` it names no released wheel but what is to be built, and `text` is its name, extras and marker alone.
    """

    text: str
    name: str
    hashes: tuple[str, ...] = ()
    where: str = ""
    source: SourceOrigin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexOptions:
    """Index options found in a requirements file. They may hold credentials: never put them in a lock, log or image."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    pre: bool = False
    places: tuple[tuple[str, str], ...] = ()  # addresses without login, each with its ``file:line``


class ChannelPriority(Enum):
    """Conda's meanings: whether a package may come from a later channel when an earlier one has one of its name."""

    STRICT = "strict"
    FLEXIBLE = "flexible"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaSpec:
    """One match spec, as the solver reads it. `subdirs` are those it is meant for; empty: all. `where` is ``file:line``."""

    text: str
    name: str
    subdirs: tuple[str, ...] = ()
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaRequest:
    """What is asked of conda's channels. `channels` are names or addresses without login, the first one first."""

    channels: tuple[str, ...] = ()
    specs: tuple[CondaSpec, ...] = ()
    priority: ChannelPriority = ChannelPriority.STRICT
    places: tuple[tuple[str, str], ...] = ()  # channels, each with its ``file:line``


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The packages asked for.

    `files` are the files read, first the one named (then `-r`, `-c` …). `requirements` and `constraints` are filled for
    REQUIREMENTS and PYPROJECT, sorted as written; for CONDA they are those of its pip section, and `conda` is the rest.
    A file that is resolved already is what the lock stage reads, with `extras` and `groups`. `conda` is there for other kinds,
    too, where Python itself is to be conda's.
    """

    kind: EnvironmentKind
    files: tuple[str, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    constraints: tuple[Requirement, ...] = ()
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    indexes: IndexOptions = IndexOptions()
    conda: CondaRequest | None = None
    own: Requirement | None = None  # the project's own package, to be built and installed
    besides: tuple[Requirement, ...] = ()  # what wherry itself needs in there: the runtime of a scoring service

    @property
    def has_records(self) -> bool:
        """Whether some of its packages are conda's, Python among them: `conda` asks for them, or the file names them."""
        return self.conda is not None or self.kind.is_conda


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianBase:
    """A base unpacked from Debian's signed packages. `suite` is ``bookworm`` or ``trixie``."""

    suite: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceBase:
    """A base that somebody published; the lock pins it by digest."""

    reference: Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeSelection:
    """Which of the project's files go into the code layer. Patterns are gitignore patterns; `include` empty means all."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A file, or a folder, that gets a layer of its own. A missing one is an error unless `optional`."""

    path: str
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """Everything the author said, defaults filled in. `origin` is the file it came from, for error messages."""

    root: Path
    origin: str
    name: str
    python: str | None  # "3.11"; None: what the base brings
    interpreter: InterpreterSource = InterpreterSource.BASE
    base: DebianBase | ReferenceBase
    platforms: tuple[Platform, ...]
    environment: Environment
    system_packages: tuple[str, ...] = ()
    code: CodeSelection = CodeSelection()
    models: tuple[ModelFile, ...] = ()
    models_guessed: bool = False  # found by their suffix, so that a new file may be a new model
    entrypoint: tuple[str, ...] = ()
    score: ScoreService | None = None  # what the entrypoint is, where it serves a scoring script
    env: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    volumes: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    bytecode: Bytecode = Bytecode.LAYER
    compression: Compression = Compression.GZIP
    user: str = "10001:10001"
    workdir: str = "/app"
    debian_mirror: str | None = None  # [debian] mirror; configuration, never locked
    layers_from: tuple[str, ...] = ()  # images to look in for locked layers
    allow_build: tuple[str, ...] = ()  # normalised names of packages that may be built where no wheel is
    cuda: str | None = None  # the driver's CUDA version on the target, ``12.4``: conda's virtual package __cuda
    notes: tuple[str, ...] = ()  # what was seen and not followed, for the command line to say
