"""Small channels and the declarations that ask them: what the tests of conda's locks share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tools.conda_channel.channel import Channel
from tools.conda_channel.packages import CondaPackage

from wherry.lock.conda import CondaTarget, declared_channels, lock_records
from wherry.lock.wheels import LockOptions
from wherry.model.declaration import ChannelPriority, CondaRequest, CondaSpec
from wherry.model.lock import LockedInterpreter, LockedRecord, PlatformLock
from wherry.model.platform import Platform
from wherry.sources.conda_channels import CondaChannels

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
BOTH = ("linux-64", "linux-aarch64")


def package(text: str, *depends: str, noarch: str | None = None, **more: Any) -> CondaPackage:
    """``NAME VERSION [BUILD]``; `more` are fields of a `CondaPackage`."""
    name, version, build, *_ = (*text.split(), "0")
    return CondaPackage(name=name, version=version, build=build, noarch=noarch, depends=depends, **more)  # type: ignore[arg-type]


def make_channel(
    folder: Path, *packages: CondaPackage, subdirs: tuple[str, ...] = BOTH, claims: Mapping[str, Mapping[str, Any]] | None = None
) -> Path:
    """A channel that has each package for each of the subdirs, noarch ones once."""
    channel = Channel(folder)
    for one in packages:
        for subdir in subdirs if one.noarch is None else ("noarch",):
            channel.add(CondaPackage(**{name: getattr(one, name) for name in one.__dataclass_fields__} | {"subdir": subdir}))
    channel.write_index(claims)
    return folder


def ask(
    *specs: str | CondaSpec, channels: tuple[str | Path, ...] = (), priority: ChannelPriority = ChannelPriority.STRICT
) -> CondaRequest:
    named = tuple(channel.as_uri() if isinstance(channel, Path) else channel for channel in channels)
    return CondaRequest(channels=named, specs=tuple(_spec(spec, 4 + n) for n, spec in enumerate(specs)), priority=priority)


def _spec(spec: str | CondaSpec, line: int) -> CondaSpec:
    if isinstance(spec, CondaSpec):
        return spec
    name = spec.rpartition("::")[2]
    for sign in " =<>!~[":
        name = name.partition(sign)[0]
    return CondaSpec(text=spec, name=name.lower(), where=f"environment.yml:{line}")


@contextmanager
def open_channels(request: CondaRequest, cache: Path) -> Iterator[CondaChannels]:
    environment = {"HOME": os.devnull, "PATH": os.environ["PATH"]}
    with closing(CondaChannels(environment, cache, declared=declared_channels(request), pause=lambda _seconds: None)) as channels:
        yield channels


def solve(
    request: CondaRequest,
    cache: Path,
    platform: Platform = AMD64,
    *,
    keep: PlatformLock | None = None,
    glibc: tuple[int, int] = (2, 36),
    cuda: str | None = None,
    **options: Any,
) -> tuple[LockedRecord, ...]:
    with open_channels(request, cache) as channels:
        target = CondaTarget(platform=platform, glibc=glibc, cuda=cuda)
        return lock_records(request, target, channels, keep=keep, options=LockOptions(**options))


def titles(records: tuple[LockedRecord, ...]) -> list[str]:
    return [f"{record.name} {record.version}" for record in records]


def locked(records: tuple[LockedRecord, ...], platform: Platform = AMD64) -> PlatformLock:
    python = LockedInterpreter(source="conda", version="3.11.2", path="/opt/conda/bin/python3.11")
    return PlatformLock(platform=platform, base=None, interpreter=python, debs=(), wheels=(), layers=(), records=records)
