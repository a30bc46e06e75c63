"""What is told to those who stay with Docker: values between a project and a Dockerfile, a compose file, a unit."""

from __future__ import annotations

from dataclasses import dataclass

from wherry.model.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedWheels:
    """One version of a distribution: the wheels that may be taken for it. `machines` empty: on every machine."""

    name: str
    version: str
    digests: tuple[Digest, ...]
    machines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedFile:
    """A file of the project, by its path in there. With a `link` it is a symbolic link to that."""

    path: str
    executable: bool = False
    link: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerRecipe:
    """What a Dockerfile says. `python` is the interpreter's path in the image; `packages` are what apt installs for it.

    `venv_packages` are apt's that only making the environment needs. `develops`: code is mounted, not copied, and there
    is a user to work as. `losses` are said in its head.
    """

    name: str
    base: str
    python: str
    packages: tuple[str, ...] = ()
    venv_packages: tuple[str, ...] = ()
    wheels: tuple[PinnedWheels, ...] = ()
    compiles: bool = True
    code: tuple[CopiedFile, ...] = ()
    models: tuple[tuple[CopiedFile, ...], ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    user: str
    workdir: str
    develops: bool = False
    losses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerService:
    """A container that is kept running. `volumes` are pairs of a volume's name and its place; `ports` such as ``80/tcp``.

    `pulled`: the engine may fetch the image; else it has to be there.
    """

    name: str
    image: str
    pulled: bool
    ports: tuple[str, ...] = ()
    volumes: tuple[tuple[str, str], ...] = ()
    losses: tuple[str, ...] = ()
