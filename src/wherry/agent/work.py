"""What the agent does in processes of their own: believe a parcel, rebuild its layers, feed the engine.

Loaded in those processes alone, as it brings along what needs memory: signatures, codecs. Each function leaves what it made on
the disk and gives back a few words of JSON.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from email.utils import mktime_tz, parsedate_tz
from pathlib import Path

from wherry.agent.exchange import Patience
from wherry.agent.ledger import Ledger, Rules
from wherry.agent.opening import decoder_limits, open_parcel
from wherry.agent.parcel_source import ParcelSource
from wherry.agent.polling import Channel, Poller
from wherry.agent.settings import AgentSettings
from wherry.agent.spool import Spool
from wherry.agent.state import TIME_NOTE, ImageRecord, StateFolder
from wherry.agent.trust import TrustStore
from wherry.engines.base_files import open_base
from wherry.engines.device import DeviceEngine
from wherry.engines.layer_folders import LayersBase
from wherry.engines.port import EngineImage
from wherry.engines.sparse import Delivery, load_delivery, probe_sparse
from wherry.errors import DeviceError
from wherry.formats.delta_decoder import Base, decode_delta
from wherry.formats.oci_json import parse_manifest
from wherry.formats.parcel import BodyPlace
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import Descriptor
from wherry.model.tariff import flat_tariff
from wherry.store.posix import explain_os_errors, write_atomically, write_hint

_ASK = 10.0  # seconds for each step of a question that somebody waits for


def verify_parcel(settings: AgentSettings, source: ParcelSource, base: ImageRecord | None, now: datetime) -> dict[str, object]:
    """Believe the parcel or refuse it; keep the record of what it brings. Gives what `Arrival` has."""
    folder = StateFolder(settings.state)
    trust = TrustStore(settings.state / "trust")
    _begin_trust(trust, settings)
    opened = open_parcel(source, base, trust, settings.platform, now=now, max_age=settings.channel.max_age)
    record = opened.record
    if record.target.manifest in folder.list_records():
        record = replace(record, loaded=folder.read_record(record.target.manifest).loaded)
    folder.write_record(record)
    if opened.floor:
        write_hint(settings.state / TIME_NOTE, str(int(opened.floor.timestamp())).encode())
    return {
        "manifest": str(record.target.manifest),
        "bodies": [[body.diff_id.hex, body.offset, body.size] for body in opened.bodies],
        "expired": opened.expired_for.total_seconds(),
        "full": opened.is_full,
    }


def rebuild_layers(
    settings: AgentSettings,
    engine: DeviceEngine,
    source: ParcelSource,
    record: ImageRecord,
    bodies: Sequence[BodyPlace],
    base: EngineImage | None,
) -> None:
    """Make the tars of these layers in the spool, out of their bodies and the files of `base`."""
    spool = Spool(settings.state / "spool")
    with ExitStack() as stack:
        files: Base = LayersBase(())
        if base is not None:
            files = stack.enter_context(open_base(engine, base, settings.state / "scratch" / "base"))
        for body in bodies:
            size = record.sizes[body.diff_id]
            limits = decoder_limits(record.target, size, settings.update.memory)
            chunks = decode_delta(_cut_out(source, body), body.size, files, body.diff_id, limits=limits, where=source.where)
            spool.write_layer(body.diff_id, size, chunks)


def load_layers(
    settings: AgentSettings,
    engine: DeviceEngine,
    image: EngineImage,
    record: ImageRecord,
    base: EngineImage | None,
    held: Mapping[DiffId, Descriptor],
) -> str:
    """Load what is in the spool, and leave out what is held; the manifest by which the engine has the image."""
    spool = Spool(settings.state / "spool")
    delivery = Delivery(
        image=image,
        sizes=record.sizes,
        new={diff_id: spool.open_layer(diff_id) for diff_id in record.sizes if spool.has(diff_id)},
        annotations=parse_manifest(record.manifest).annotations,
        base=base,
        held=held,
    )
    sparse = bool(held) and _can_leave_out(engine, settings.state / "engine.json")
    return load_delivery(engine, delivery, settings.state / "scratch" / "saved", sparse=sparse).decode()


def fetch_news(settings: AgentSettings, base: Digest | None) -> str | None:
    """Bring a parcel for who runs `base` over the link, within budget and windows; where it lies now, None for nothing new."""
    with _make_poller(settings).poll(base) as source:
        return None if source is None else str(settings.state / "link" / "parcel")


def ask_channel(settings: AgentSettings, base: Digest | None) -> dict[str, object]:
    """What the channel's server answers and what its clock says; within budget and windows, and in the ledger."""
    patience = Patience(connect=_ASK, stall=_ASK, block=2 * _ASK, attempts=1)
    status, date = _make_poller(settings, patience).ask(base)
    clock = parsedate_tz(date)
    return {"status": status, "time": mktime_tz(clock) if clock else None}


def _make_poller(settings: AgentSettings, patience: Patience | None = None) -> Poller:
    budget = settings.budget
    rules = Rules(budget=budget.month, tariff=budget.tariff or flat_tariff(), windows=budget.windows)
    channel = Channel(url=settings.channel.url, platform=settings.platform, certificates=settings.channel.certificates)
    return Poller(channel, settings.state, rules, lambda: tell_time(settings.state), patience)


def settle_news(settings: AgentSettings, has_image: bool) -> None:
    """The parcel was dealt with: forget it, and do not fetch it again, as long as the device does not lose its image."""
    channel = Channel(url=settings.channel.url, platform=settings.platform, certificates=settings.channel.certificates)
    Poller(channel, settings.state, Rules(), lambda: tell_time(settings.state)).settle(has_image=has_image)


def read_ledger(settings: AgentSettings) -> dict[str, object]:
    """What this month's ledger says."""
    budget = settings.budget
    rules = Rules(budget=budget.month, tariff=budget.tariff or flat_tariff(), windows=budget.windows)
    month = Ledger(settings.state / "ledger", rules, lambda: tell_time(settings.state)).read_month()
    return {
        "version": 1,
        "month": month.name,
        "sent": month.sent,
        "received": month.received,
        "wire": month.wire,
        "billed": month.billed,
        "budget": month.budget,
        "amount": str(month.amount),
        "currency": month.currency,
        "sessions": month.sessions,
    }


def tell_time(state: Path) -> float:
    """Seconds since 1970 by this machine's clock, but never before the newest signed time."""
    try:
        floor = int((state / TIME_NOTE).read_bytes())
    except (OSError, ValueError):
        floor = 0
    return max(time.time(), floor)


def _begin_trust(trust: TrustStore, settings: AgentSettings) -> None:
    """The root that came with the device, the first time."""
    if (settings.state / "trust" / "root.json").exists():
        return
    path = settings.channel.root
    try:
        root = path.read_bytes()
    except OSError as error:
        raise DeviceError(
            f"this device trusts no channel yet, and has no root: {error.strerror}",
            where=str(path),
            hint="the channel's 1.root.json, brought by a way that you trust",
        ) from error
    trust.begin(root)


def _can_leave_out(engine: DeviceEngine, note: Path) -> bool:
    """Whether this version of the engine takes archives without the layers that it has: asked once."""
    if engine.name == "bubblewrap":
        return True
    asked = {"engine": engine.name, "version": engine.probe().version}
    try:
        known = json.loads(note.read_bytes())
        if {name: known[name] for name in asked} == asked:
            return bool(known["sparse"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never asked, or asked another one
    sparse = probe_sparse(engine)
    with explain_os_errors(note):
        write_atomically(note, json.dumps({**asked, "sparse": sparse}).encode())
    return sparse


def _cut_out(source: ParcelSource, body: BodyPlace) -> Callable[[int, int], bytes]:
    """Reads one body of a parcel as if it were alone."""

    def read(offset: int, size: int) -> bytes:
        return source.read(body.offset + offset, max(0, min(size, body.size - offset)))

    return read
