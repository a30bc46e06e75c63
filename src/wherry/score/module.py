"""Readings come in by MQTT, are scored by the same script, and leave as telemetry.

A reading is confirmed to its broker when its record is on the disk. One that the script refuses or fails at is counted and
confirmed, for it would be the same the next time. While the outbox cannot be written, nothing is confirmed or scored any more.
"""

from __future__ import annotations

import json
import math
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, topic_matches_sub
from paho.mqtt.reasoncodes import ReasonCode

from wherry.errors import DeclarationError, StoreError
from wherry.formats.telemetry import is_device_name
from wherry.model.scoring import DATA, DEVICE, MqttModule
from wherry.model.telemetry import Record
from wherry.score.connection import is_refused, make_client, resolve_reference, say_connections
from wherry.score.forwarder import Forwarder
from wherry.score.outbox import FAILED, REFUSED, Outbox
from wherry.score.script import Failure, Outcome, Refusal
from wherry.score.worker import Worker

_FILE = "telemetry.sqlite"
_HERE = ".wherry/score"  # the folder, where no variable names one
_EARLY = 3600.0  # seconds that a reading may be ahead of this machine's clock
_LONGEST_ID = 200
_PAUSE = 1.0
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class _Came:
    """A reading on its way through the worker."""

    message: MQTTMessage
    arrived: float


class ReadingsModule:
    """One device's module. Nothing is connected before `open`."""

    def __init__(self, settings: MqttModule, env: Mapping[str, str]) -> None:
        self._settings = settings
        self._device = read_device(env)
        folder = Path(env.get(DATA) or _HERE)
        self._outbox = Outbox(folder / _FILE, settings.keep, settings.reductions)
        self._reader = make_client(settings.broker, f"{self._device}-readings", env, acknowledge=True, keep_session=True)
        sender = make_client(settings.upstream or settings.broker, f"{self._device}-telemetry", env)
        say_connections(self._reader, "readings")
        say_connections(sender, "telemetry")
        topic = resolve_reference(settings.results, env, "results").replace("{device}", self._device)
        self._forwarder = Forwarder(self._outbox, sender, topic, self._device)
        self._worker: Worker | None = None
        self._ended = threading.Event()
        self._listening = threading.Event()

    def open(self, worker: Worker) -> None:
        self._worker = worker
        self._reader.on_connect = self._subscribe
        self._reader.on_subscribe = lambda *_: self._listening.set()
        self._reader.on_message = self._submit
        self._forwarder.start()
        self._reader.loop_start()

    def stop(self) -> None:
        self._ended.set()
        self._reader.disconnect()
        self._reader.loop_stop()

    def close(self) -> None:
        self._forwarder.close(_PATIENCE)
        self._outbox.close()

    def tell(self) -> Mapping[str, Any]:
        listening = self._listening.is_set() and self._reader.is_connected()
        waiting = {"waiting": self._outbox.waits(), "listening": listening}
        return {"telemetry": {**self._outbox.counts(), **waiting}}

    def _subscribe(self, client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self._listening.clear()
        if is_refused("readings", reason):
            return
        client.subscribe(self._settings.readings, qos=1)

    def _submit(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        """Where too much waits, the broker has to wait, too."""
        assert self._worker is not None  # noqa: S101 - tells the type checker
        came = _Came(message, time.time())
        while not self._worker.submit(bytes(message.payload), self, came) and not self._ended.wait(0.05):
            pass

    def deliver(self, outcomes: Sequence[tuple[Any, Outcome]]) -> None:
        records = list(self._make_records(outcomes))
        while not self._store(records):
            if self._ended.wait(_PAUSE):
                return  # not confirmed: they come again
        for came, _ in outcomes:
            self._reader.ack(came.message.mid, came.message.qos)
        self._forwarder.wake()

    def _store(self, records: Sequence[tuple[Record, int | None]]) -> bool:
        try:
            self._outbox.take(records, time.time())
        except StoreError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            return False
        return True

    def _make_records(self, outcomes: Sequence[tuple[_Came, Outcome]]) -> Iterator[tuple[Record, int | None]]:
        for came, outcome in outcomes:
            if isinstance(outcome, Refusal | Failure):
                with suppress(StoreError):
                    self._outbox.count(REFUSED if isinstance(outcome, Refusal) else FAILED)
                continue
            record = make_record(self._settings, came.message.topic, bytes(came.message.payload), json.loads(outcome), came.arrived)
            yield record, self._find_rule(record.topic)

    def _find_rule(self, topic: str) -> int | None:
        rules = enumerate(self._settings.reductions)
        return next((number for number, rule in rules if topic_matches_sub(rule.topic, topic)), None)


def make_record(settings: MqttModule, topic: str, payload: bytes, result: Any, arrived: float) -> Record:
    """A reading and its score as a record. Without a sound id or time of its own it has none, and the time at which it came."""
    reading: Any = None
    with suppress(ValueError, RecursionError):
        reading = json.loads(payload, parse_constant=lambda _name: None)
    own = reading if isinstance(reading, dict) else {}
    name = own.get(settings.id)
    if isinstance(name, bool) or not isinstance(name, str | int) or len(str(name)) > _LONGEST_ID:
        name = ""
    when = read_time(own.get(settings.time))
    sound = when is not None and 0 <= when <= arrived + _EARLY
    return Record(id=str(name), topic=topic, time=when if sound and when is not None else arrived, reading=reading, result=result)


def read_time(value: object) -> float | None:
    """Seconds since 1970, or ISO 8601, in UTC where it names no zone."""
    if isinstance(value, str):
        with suppress(ValueError, OverflowError):
            found = datetime.fromisoformat(value)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    with suppress(OverflowError):
        return float(value) if math.isfinite(value) else None
    return None


def read_device(env: Mapping[str, str]) -> str:
    """What this device is called."""
    name = env.get(DEVICE) or socket.gethostname()
    if not is_device_name(name):
        raise DeclarationError(
            f"{name!r} is no device's name", where=DEVICE, hint=f"-e {DEVICE}=…, of letters, digits, and - _ . between them"
        )
    return name
