"""Tries whether containers start, resolve names and reach the network, with an image of a busybox that is on this machine.

What is tried leaves nothing behind: the container is discarded and the image forgotten. Every wait has an end.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wherry.engines.busybox import find_busybox
from wherry.engines.device import DeviceEngine
from wherry.engines.port import EngineImage, RunSpec
from wherry.errors import EngineError
from wherry.formats.hybrid import HybridImage, HybridLayer, describe_tar, list_entries
from wherry.formats.oci_json import parse_config, render_config
from wherry.formats.tar import add_parents, directory_entry, file_entry, stream_tar, symlink_entry
from wherry.model.digest import DiffId
from wherry.store.host import read_host_platform

_NAME = "wherry-probe:latest"
_APPLETS = ("nc", "nslookup", "sh")
_TICK = 0.1
_SECONDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A host that wherry has to reach. `is_name` False: an address, which nobody has to resolve."""

    host: str
    port: int
    is_name: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """The targets whose names a container resolved, and those that it reached."""

    resolved: frozenset[Target]
    reached: frozenset[Target]


def try_network(engine: DeviceEngine, env: Mapping[str, str], targets: Sequence[Target], patience: float) -> Tried:
    """Run a container that asks for each of the targets. An engine that cannot run one is an `EngineError`."""
    hybrid = _make_image(find_busybox(env).read_bytes())
    image = EngineImage(config=parse_config(hybrid.config), name=_NAME)
    name = f"wherry-probe-{os.urandom(4).hex()}"
    command = ("/bin/sh", "-c", "".join(_ask(number, target) for number, target in enumerate(targets)) + "echo done")
    try:
        if not engine.has(image):
            engine.load(stream_tar(list_entries([hybrid], _NAME, ())), image)
        engine.start(RunSpec(image=image, name=name, command=command, remove=False, interactive=False))
        said = _wait_for_end(engine, name, patience)
    finally:
        engine.discard(name, 0.0)
        engine.remove_image(image)
    if "done" not in said:
        raise EngineError(f"a container ended early in {engine.name}: {' '.join(said)[:200] or 'it said nothing'}")
    told = {(word, int(number)) for line in said for word, _, number in (line.partition(" "),) if number.isdigit()}
    named = list(enumerate(targets))
    return Tried(
        resolved=frozenset(target for number, target in named if not target.is_name or ("resolved", number) in told),
        reached=frozenset(target for number, target in named if ("reached", number) in told),
    )


def _ask(number: int, target: Target) -> str:
    """Hosts come from addresses that were parsed, and are quoted all the same."""
    host = "'" + target.host.replace("'", "") + "'"
    return (
        f"nslookup {host} >/dev/null 2>&1 && echo resolved {number}\n"
        f"nc -w {_SECONDS} {host} {target.port} </dev/null >/dev/null 2>&1 && echo reached {number}\n"
    )


def _wait_for_end(engine: DeviceEngine, name: str, patience: float) -> list[str]:
    end = time.monotonic() + patience
    while (found := engine.find_container(name)) is not None and found.running:
        if time.monotonic() > end:
            raise EngineError(f"a container did not end within {patience:.0f} s in {engine.name}")
        time.sleep(_TICK)
    return engine.read_log(name).decode("utf-8", "replace").splitlines()


def _make_image(busybox: bytes) -> HybridImage:
    entries = add_parents(
        [
            file_entry("bin/busybox", busybox, 0o755),
            *(symlink_entry(f"bin/{applet}", "busybox") for applet in _APPLETS),
            *(directory_entry(folder) for folder in ("dev", "etc", "proc", "run", "sys", "tmp")),
        ]
    )
    tar = b"".join(stream_tar(entries))
    diff_id = DiffId(hashlib.sha256(tar).hexdigest())
    config = render_config(
        platform=read_host_platform(), created="1980-01-01T00:00:00Z", diff_ids=[diff_id], env=["PATH=/bin"], entrypoint=["/bin/sh"]
    )
    layer = HybridLayer(diff_id=diff_id, descriptor=describe_tar(diff_id, len(tar)), content=tar)
    return HybridImage(platform=read_host_platform(), config=config, layers=(layer,))
