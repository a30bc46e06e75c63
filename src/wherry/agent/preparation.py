"""Brings a release's image into the engine, without changing anything that counts: verify, rebuild, load.

The verifier, the decoder and the loader are processes of their own, one after the other: their memory goes with them, and the
engine never sees a byte that was not held against a signed digest. What an interruption leaves (whole layers in the spool, an
image that is loaded and not on) is used again by the next attempt.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from wherry.agent.containers import Containers
from wherry.agent.opening import ParcelSource, decoder_limits, open_parcel
from wherry.agent.processes import Apart
from wherry.agent.settings import AgentSettings
from wherry.agent.spool import Spool
from wherry.agent.state import ImageRecord, StateFolder
from wherry.agent.trust import TrustStore
from wherry.engines.base_files import open_base
from wherry.engines.device import DeviceEngine
from wherry.engines.layer_folders import LayersBase
from wherry.engines.sparse import Delivery, load_delivery, probe_sparse
from wherry.errors import DeviceError, EngineError, StoreError, TrustError
from wherry.formats.delta_decoder import Base, decode_delta
from wherry.formats.oci_json import parse_manifest
from wherry.formats.parcel import BodyPlace
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import Descriptor
from wherry.store.posix import sync_all, write_atomically


class BaseUnusable(DeviceError):
    """The image that a parcel starts from is gone or altered here: the full parcel helps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A verified release on its way in: its record, and where its layers' bodies lie in the parcel."""

    record: ImageRecord
    bodies: tuple[BodyPlace, ...]
    expired_for: timedelta
    is_full: bool


class Preparation:
    """The way of a parcel into the engine of one device."""

    def __init__(
        self, settings: AgentSettings, engine: DeviceEngine, folder: StateFolder, containers: Containers, apart: Apart
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._folder = folder
        self._containers = containers
        self._apart = apart
        self.trust = TrustStore(folder.folder / "trust")
        self.spool = Spool(folder.folder / "spool")
        self._scratch = folder.folder / "scratch"

    def verify(self, source: ParcelSource, base: ImageRecord | None, now: datetime) -> Arrival:
        """Believe the parcel or refuse it. What it proves is kept as a record."""
        told = self._apart(lambda: self._open(source, base, now))
        return Arrival(
            record=self._folder.read_record(Digest.parse(told["manifest"])),
            bodies=tuple(BodyPlace(diff_id=DiffId(name), offset=offset, size=size) for name, offset, size in told["bodies"]),
            expired_for=timedelta(seconds=told["expired"]),
            is_full=bool(told["full"]),
        )

    def bring(self, source: ParcelSource, arrival: Arrival, base: ImageRecord | None) -> ImageRecord:
        """Have the image in the engine; its record, as it is then. A base that is no base any more is `BaseUnusable`."""
        record = arrival.record
        if self._engine.has(self._containers.name_image(record)):
            return record
        shutil.rmtree(self._scratch, ignore_errors=True)
        held = self._find_held(base)
        bodies = [body for body in arrival.bodies if body.diff_id not in held]
        self._require_layers(arrival, bodies, held)
        self.spool.reserve({body.diff_id: record.sizes[body.diff_id] for body in bodies})
        missing = [body for body in bodies if not self.spool.has(body.diff_id)]
        if missing:
            self._rebuild(source, arrival, missing, base)
        self.spool.give_room()
        loaded = self._apart(lambda: self._load(record, base, held))
        sync_all()  # what an engine says it has is on the disk before we count on it
        record = replace(record, loaded=loaded.encode())
        self._folder.write_record(record)
        return record

    def _open(self, source: ParcelSource, base: ImageRecord | None, now: datetime) -> dict[str, object]:
        settings = self._settings
        self._begin_trust()
        opened = open_parcel(source, base, self.trust, settings.platform, now=now, max_age=settings.channel.max_age)
        record, known = opened.record, self._folder.list_records()
        if record.target.manifest in known:
            record = replace(record, loaded=self._folder.read_record(record.target.manifest).loaded)
        self._folder.write_record(record)
        return {
            "manifest": str(record.target.manifest),
            "bodies": [[body.diff_id.hex, body.offset, body.size] for body in opened.bodies],
            "expired": opened.expired_for.total_seconds(),
            "full": opened.is_full,
        }

    def _begin_trust(self) -> None:
        """The root that came with the device, the first time."""
        if (self._folder.folder / "trust" / "root.json").exists():
            return
        path = self._settings.channel.root
        try:
            root = path.read_bytes()
        except OSError as error:
            raise DeviceError(
                f"this device trusts no channel yet, and has no root: {error.strerror}",
                where=str(path),
                hint="the channel's 1.root.json, brought by a way that you trust",
            ) from error
        self._folder.folder.mkdir(parents=True, exist_ok=True)
        self.trust.begin(root)

    def _find_held(self, base: ImageRecord | None) -> Mapping[DiffId, Descriptor]:
        if base is None:
            return {}
        return self._engine.held_layers_as(self._containers.name_image(base), base.parse_manifests(), base.sizes)

    def _require_layers(self, arrival: Arrival, bodies: list[BodyPlace], held: Mapping[DiffId, Descriptor]) -> None:
        coming = {body.diff_id for body in bodies}
        if not all(diff_id in coming or diff_id in held for diff_id in arrival.record.sizes):
            raise BaseUnusable(
                f"{self._engine.name} has not the image any more that this parcel starts from", hint="the full parcel"
            )

    def _rebuild(self, source: ParcelSource, arrival: Arrival, bodies: list[BodyPlace], base: ImageRecord | None) -> None:
        try:
            self._apart(lambda: self._decode(source, arrival, bodies, base))
        except (TrustError, EngineError) as error:
            if arrival.is_full:
                raise
            what = f"the image on this device is not what the parcel starts from: {error.what}"
            raise BaseUnusable(what, where=error.where, hint="the full parcel") from error

    def _decode(self, source: ParcelSource, arrival: Arrival, bodies: list[BodyPlace], base: ImageRecord | None) -> None:
        with ExitStack() as stack:
            files: Base = LayersBase(())
            if base is not None and not arrival.is_full:
                image = self._containers.name_image(base)
                files = stack.enter_context(open_base(self._engine, image, self._scratch / "base"))
            for body in bodies:
                size = arrival.record.sizes[body.diff_id]
                limits = decoder_limits(arrival.record.target, size, self._settings.update.memory)
                chunks = decode_delta(_cut_out(source, body), body.size, files, body.diff_id, limits=limits, where=source.where)
                self.spool.write_layer(body.diff_id, size, chunks)

    def _load(self, record: ImageRecord, base: ImageRecord | None, held: Mapping[DiffId, Descriptor]) -> str:
        delivery = Delivery(
            image=self._containers.name_image(record),
            sizes=record.sizes,
            new={diff_id: self.spool.open_layer(diff_id) for diff_id in record.sizes if self.spool.has(diff_id)},
            annotations=parse_manifest(record.manifest).annotations,
            base=self._containers.name_image(base) if base else None,
            held=held,
        )
        sparse = bool(held) and self._can_leave_out()
        return load_delivery(self._engine, delivery, self._scratch / "saved", sparse=sparse).decode()

    def _can_leave_out(self) -> bool:
        """Whether this version of the engine takes archives without the layers that it has: asked once."""
        if self._engine.name == "bubblewrap":
            return True
        path = self._folder.folder / "engine.json"
        asked = {"engine": self._engine.name, "version": self._engine.probe().version}
        try:
            known = json.loads(path.read_bytes())
            if {name: known[name] for name in asked} == asked:
                return bool(known["sparse"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # never asked, or asked another one
        sparse = probe_sparse(self._engine)
        try:
            write_atomically(path, json.dumps({**asked, "sparse": sparse}).encode())
        except OSError as error:
            raise StoreError(error.strerror or str(error), where=str(path)) from error
        return sparse


def _cut_out(source: ParcelSource, body: BodyPlace) -> Callable[[int, int], bytes]:
    """Reads one body of a parcel as if it were alone."""

    def read(offset: int, size: int) -> bytes:
        return source.read(body.offset + offset, max(0, min(size, body.size - offset)))

    return read
