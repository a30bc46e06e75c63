"""The page of targets: what was declared, and how it is; nobody waits for what does not answer."""

from __future__ import annotations

import threading

from tests.unit.run.backend_contract import wait_until
from tests.unit.ui.conftest import World
from wherry.errors import EngineError
from wherry.model.job import JobState
from wherry.run.port import BackendInfo
from wherry.ui.probes import Probes


def test_targets_and_how_they_are(world: World) -> None:
    (world.desk.root / "wherry.toml").write_text(
        '[targets.big]\nengine = "docker"\ncpus = 8\nmemory = "4GiB"\ndata = ["in", "out:rw"]\n'
    )
    world.add_job("aa", target="big", state=JobState.RUNNING, host="elsewhere")
    assert wait_until(lambda: "asking" not in world.read("targets"))
    page = world.read("targets")
    for text in ("local", "container", "big", "in, out (written)", "4.3 GB", "docker is not installed", "1 job<"):
        assert text in page, text
    assert page.count("usable</span>") == 3


def test_a_damaged_declaration_is_told(world: World) -> None:
    (world.desk.root / "wherry.toml").write_text("[targets.big]\nengin = 1\n")
    assert "targets.big" in world.read("targets", status=500)


def test_nobody_waits_for_what_does_not_answer() -> None:
    now, asked, answer = [0.0], [], threading.Event()
    probes = Probes(lambda: now[0])

    def ask() -> BackendInfo:
        asked.append(now[0])
        answer.wait(60)
        return BackendInfo(usable=True)

    def look() -> tuple[BackendInfo | None, bool, float]:
        health = probes.look("slow", ask)
        return health.info, health.late, health.seconds

    assert look() == (None, False, 0.0)
    now[0] = 11.0
    assert look() == (None, True, 11.0)
    assert probes.look("other", lambda: BackendInfo(usable=False)).late is False
    answer.set()
    assert wait_until(lambda: look()[0] == BackendInfo(usable=True))
    now[0] = 40.0
    look()
    assert wait_until(lambda: len(asked) == 1)
    now[0] = 42.0
    look()
    assert wait_until(lambda: asked == [0.0, 42.0])


def test_a_probe_that_fails_is_an_answer() -> None:
    def ask() -> BackendInfo:
        raise EngineError("no such engine", hint="another one")

    probes = Probes()
    assert wait_until(
        lambda: probes.look("odd", ask).info == BackendInfo(usable=False, reason="no such engine", hint="another one")
    )
