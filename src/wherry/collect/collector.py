"""Listens to a broker and lays out what comes, until it is told to end or nothing comes any more.

A message is confirmed when its records are in the spool; one that is no telemetry is said, counted, and confirmed. While the disk
is full the message is kept and tried again, for a broker sends nothing twice over one connection; what is not confirmed at the end
comes again. Of two collectors on one folder the second is refused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage

from wherry.collect.spool import Spool
from wherry.collect.tables import write_parts
from wherry.errors import FormatError, StoreError, TransferError
from wherry.formats.telemetry import parse_message
from wherry.model.scoring import Broker
from wherry.model.telemetry import Message
from wherry.score.connection import make_client, say_connections
from wherry.store.posix import explain_os_errors, hold_lock

_STATE = "_wherry"  # readers of datasets pass over such names
_TICK = 0.1
_PAUSE = 1.0  # seconds before a disk that was full is tried again
MOST_ROWS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectWish:
    """`every` seconds a batch is written, or as soon as `rows` wait. `idle`: end when nothing came for so many seconds."""

    broker: Broker
    topic: str
    every: float = 600.0
    rows: int = MOST_ROWS
    idle: float | None = None
    remember: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What one run took: new records, those that came again, messages that were none, files; and what devices lost, in all."""

    records: int
    again: int
    refused: int
    files: int
    lost: Mapping[str, Mapping[str, int]]


def collect(root: Path, wish: CollectWish, env: Mapping[str, str], say: Callable[[str], None], ended: threading.Event) -> Collected:
    """Take telemetry into `root` until `ended` is set."""
    scratch = root / _STATE / "scratch"
    with explain_os_errors(root):
        scratch.mkdir(parents=True, exist_ok=True)
    with hold_lock(root / _STATE / "lock", exclusive=True, wait=False) as held:
        if not held:
            raise StoreError("another collector takes telemetry there", where=str(root))
        for left in scratch.iterdir():
            left.unlink()
        spool = Spool(root / _STATE / "spool.sqlite", wish.remember)
        try:
            return _Collection(root, scratch, spool, wish, env, say).run(ended)
        finally:
            spool.close()


class _Collection:
    def __init__(
        self, root: Path, scratch: Path, spool: Spool, wish: CollectWish, env: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self._root, self._scratch, self._spool, self._wish, self._say = root, scratch, spool, wish, say
        self._guard = threading.Lock()  # the spool's connection is one, and messages come in a thread of their own
        self._records = self._again = self._refused = self._files = 0
        self._last = time.monotonic()
        self._refusal: str | None = None
        self._connected = False
        self._over = threading.Event()
        self._client = make_client(wish.broker, f"wherry-collect-{spool.name}", env, acknowledge=True, keep_session=True)
        say_connections(self._client, "collector")
        self._client.on_connect = self._subscribe
        self._client.on_message = self._take

    def run(self, ended: threading.Event) -> Collected:
        self._write(everything=True)  # what a former one had begun
        self._client.loop_start()
        written = time.monotonic()
        try:
            while not ended.wait(_TICK) and not self._is_idle() and self._refusal is None:
                if time.monotonic() - written >= self._wish.every or self._count() >= self._wish.rows:
                    self._write(everything=False)
                    written = time.monotonic()
        finally:
            self._over.set()
            self._client.disconnect()
            self._client.loop_stop()
        self._write(everything=True)
        if self._refusal is not None:
            raise TransferError(f"the broker refuses us: {self._refusal}", hint="--user, --password, --authority")
        if not self._connected and self._is_idle():
            raise TransferError("the broker was not reached", where="--broker", hint="the same command again, later")
        return Collected(
            records=self._records, again=self._again, refused=self._refused, files=self._files, lost=self._spool.lost()
        )

    def _is_idle(self) -> bool:
        return self._wish.idle is not None and time.monotonic() - self._last >= self._wish.idle

    def _count(self) -> int:
        with self._guard:
            return self._spool.waits()

    def _write(self, *, everything: bool) -> None:
        """Lay out what waits, batch by batch."""
        while True:
            with self._guard:
                self._spool.begin_batch(self._wish.rows)
                files, rows = write_parts(self._spool, self._root, self._scratch)
            self._files += files
            if files:
                self._say(f"{rows} records in {files} files")
            if not everything or not files:
                return

    def _subscribe(self, client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
        else:
            self._connected, self._last = True, time.monotonic()
            client.subscribe(self._wish.topic, qos=1)

    def _take(self, client: Client, _data: Any, message: MQTTMessage) -> None:
        self._last = time.monotonic()
        try:
            told = parse_message(bytes(message.payload))
        except FormatError as error:
            self._refused += 1
            self._say(f"{message.topic}: {error.what}: passed over")
        else:
            while (new := self._store(told)) is None:
                if self._over.wait(_PAUSE):
                    return
            self._records += new
            self._again += len(told.records) - new
        client.ack(message.mid, message.qos)

    def _store(self, told: Message) -> int | None:
        try:
            with self._guard:
                return self._spool.take(told)
        except StoreError as error:
            self._say(f"error: {error}")
            return None
