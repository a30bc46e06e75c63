"""Runs a stored image in an engine: pick the platform's image, load it if the engine lacks it, start it.

The image's ID decides whether the engine has it; a name alone never does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from wherry.engines.bubblewrap import BubblewrapEngine
from wherry.engines.port import Engine, EngineImage, RunSpec
from wherry.errors import UsageError
from wherry.model.platform import Platform
from wherry.store.archive import read_layer, stream_image
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform
from wherry.store.images import StoredImage, pick_image, read_images

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run gave: the command's exit code, or the container that goes on in the background."""

    exit_code: int = 0
    container: str | None = None


def pick_runnable(store: DiskStore, name: str, platform: Platform | None = None) -> tuple[StoredImage, EngineImage]:
    """The image that `name` means, for `platform` or else for this machine."""
    descriptor = store.resolve(name)
    images = read_images(store, descriptor)
    if platform is None and len(images) > 1:
        platform = read_host_platform()
    stored = pick_image(store, descriptor, platform)
    return stored, EngineImage(config=stored.config, name=_name_for_engines(store, name, stored))


def _name_for_engines(store: DiskStore, asked: str, stored: StoredImage) -> str:
    """A name:tag for the engine's list. What was asked for by digest gets the ID as its tag."""
    names = store.names()
    for name in (asked, f"{asked}:latest"):
        if name in names:
            return name if ":" in name.rpartition("/")[2] else f"{name}:latest"
    return f"wherry:{stored.config.digest.hex[:12]}"


def load_image(store: DiskStore, stored: StoredImage, image: EngineImage, engine: Engine, say: Say) -> bool:
    """Bring an image into an engine; False if it was there already."""
    if engine.has(image):
        return False
    say(f"loading {image.name} into {engine.name}")
    if isinstance(engine, BubblewrapEngine):
        # It unpacks into our own cache: no archive in between, which would have to know each layer's size first.
        blobs = {diff_id: blob.digest for blob, diff_id in zip(stored.manifest.layers, stored.config.diff_ids, strict=True)}
        engine.load_layers(image, lambda diff_id: read_layer(store, blobs[diff_id], diff_id))
        return True
    omit = engine.held_layers(image)
    name = image.name or f"wherry:{image.image_id.hex[:12]}"
    engine.load(stream_image(store, stored.descriptor, name=name, platforms=(stored.platform,), omit=omit), image)
    return True


def run_image(store: DiskStore, stored: StoredImage, spec: RunSpec, engine: Engine, say: Say, *, detach: bool) -> RunResult:
    """Load and run. `spec.image` is what `pick_runnable` gave."""
    config = spec.image.config
    if not (spec.command or config.entrypoint or config.cmd):
        raise UsageError(f"{spec.image.name} has no entrypoint", hint="wherry run COMMAND…, or entrypoint in wherry.toml")
    host = read_host_platform()
    if config.platform.architecture != host.architecture:
        say(f"the image is for {config.platform}, this machine is {host}: it runs emulated, if {engine.name} can")
    for note in engine.list_notes(spec):
        say(note)
    load_image(store, stored, spec.image, engine, say)
    if detach:
        return RunResult(container=engine.start(replace(spec, interactive=False, terminal=False)))
    return RunResult(exit_code=engine.run(spec))


def choose_terminal(env: Mapping[str, str], *, stdin: bool, stdout: bool, asked: bool) -> bool:
    """Whether the container gets a terminal: when both ends are one, or when it was asked for and stdin is one."""
    if env.get("TERM") == "dumb" and not asked:
        return False
    return stdin and (stdout or asked)
