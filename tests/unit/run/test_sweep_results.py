"""What an attempt leaves is kept however it ends: well, badly, when its time is up, and when it was told to end."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.unit.run.backend_contract import wait_until
from tests.unit.run.sweeps import Crew, make_state
from wherry.model.job import Limits
from wherry.store.objects_folder import FolderObjects

LEAVE = 'echo so far > "$WHERRY_OUTPUTS/model"; echo out; echo err >&2; '
WAIT = "trap 'exit 0' TERM; touch ROOT/up; while :; do sleep 0.02; done"


def kept(crew: Crew) -> list[str | None]:
    return [crew.text(0, name) for name in ("stdout", "stderr", "outputs/model")]


@pytest.mark.parametrize("ending", ["exit 0", "exit 3", "sleep 60"])
def test_it_is_kept_at_every_end(tmp_path: Path, ending: str) -> None:
    limits = Limits(seconds=0.5 if "sleep" in ending else 60)
    crew = Crew(make_state(tmp_path, LEAVE + ending, tasks=1, limits=limits), tmp_path / "scratch")
    crew.work()
    done = crew.state.read_done(0)
    assert done is not None
    assert kept(crew) == ["out\n", "err\n", "so far\n"]
    assert [(one.path, one.size) for one in done.outputs] == [("model", 7)]


def test_it_is_kept_when_the_worker_is_told_to_end(tmp_path: Path) -> None:
    script = LEAVE + WAIT.replace("ROOT", str(tmp_path))
    crew = Crew(make_state(tmp_path, script, tasks=1, store=FolderObjects(tmp_path / "store")), tmp_path / "scratch")
    worker = threading.Thread(target=crew.work, kwargs={"grace": 30.0})
    worker.start()
    assert wait_until((tmp_path / "up").exists)
    crew.stop.give()
    worker.join()
    assert crew.state.read_done(0) is None
    out, err, model = kept(crew)
    assert (out, model) == ("out\n", "so far\n")
    assert (err or "").startswith("err\n")
