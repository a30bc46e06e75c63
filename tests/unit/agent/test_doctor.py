"""What the doctor says of a device: each thing that would be in an update's way is planted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.simulators.devices import Device
from tests.simulators.engine import SimulatedEngine
from tests.simulators.tuf_repository import TufRepository
from tests.simulators.web import WebSimulator
from wherry.agent import doctor
from wherry.agent.doctor import Finding, examine_device
from wherry.agent.front import run_agent
from wherry.agent.settings import AgentSettings
from wherry.agent.work import ask_channel
from wherry.engines.port import EngineInfo
from wherry.errors import BudgetError
from wherry.model.digest import Digest
from wherry.model.host import Space

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
Examine = Callable[..., dict[str, Finding]]


@pytest.fixture
def device(tmp_path: Path) -> Device:
    (tmp_path / "root/sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "root/sys/fs/cgroup/cgroup.controllers").touch()
    return Device(folder=tmp_path, root=TufRepository().roots[0], engine=SimulatedEngine(tmp_path / "engine"))


def examine(device: Device, settings: AgentSettings | None = None, **more: Any) -> list[Finding]:
    settings = settings or device.settings
    return list(examine_device(settings, device.engine, more.pop("now", NOW), root=device.folder / "root", **more))


def unwell(findings: list[Finding]) -> list[str]:
    return [one.what for one in findings if not one.well]


def test_a_device_that_could_take_its_first_update(device: Device) -> None:
    findings = examine(device)
    assert unwell(findings) == []
    assert [one.hint for one in findings] == [""] * len(findings)


def test_disk_cgroups_clock_and_engine(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Space(size=10**9, free=10**7, inodes=10**5, free_inodes=10**4, writable=True)
    monkeypatch.setattr(doctor, "read_space", lambda _place: full)
    monkeypatch.setattr(
        SimulatedEngine, "probe", lambda _self: EngineInfo(name="podman", usable=False, reason="gone", hint="start it")
    )
    (device.folder / "root/sys/fs/cgroup/cgroup.controllers").unlink()
    (device.folder / "root/sys/fs/cgroup/memory").mkdir()
    findings = examine(device, now=datetime(1970, 1, 1, tzinfo=UTC))
    disk, engine = unwell(findings)
    assert "0.0 GB of 1.0 GB are free" in disk
    assert engine == "podman is not usable: gone"
    hinted = {one.what: one.hint for one in findings if one.well and one.hint}
    assert any("the clock says 1970" in what for what in hinted)
    assert any("cgroups are of version 1" in what for what in hinted)
    monkeypatch.setattr(doctor, "read_space", lambda _place: Space(size=1, free=1, inodes=None, free_inodes=None, writable=False))
    assert "cannot be written" in unwell(examine(device))[0]


@pytest.mark.parametrize(
    ("answer", "well", "words"),
    [
        ({"status": 206, "time": NOW.timestamp()}, [True, True], "has a parcel"),
        ({"status": 404, "time": None}, [True], "no parcel from what is on"),
        ({"status": 500, "time": None}, [False], "answers 500"),
        ({"status": 304, "time": (NOW + timedelta(days=3)).timestamp()}, [True, False], "72.0 h behind"),
        ({"status": 304, "time": (NOW + timedelta(hours=2)).timestamp()}, [True, True], "2.0 h behind"),
    ],
)
def test_the_channel_and_its_clock(device: Device, answer: Mapping[str, Any], well: list[bool], words: str) -> None:
    asked: list[Digest | None] = []

    def ask(base: Digest | None) -> Mapping[str, Any]:
        asked.append(base)
        return answer

    settings = replace(device, url="http://channel.test/c").settings
    found = [one for one in examine(device, settings, ask_channel=ask) if "channel.test" in one.what]
    assert ([one.well for one in found], asked) == (well, [None])
    assert any(words in one.what for one in found)


def test_a_channel_that_may_not_be_asked_now(device: Device) -> None:
    def refuse(_base: Digest | None) -> Mapping[str, Any]:
        raise BudgetError("nothing is left of this month's budget", hint="next month")

    (found,) = [
        one for one in examine(device, replace(device, url="http://channel.test").settings, ask_channel=refuse) if not one.well
    ]
    assert (found.what, found.hint) == ("channel.test: nothing is left of this month's budget", "next month")


def test_one_byte_is_asked_for_and_counted(device: Device) -> None:
    with WebSimulator({}) as web:
        settings = replace(device, url=web.url).settings
        answer = ask_channel(settings, None)
        assert answer["status"] == 404
        assert abs(float(str(answer["time"])) - datetime.now(UTC).timestamp()) < 60
        (seen,) = web.seen
        assert seen.range == "bytes=0-0"
        (month,) = (settings.state / "ledger").glob("*.jsonl")
        assert '"doctor"' in month.read_text()


def test_the_command_asks_the_channel_only_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with WebSimulator({}) as web:
        (tmp_path / "agent.toml").write_text(f'engine = "bubblewrap"\nstate = "state"\n[channel]\nurl = "{web.url}"\n')
        run_agent(["--config", str(tmp_path / "agent.toml"), "doctor"])
        assert not web.seen
        run_agent(["--config", str(tmp_path / "agent.toml"), "doctor", "--link"])
        assert len(web.seen) == 1
    assert "answers; no parcel from what is on lies there" in capsys.readouterr().out
