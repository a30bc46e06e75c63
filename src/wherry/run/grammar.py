"""Reads docker's option grammar: ``-v``, ``-p``, ``-e``, ``--network``. Pure: the environment and the folder come in.

    -v  HOST:CONTAINER[:ro|rw]     HOST with a slash, `.` or `~` first is a path; else the name of a volume
    -v  CONTAINER                  a volume that is gone with the container
    -p  [[ADDRESS:][HOST]:]CONTAINER[/tcp|/udp]
    -e  KEY=VALUE or KEY           KEY alone takes the value from the environment; not set there: left out

Refused by name: SELinux labels and propagation options of ``-v``, ranges of ports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from wherry.engines.port import Mount, MountKind, PublishedPort
from wherry.errors import UsageError

_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_KEY = re.compile(r"[^=\0\s]+")
_PORT = re.compile(
    r"(?:(?:(?P<address>\[[0-9a-fA-F:.]+\]|[0-9.]+):)?(?P<host>[0-9]*):)?(?P<container>[0-9]+)(?:/(?P<protocol>tcp|udp))?"
)


def parse_mount(text: str, folder: Path, env: Mapping[str, str]) -> Mount:
    """Read one ``-v``. A relative host path is taken from `folder`."""
    parts = text.split(":")
    if len(parts) == 1:
        return Mount(kind=MountKind.TEMPORARY, target=_parse_target(parts[0], text))
    if len(parts) > 3 or not parts[0]:
        raise UsageError(f"not a volume: -v {text}", hint="-v HOST:CONTAINER[:ro]")
    read_only = _parse_mode(parts[2], text) if len(parts) == 3 else False
    target = _parse_target(parts[1], text)
    source = parts[0]
    if source.startswith(("/", ".", "~")) or "/" in source:
        if source == "~" or source.startswith("~/"):
            source = env.get("HOME", "~") + source[1:]
        # Not resolved: a symbolic link is the engine's to follow. `..` is, for engines want a plain absolute path.
        place = Path(folder, source)
        place = place.resolve() if ".." in place.parts else place
        return Mount(kind=MountKind.BIND, source=str(place), target=target, read_only=read_only)
    if not _VOLUME_NAME.fullmatch(source):
        raise UsageError(f"not a volume name: {source!r} in -v {text}", hint=f"-v ./{source}:{target} for a folder")
    return Mount(kind=MountKind.VOLUME, source=source, target=target, read_only=read_only)


def _parse_mode(mode: str, text: str) -> bool:
    if mode not in ("ro", "rw"):
        raise UsageError(f"unknown volume option {mode!r} in -v {text}", hint="ro or rw")
    return mode == "ro"


def _parse_target(target: str, text: str) -> str:
    path = PurePosixPath(target)
    if not path.is_absolute() or ".." in path.parts or "\0" in target:
        raise UsageError(f"the container's path in -v {text} must be absolute", hint="-v HOST:/CONTAINER")
    if str(path) == "/":
        raise UsageError(f"nothing can be mounted at / itself: -v {text}", hint="-v HOST:/a/folder")
    return str(path)


def parse_port(text: str) -> PublishedPort:
    """Read one ``-p``."""
    found = _PORT.fullmatch(text)
    hint = "-p [[ADDRESS:]HOST:]CONTAINER[/udp], such as -p 8080:80"
    if not found:
        raise UsageError(f"not a port: -p {text}", hint=hint)
    host = int(found["host"]) if found["host"] else None
    container = int(found["container"])
    if not 0 < container < 65536 or (host is not None and not 0 < host < 65536):
        raise UsageError(f"a port lies between 1 and 65535: -p {text}", hint=hint)
    return PublishedPort(
        container_port=container, host_port=host, address=found["address"] or "", protocol=found["protocol"] or "tcp"
    )


def parse_env(texts: Iterable[str], env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Read all ``-e``; the last of one key counts."""
    values: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not _KEY.fullmatch(key) or "\0" in value:
            raise UsageError(f"not a variable: -e {text.partition('=')[0]!r}", hint="-e KEY=VALUE, or -e KEY")
        if equals:
            values[key] = value
        elif key in env:
            values[key] = env[key]
    return tuple(values.items())
