"""What a collector does with a message while its disk is full."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from paho.mqtt.client import Client, MQTTMessage

from wherry.collect import collector
from wherry.collect.collector import CollectWish, _Collection
from wherry.collect.spool import Spool
from wherry.errors import StoreError
from wherry.model.scoring import Broker
from wherry.model.telemetry import Message

ONE = {"version": 1, "device": "sloop", "records": [{"id": "a", "time": 1, "reading": 1}]}


@pytest.mark.parametrize("ended", [False, True])
def test_a_full_disk_is_waited_for_and_nothing_confirmed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    events: list[str] = []
    spool, take = Spool(tmp_path / "s.sqlite", 30), Spool.take

    def fail_twice(self: Spool, message: Message) -> int:
        if len(events) < 2:
            raise StoreError("database or disk is full")
        return take(self, message)

    monkeypatch.setattr(Spool, "take", fail_twice)
    monkeypatch.setattr(collector, "_PAUSE", 0)
    wish = CollectWish(broker=Broker(url="mqtt://127.0.0.1:1"), topic="t")
    collection = _Collection(tmp_path, tmp_path, spool, wish, {}, events.append)
    if ended:
        collection._over.set()
    client: Any = SimpleNamespace(ack=lambda *_: events.append("confirmed"))
    message: Any = SimpleNamespace(topic="t", payload=json.dumps(ONE).encode(), mid=1, qos=1)
    collection._take(cast("Client", client), None, cast("MQTTMessage", message))
    full = "error: database or disk is full"
    assert (events, spool.waits()) == (([full], 0) if ended else ([full, full, "confirmed"], 1))
