"""What rules of reduction make of readings that somebody has: said before a device sends the first byte.

The readings go the way that they go on a device, through the very outbox; only that nobody is there to take them, and that they
have no score.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from paho.mqtt.client import topic_matches_sub

from wherry.formats.telemetry import render_record
from wherry.model.scoring import MqttModule
from wherry.score.module import make_record
from wherry.score.outbox import Outbox

_ENDLESS = 1 << 62
_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Records and bytes of records, before and after. `unmatched` records are under no rule."""

    came: int
    came_bytes: int
    sent: int
    sent_bytes: int
    unmatched: int


def estimate_reduction(settings: MqttModule, topic: str, readings: Iterable[bytes], now: float) -> Estimate:
    """Reduce readings of one topic by the rules of `settings`."""
    rules = enumerate(settings.reductions)
    rule = next((number for number, one in rules if topic_matches_sub(one.topic, topic)), None)
    came = came_bytes = 0
    with TemporaryDirectory(prefix="wherry-") as folder:
        outbox = Outbox(Path(folder) / "estimate.sqlite", _ENDLESS, settings.reductions)
        batch = []
        for payload in readings:
            record = make_record(settings, topic, payload, None, now)
            came, came_bytes = came + 1, came_bytes + len(render_record(record))
            batch.append((record, rule))
            if len(batch) >= _AT_ONCE:
                outbox.take(batch, now)
                batch = []
        outbox.take(batch, now)
        outbox.close_windows(float(_ENDLESS))
        sent, sent_bytes = outbox.waits(), outbox.size
        outbox.close()
    return Estimate(came=came, came_bytes=came_bytes, sent=sent, sent_bytes=sent_bytes, unmatched=came if rule is None else 0)
