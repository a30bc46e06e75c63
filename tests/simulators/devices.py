"""A device and the operator behind it: tiny images, signed releases of them, parcels between them, and an agent's parts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from tests.simulators.engine import SimulatedEngine
from tests.simulators.tuf_repository import AMD64, NOW, TufRepository
from wherry.agent.parcel_source import ParcelSource
from wherry.agent.processes import Apart, run_in_place
from wherry.agent.service import Service
from wherry.agent.settings import AgentSettings, BudgetSettings, ChannelSettings, ContainerSettings, UpdateSettings
from wherry.agent.update import Updater
from wherry.deliver.encoder import Layer, encode_layers
from wherry.engines.device import DeviceEngine
from wherry.formats.oci_json import render_config, render_manifest
from wherry.formats.parcel import BaseDocuments, Documents, ParcelLayer, find_lacking, stream_parcel
from wherry.formats.tar import TarEntry, add_parents, file_entry, stream_tar
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import CONFIG, LAYER_TAR, Descriptor
from wherry.model.platform import Platform
from wherry.model.release import Health, ReleaseLayer, ReleaseTarget
from wherry.store.layer_tree import Tree, layered_tree
from wherry.store.spooled import SpooledFile

HEALTH = Health(command=("/check",), within=5, seconds=2)
_MEMORY = 1 << 25


@dataclass(frozen=True, kw_only=True)
class TinyImage:
    """An image of a few small layers, uncompressed."""

    tars: tuple[bytes, ...]
    config: bytes
    manifest: bytes
    platform: Platform

    @property
    def diff_ids(self) -> tuple[DiffId, ...]:
        return tuple(DiffId(hashlib.sha256(tar).hexdigest()) for tar in self.tars)

    @property
    def image_id(self) -> Digest:
        return Digest.of(self.config)

    @property
    def digest(self) -> Digest:
        return Digest.of(self.manifest)

    def target(self, release: int, health: Health | None) -> ReleaseTarget:
        layers = tuple(ReleaseLayer(diff_id=diff_id, size=len(tar)) for diff_id, tar in zip(self.diff_ids, self.tars, strict=True))
        return ReleaseTarget(
            platform=self.platform,
            manifest=self.digest,
            size=len(self.manifest),
            release=release,
            layers=layers,
            health=health,
            memory=_MEMORY,
        )

    def open_tree(self) -> Tree:
        return layered_tree([SpooledFile([tar]) for tar in self.tars], "image")


def make_layer(entries: Sequence[TarEntry]) -> bytes:
    return b"".join(stream_tar(add_parents(entries)))


def make_image(*layers: Sequence[TarEntry] | bytes, platform: Platform = AMD64, **config: Sequence[object]) -> TinyImage:
    """`layers` are entries, or tars of others."""
    tars = tuple(layer if isinstance(layer, bytes) else make_layer(layer) for layer in layers)
    diff_ids = [DiffId(hashlib.sha256(tar).hexdigest()) for tar in tars]
    raw = render_config(platform=platform, created="1980-01-01T00:00:00Z", diff_ids=diff_ids, **config)  # type: ignore[arg-type]
    described = [
        Descriptor(media_type=LAYER_TAR, digest=Digest(each.hex), size=len(tar)) for each, tar in zip(diff_ids, tars, strict=True)
    ]
    manifest = render_manifest(config=Descriptor(media_type=CONFIG, digest=Digest.of(raw), size=len(raw)), layers=described)
    return TinyImage(tars=tars, config=raw, manifest=manifest, platform=platform)


def make_model_image(model: bytes, code: bytes = b"print('one')\n" * 40, platform: Platform = AMD64) -> TinyImage:
    """A base, code and a model; what changes between releases is the model."""
    base = [file_entry("lib/base", bytes(range(256)) * 8), file_entry("lib/other", b"other\n" * 100)]
    return make_image(
        base,
        [file_entry("app/main.py", code)],
        [file_entry("app/model.bin", model)],
        platform=platform,
        entrypoint=["/app/main.py"],
    )


class Operator:
    """Signs releases and makes parcels."""

    def __init__(self, now: datetime = NOW) -> None:
        self.repository = TufRepository(now)
        self.documents: dict[Digest, Documents] = {}

    @property
    def root(self) -> bytes:
        return self.repository.roots[0]

    def release(self, number: int, image: TinyImage, health: Health | None = HEALTH) -> None:
        self.repository.add_target(image.target(number, health))
        self.repository.update("targets", "snapshot", "timestamp")
        self.refresh(image)

    def refresh(self, image: TinyImage) -> None:
        """What parcels to this image carry from now on."""
        metadata = self.repository.freeze()
        metadata = replace(metadata, roots=metadata.roots[1:])  # the first came with the device
        self.documents[image.digest] = Documents(metadata=metadata, manifest=image.manifest, config=image.config)

    def cut(self, image: TinyImage, base: TinyImage | None) -> bytes:
        """The parcel to a released image, from another one, or the full one."""
        documents = self.documents[image.digest]
        lacking = find_lacking(image.config, base.config if base else None)
        known = None
        if base:
            released = self.documents.get(base.digest)
            targets = released.metadata.targets if released else None
            known = BaseDocuments(manifest=base.manifest, config=base.config, targets=targets)
        tars = dict(zip(image.diff_ids, image.tars, strict=True))
        layers = [Layer(diff_id=diff_id, chunks=lambda diff_id=diff_id: [tars[diff_id]]) for diff_id in lacking]  # type: ignore[misc]
        with ExitStack() as stack:
            tree = stack.enter_context(base.open_tree() if base else Tree(()))
            made = encode_layers(layers, tree)
            for layer in made:
                stack.callback(layer.body.close)
            parts = [ParcelLayer(diff_id=layer.diff_id, size=layer.body.size, chunks=layer.body.chunks) for layer in made]
            return b"".join(stream_parcel(documents, known, parts))


def as_source(parcel: bytes) -> ParcelSource:
    return ParcelSource(read=lambda offset, size: parcel[offset : offset + size], size=len(parcel), where="parcel")


@dataclass
class FakeClock:
    """Time that passes only where it is waited for."""

    moment: datetime = NOW
    passed: float = 0.0

    def now(self) -> datetime:
        return self.moment + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


@dataclass
class Device:
    """An agent's parts in a folder, around a simulated engine unless another one is given."""

    folder: Path
    root: bytes
    engine: DeviceEngine
    clock: FakeClock = field(default_factory=FakeClock)
    apart: Apart = run_in_place
    update: UpdateSettings = field(default_factory=UpdateSettings)
    container: ContainerSettings = field(default_factory=ContainerSettings)
    max_age: timedelta = timedelta(0)
    url: str = ""
    certificates: Path | None = None
    platform: Platform = AMD64
    said: list[str] = field(default_factory=list)

    @classmethod
    def simulated(cls, folder: Path, operator: Operator) -> Device:
        return cls(folder=folder, root=operator.root, engine=SimulatedEngine(folder / "engine"))

    @property
    def settings(self) -> AgentSettings:
        path = self.folder / "root.json"
        if not path.exists():
            path.write_bytes(self.root)
        return AgentSettings(
            state=self.folder / "state",
            platform=self.platform,
            engine=self.engine.name,
            container=self.container,
            channel=ChannelSettings(url=self.url, root=path, max_age=self.max_age, certificates=self.certificates),
            update=self.update,
            budget=BudgetSettings(),
        )

    def agent(self) -> Updater:
        """An agent as it is after a start."""
        return Updater(self.settings, self.engine, self.apart, self.clock, self.said.append)

    def service(self) -> Service:
        return Service(self.settings, self.agent(), self.apart, self.said.append)

    @property
    def running(self) -> Digest | None:
        """The ID of the image that runs."""
        found = self.engine.find_container(self.container.name)
        return found.image if found and found.running else None
