"""Sends what waits in the outbox, oldest first, and forgets what the broker has confirmed (QoS 1).

Few messages are under way at once: what is under way may be sent twice after a kill, under the same ids.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.reasoncodes import ReasonCode

from wherry.errors import StoreError
from wherry.formats.telemetry import render_message
from wherry.score.connection import is_refused
from wherry.score.outbox import DROPPED, FAILED, REFUSED, Outbox, Waiting

_UNDER_WAY = 4
_RECORDS, _BYTES = 200, 60_000  # of a message
_LOOK = 1.0  # seconds between two looks at windows that may be over
_TOLD = (DROPPED, REFUSED, FAILED)  # counts that a message has


class Forwarder:
    """Sends until it is closed. `client` is not connected yet."""

    def __init__(self, outbox: Outbox, client: Client, topic: str, device: str) -> None:
        self._outbox, self._client, self._topic, self._device = outbox, client, topic, device
        self._guard = threading.Lock()
        self._under_way: dict[int, list[Waiting]] = {}
        self._last = 0  # seq of the last record that is under way or gone
        self._wake = threading.Event()
        self._ended = threading.Event()
        client.on_publish = self._confirm
        client.on_connect = self._connect
        self._thread = threading.Thread(target=self._work, name="forward", daemon=True)

    def start(self) -> None:
        self._client.loop_start()
        self._thread.start()

    def wake(self) -> None:
        """There is something new."""
        self._wake.set()

    def close(self, patience: float) -> None:
        """Send what waits, if that takes no longer than `patience` seconds; the rest waits for the next start."""
        end = time.monotonic() + patience
        while self._client.is_connected() and time.monotonic() < end and (self._under_way or self._outbox.read(self._last, 1, 0)):
            self._wake.set()
            time.sleep(0.02)
        self._ended.set()
        self._wake.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _work(self) -> None:
        while not self._ended.is_set():
            self._wake.wait(_LOOK)
            self._wake.clear()
            with explain_loudly():
                self._outbox.close_windows(time.time())
                while self._client.is_connected() and len(self._under_way) < _UNDER_WAY and self._send_next():
                    pass

    def _send_next(self) -> bool:
        records = self._outbox.read(self._last, _RECORDS, _BYTES)
        if not records:
            return False
        counts = self._told()
        with self._guard:  # the confirmation may be here before `publish` has returned
            message = render_message(self._device, [one.body for one in records], counts)
            # Where the connection breaks meanwhile, the client keeps the message, and sends it over the next one.
            self._under_way[self._client.publish(self._topic, message, qos=1).mid] = records
            self._last = records[-1].seq
        return True

    def _told(self) -> Mapping[str, int]:
        counts = self._outbox.counts()
        return {name: counts[name] for name in _TOLD if name in counts}

    def _confirm(self, _client: Client, _data: Any, mid: int, *_: Any) -> None:
        with self._guard:
            records = self._under_way.pop(mid, [])
        with explain_loudly():
            self._outbox.forget(records)
        self._wake.set()

    def _connect(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if not is_refused("telemetry", reason):
            self._wake.set()


@contextmanager
def explain_loudly() -> Iterator[None]:
    """A disk that is full ends no thread: it is said, and what was to be done is done later, or again after a restart."""
    try:
        yield
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
