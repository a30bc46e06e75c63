"""What the forwarder does when its store fails."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from paho.mqtt.client import Client

from tests.unit.score.test_outbox import ALL, fill
from wherry.errors import StoreError
from wherry.score.forwarder import Forwarder
from wherry.score.outbox import Outbox, Waiting


class Confirming:
    """A connection whose broker confirms at once."""

    def __init__(self) -> None:
        self.on_publish: Any = None
        self.sent = threading.Event()

    def publish(self, _topic: str, _message: bytes, *, qos: int) -> SimpleNamespace:
        threading.Thread(target=self.on_publish, args=(self, None, qos)).start()
        self.sent.set()
        return SimpleNamespace(mid=qos)

    def is_connected(self) -> bool:
        return True

    def loop_start(self) -> None: ...

    def loop_stop(self) -> None: ...

    def disconnect(self) -> None: ...


def test_a_store_that_fails_once_ends_no_sending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outbox, client, failed, read = Outbox(tmp_path / "t.sqlite", ALL), Confirming(), threading.Event(), Outbox.read
    fill(outbox, range(3))

    def fail_once(self: Outbox, after: int, most: int, size: int) -> list[Waiting]:
        if failed.is_set():
            return read(self, after, most, size)
        failed.set()
        raise StoreError("disk I/O error")

    monkeypatch.setattr(Outbox, "read", fail_once)
    forwarder = Forwarder(outbox, cast("Client", client), "topic", "buoy-7")
    forwarder.start()
    forwarder.wake()
    assert failed.wait(60)
    forwarder.wake()
    assert client.sent.wait(60)
    forwarder.close(60)
    assert outbox.counts()["sent"] == 3
    assert "disk I/O error" in capsys.readouterr().err


def test_a_broken_file_is_told_as_such(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "t.sqlite", ALL)
    outbox._db.execute("DROP TABLE outbox")
    for use in (outbox.waits, lambda: outbox.read(0, 1, 1)):
        with pytest.raises(StoreError, match="no such table"):
            use()
