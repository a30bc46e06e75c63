"""The port behind which container engines stay: is it usable, has it the image, take the image, run it.

An engine is asked by its own command line, unmodified (DESIGN decision 9). What crosses the port are the values below.
`load` takes a hybrid archive as a stream of chunks (docs/explanation: the hybrid archive); a caller may leave out of it
the layers that `held_layers` named, never others.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from wherry.model.digest import DiffId, Digest
from wherry.model.oci import ImageConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What a probe found. Not `usable`: `reason` says why and `hint` what to try."""

    name: str
    usable: bool
    version: str = ""
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineImage:
    """An image as engines know it. `name` is its local name, such as ``anomaly:latest``; the ID is the config's digest."""

    config: ImageConfig
    name: str | None = None

    @property
    def image_id(self) -> Digest:
        return self.config.digest


class MountKind(Enum):
    BIND = "bind"  # source is an absolute path of the host
    VOLUME = "volume"  # source is a volume's name
    TEMPORARY = "tmpfs"  # no source; gone with the container


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """Something mounted at `target`, an absolute path in the container."""

    kind: MountKind
    target: str
    source: str = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPort:
    """`host_port` None: the engine chooses one. `address` empty: all addresses of the host."""

    container_port: int
    host_port: int | None = None
    address: str = ""
    protocol: str = "tcp"

    def __str__(self) -> str:
        head = f"{self.address}:" if self.address else ""
        host = f"{self.host_port}:" if self.host_port is not None else (":" if head else "")
        tail = "" if self.protocol == "tcp" else f"/{self.protocol}"
        return f"{head}{host}{self.container_port}{tail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One container. `command` empty: the image's entrypoint; else it replaces entrypoint and cmd.

    `name` is the container's, unique on this machine. `interactive` passes stdin on, `terminal` gives a terminal.
    `options` are words for the engine's own command line, as they are. `secrets` are variables, over those of `env`, that stand on
    no command line: `ps` shows those to everybody.
    """

    image: EngineImage
    name: str
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    workdir: str | None = None
    user: str | None = None
    network: str | None = None
    gpus: str | None = None
    read_only: bool = False
    remove: bool = True
    interactive: bool = True
    terminal: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    options: tuple[str, ...] = ()


class Launched(Protocol):
    """A container in the foreground of a process whose stdout and stderr are pipes; somebody watches it to its end."""

    @property
    def process(self) -> subprocess.Popen[bytes]: ...

    def ask(self) -> None:
        """Ask its command to end, without waiting."""
        ...

    def end(self) -> None:
        """End at once whatever is left of it, and forget it; called in any case."""
        ...

    def read_code(self, code: int) -> int:
        """The command's exit code, from the process's. An engine that itself failed is an `EngineError`."""
        ...


class Engine(Protocol):
    """A container engine on this machine. Whatever fails is an `EngineError` with a remedy."""

    @property
    def name(self) -> str: ...

    def probe(self) -> EngineInfo:
        """Say whether the engine can be used, without raising."""
        ...

    def has(self, image: EngineImage) -> bool:
        """True if the engine has exactly this image."""
        ...

    def held_layers(self, image: EngineImage) -> frozenset[DiffId]:
        """The image's layers that an archive for `load` may leave out; empty if the engine cannot tell."""
        ...

    def load(self, chunks: Iterable[bytes], image: EngineImage) -> None:
        """Take a hybrid archive in. After it, `has` is true."""
        ...

    def list_notes(self, spec: RunSpec) -> tuple[str, ...]:
        """What a user should know before `spec` runs here: where this engine's meaning differs from docker's."""
        ...

    def run(self, spec: RunSpec) -> int:
        """Run in the foreground, with this process's stdin, stdout and stderr; the exit code of the command.

        SIGINT and SIGTERM stop the container; the result is then 130 or 143.
        """
        ...

    def start(self, spec: RunSpec) -> str:
        """Run in the background; what to name it by when stopping it."""
        ...

    def stop(self, container: str, grace: float) -> None:
        """Ask a container to end, and end it after `grace` seconds."""
        ...


class LaunchingEngine(Protocol):
    """What can have many containers at once in the foreground of one process."""

    @property
    def name(self) -> str: ...

    def launch(self, spec: RunSpec, starter: Sequence[str] = ()) -> Launched:
        """Start a container; many threads may. `starter` is a program, with its words, that is to run the one that starts it."""
        ...
