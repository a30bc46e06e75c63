"""Brings a release's image into the engine, without changing anything that counts: verify, rebuild, load.

The verifier, the decoder and the loader are processes of their own, one after the other: their memory goes with them, and the
engine never sees a byte that was not held against a signed digest. What an interruption leaves (whole layers in the spool, an
image that is loaded and not on) is used again by the next attempt.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from wherry.agent.containers import Containers
from wherry.agent.parcel_source import ParcelSource
from wherry.agent.processes import Apart, work_apart
from wherry.agent.settings import AgentSettings
from wherry.agent.spool import Spool
from wherry.agent.state import ImageRecord, StateFolder
from wherry.engines.device import DeviceEngine
from wherry.errors import DeviceError, EngineError, TrustError
from wherry.formats.parcel import BodyPlace
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import Descriptor
from wherry.store.posix import sync_all


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
        self.spool = Spool(settings.state / "spool")

    def verify(self, source: ParcelSource, base: ImageRecord | None, now: datetime) -> Arrival:
        """Believe the parcel or refuse it. What it proves is kept as a record."""
        told = work_apart(self._apart, "verify_parcel", self._settings, source, base, now)
        return Arrival(
            record=self._folder.read_record(Digest.parse(told["manifest"])),
            bodies=tuple(BodyPlace(diff_id=DiffId(name), offset=offset, size=size) for name, offset, size in told["bodies"]),
            expired_for=timedelta(seconds=told["expired"]),
            is_full=bool(told["full"]),
        )

    def bring(self, source: ParcelSource, arrival: Arrival, base: ImageRecord | None) -> ImageRecord:
        """Have the image in the engine; its record, as it is then. A base that is no base any more is `BaseUnusable`."""
        record, image = arrival.record, self._containers.name_image(arrival.record)
        if self._engine.has(image):
            return record
        shutil.rmtree(self._settings.state / "scratch", ignore_errors=True)
        held = self._find_held(base, record)
        bodies = [body for body in arrival.bodies if body.diff_id not in held]
        self._require_layers(record, bodies, held)
        self.spool.reserve({body.diff_id: record.sizes[body.diff_id] for body in bodies})
        missing = [body for body in bodies if not self.spool.has(body.diff_id)]
        if missing:
            self._rebuild(source, arrival, missing, base)
        self.spool.give_room()
        base_image = self._containers.name_image(base) if base else None
        loaded = work_apart(self._apart, "load_layers", self._settings, self._engine, image, record, base_image, held)
        sync_all()  # what an engine says it has is on the disk before we count on it
        record = replace(record, loaded=str(loaded).encode())
        self._folder.write_record(record)
        return record

    def _find_held(self, base: ImageRecord | None, record: ImageRecord) -> Mapping[DiffId, Descriptor]:
        if base is None:
            return {}
        sizes = {**base.sizes, **record.sizes}
        return self._engine.held_layers_as(self._containers.name_image(base), base.parse_manifests(), sizes)

    def _require_layers(self, record: ImageRecord, bodies: Sequence[BodyPlace], held: Mapping[DiffId, Descriptor]) -> None:
        coming = {body.diff_id for body in bodies}
        if not all(diff_id in coming or diff_id in held for diff_id in record.sizes):
            what = f"{self._engine.name} has not the image any more that this parcel starts from"
            raise BaseUnusable(what, hint="the full parcel")

    def _rebuild(self, source: ParcelSource, arrival: Arrival, bodies: Sequence[BodyPlace], base: ImageRecord | None) -> None:
        image = self._containers.name_image(base) if base and not arrival.is_full else None
        try:
            work_apart(self._apart, "rebuild_layers", self._settings, self._engine, source, arrival.record, bodies, image)
        except (TrustError, EngineError) as error:
            if image is None:
                raise
            what = f"the image on this device is not what the parcel starts from: {error.what}"
            raise BaseUnusable(what, where=error.where, hint="the full parcel") from error
