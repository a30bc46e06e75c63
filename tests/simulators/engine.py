"""A container engine on a folder: takes hybrid archives, keeps layers, has containers that are only noted down.

What it keeps is always on the disk, as an engine's own business is; whether a container runs is lost with the power.
`before` is called before whatever it does, so that a test can stop the world there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wherry.engines.device import Container
from wherry.engines.port import EngineImage, EngineInfo, RunSpec
from wherry.engines.unpack import unpack_layer
from wherry.errors import EngineError
from wherry.formats.hybrid import describe_tar
from wherry.formats.tar import file_entry, stream_tar
from wherry.formats.untar import read_members
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import Descriptor, Manifest


class SimulatedEngine:
    """`sick` are images whose health command fails, `broken` those that cannot be started; `down`: nothing answers."""

    name = "simulated"

    def __init__(self, folder: Path, before: Callable[[str], None] = lambda _what: None) -> None:
        self.folder = folder
        self.sick: set[Digest] = set()
        self.broken: set[Digest] = set()
        self.down = False
        self.version = "1"
        self._before = before
        for part in ("layers", "tars", "images", "containers"):
            (folder / part).mkdir(parents=True, exist_ok=True)

    def lose_power(self) -> None:
        for path in (self.folder / "containers").iterdir():
            path.write_text(json.dumps({**json.loads(path.read_text()), "running": False}))

    def probe(self) -> EngineInfo:
        return EngineInfo(name=self.name, usable=not self.down, version=self.version, reason="down" if self.down else "")

    def has(self, image: EngineImage) -> bool:
        self._do("has")
        return self._image(image).exists()

    def held_layers(self, image: EngineImage) -> frozenset[DiffId]:
        return frozenset(diff_id for diff_id in image.config.diff_ids if (self.folder / "layers" / diff_id.hex).is_dir())

    def held_layers_as(
        self, image: EngineImage, known: Sequence[Manifest], sizes: Mapping[DiffId, int]
    ) -> Mapping[DiffId, Descriptor]:
        held = self.held_layers(image) if self.has(image) else frozenset()
        return {diff_id: describe_tar(diff_id, sizes[diff_id]) for diff_id in held}

    def load(self, chunks: Iterable[bytes], image: EngineImage) -> None:
        self._do("load")
        for member in read_members(chunks, "archive"):
            hexes = {diff_id.hex for diff_id in image.config.diff_ids}
            name = member.path.rpartition("/")[2]
            place = self.folder / "layers" / name
            if name in hexes and not place.exists():
                made = self.folder / "layers" / f"{name}.made"
                shutil.rmtree(made, ignore_errors=True)
                made.mkdir()
                tar = b"".join(member.content)
                (self.folder / "tars" / name).write_bytes(tar)
                unpack_layer([tar], made, name)
                made.rename(place)
        if len(self.held_layers(image)) != len(set(image.config.diff_ids)):
            raise EngineError("the archive lacks a layer")
        self._do("name")
        self._image(image).write_bytes(image.config.raw)

    def layer_folders(self, image: EngineImage) -> tuple[Path, ...]:
        return tuple(self.folder / "layers" / diff_id.hex for diff_id in reversed(image.config.diff_ids))

    def save(self, image: EngineImage) -> Iterator[bytes]:
        if not self.has(image):
            raise EngineError(f"no image {image.name}")
        tars = (self.folder / "tars" / diff_id.hex for diff_id in image.config.diff_ids)
        return stream_tar(file_entry(f"{number}/layer.tar", tar.read_bytes()) for number, tar in enumerate(tars))

    def list_notes(self, spec: RunSpec) -> tuple[str, ...]:
        return ()

    def run(self, spec: RunSpec) -> int:
        self._do("run")
        for mount in spec.mounts:
            (Path(mount.source) / "made").write_text("bytecode")
        return 0

    def start(self, spec: RunSpec) -> str:
        self._do("start")
        if not self._image(spec.image).exists():
            raise EngineError(f"no image {spec.image.name}")
        if self._container(spec.name).exists():
            raise EngineError(f"{spec.name} is there already")
        if spec.image.image_id in self.broken:
            raise EngineError("no such program in the image")
        note = {"image": str(spec.image.image_id), "running": True, "mounts": [mount.source for mount in spec.mounts]}
        self._container(spec.name).write_text(json.dumps(note))
        self._do("started")
        return spec.name

    def stop(self, container: str, grace: float) -> None:
        self._do("stop")
        if self._container(container).exists():
            note = json.loads(self._container(container).read_text())
            self._container(container).write_text(json.dumps({**note, "running": False}))

    def find_container(self, name: str) -> Container | None:
        if self.down:
            raise EngineError("down")
        if not self._container(name).exists():
            return None
        note = self.read_note(name)
        return Container(running=note["running"], image=Digest.parse(note["image"]))

    def execute(self, name: str, command: Sequence[str], patience: float) -> int:
        self._do("execute")
        return 1 if Digest.parse(self.read_note(name)["image"]) in self.sick else 0

    def read_log(self, name: str) -> bytes:
        return b"" if Digest.parse(self.read_note(name)["image"]) in self.sick else b"well\n"

    def discard(self, name: str, grace: float) -> None:
        self._do("discard")
        self._container(name).unlink(missing_ok=True)

    def remove_image(self, image: EngineImage) -> None:
        self._do("remove")
        self._image(image).unlink(missing_ok=True)

    def read_note(self, name: str) -> dict[str, Any]:
        note: dict[str, Any] = json.loads(self._container(name).read_text())
        return note

    def _do(self, what: str) -> None:
        if self.down:
            raise EngineError("down")
        self._before(what)

    def _image(self, image: EngineImage) -> Path:
        return self.folder / "images" / str(image.name).replace("/", "_")

    def _container(self, name: str) -> Path:
        return self.folder / "containers" / name
