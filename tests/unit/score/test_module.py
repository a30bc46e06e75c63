"""What becomes of a reading, what a device is called, and how a broker is found: all without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wherry.errors import DeclarationError, WherryError
from wherry.model.scoring import Broker, MqttModule
from wherry.score.connection import make_client, parse_address, resolve_reference
from wherry.score.module import make_record, read_device, read_time

MODULE = MqttModule(broker=Broker(url="mqtt://hub"), readings="#", id="n", time="at")
NOW = 1.8e9


@pytest.mark.parametrize(
    ("reading", "name", "time"),
    [
        ({"n": "a", "at": 1.7e9}, "a", 1.7e9),
        ({"n": 7, "at": "2026-07-14"}, "7", 1783987200.0),
        ({"n": 7.5, "at": "2026-07-14T02:00:00+02:00"}, "", 1783987200.0),
        ({"n": True, "at": True}, "", NOW),
        ({"n": "x" * 201, "at": "yesterday"}, "", NOW),
        ({"n": None, "at": NOW + 4000}, "", NOW),  # nobody's clock is that far ahead
        ({"at": -1}, "", NOW),
        ({"at": 10**400}, "", NOW),
        ([1, 2], "", NOW),
    ],
)
def test_a_record_has_the_readings_own_id_and_time_where_they_are_sound(reading: object, name: str, time: float) -> None:
    record = make_record(MODULE, "t", json.dumps(reading).encode(), {"hot": True}, NOW)
    assert (record.id, record.time, record.reading, record.result) == (name, time, reading, {"hot": True})


def test_a_reading_that_is_no_json_has_its_score_alone() -> None:
    record = make_record(MODULE, "t", b"\x89PNG", 3, NOW)
    assert (record.id, record.reading, record.result) == ("", None, 3)
    assert make_record(MODULE, "t", b'{"a": NaN}', 3, NOW).reading == {"a": None}


def test_times() -> None:
    assert read_time("2026-07-14T00:00:00Z") == read_time(1783987200) == 1783987200.0
    assert read_time(float("inf")) is None
    assert read_time({}) is None


def test_a_device_has_a_name_that_can_be_a_folders() -> None:
    assert read_device({"WHERRY_DEVICE": "buoy-7"}) == "buoy-7"
    with pytest.raises(DeclarationError, match="no device's name"):
        read_device({"WHERRY_DEVICE": "../buoy"})


@pytest.mark.parametrize(
    ("url", "found"),
    [("mqtt://hub", ("hub", 1883, False)), ("mqtts://hub/", ("hub", 8883, True)), ("mqtt://[::1]:99", ("::1", 99, False))],
)
def test_addresses(url: str, found: tuple[str, int, bool]) -> None:
    assert parse_address(url) == found


@pytest.mark.parametrize(
    "url", ["hub", "http://hub", "mqtt://", "mqtt://hub:x", "mqtt://hub/a", "mqtt://hub?a", "mqtt://me:hush@hub"]
)
def test_what_is_no_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_address(url)
    assert "hush" not in str(caught.value)


def test_references(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("hush\n")
    assert (
        resolve_reference("env:P", {"P": "hush"}, "password") == resolve_reference(f"file:{tmp_path}/p", {}, "password") == "hush"
    )
    assert resolve_reference("mqtt://hub", {}, "broker") == "mqtt://hub"
    for text in ("env:NOT", f"file:{tmp_path}/not"):
        with pytest.raises(WherryError, match="password"):
            resolve_reference(text, {}, "password")


def test_a_certificate_that_is_not_there_is_said_at_once() -> None:
    with pytest.raises(WherryError, match="a certificate cannot be read"):
        make_client(Broker(url="mqtts://hub", authority="/not/there.pem"), "n", {})
