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


def test_what_no_store_can_have_fails_its_task_alone(tmp_path: Path) -> None:
    long = "\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 100  # 200 bytes, and 600 letters in a key
    script = f'echo x > "$WHERRY_OUTPUTS/short"; test {{i}} = 1 || echo x > "$WHERRY_OUTPUTS/{long}"'
    crew = Crew(make_state(tmp_path, script, tasks=2, store=FolderObjects(tmp_path / "store")), tmp_path / "scratch")
    beat = crew.work()
    assert beat is not None
    assert (beat.trouble, crew.errors) == (None, [])
    ends = crew.state.read_ends()
    assert [ends[task].state.value for task in (0, 1)] == ["failed", "succeeded"]
    assert [one.path for one in ends[0].outputs] == ["short"]
    assert "too long to be kept" in (ends[0].note or "")


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "others/secret").write_text("not this task's")
    script = f'rmdir "$WHERRY_OUTPUTS"; ln -s "{tmp_path}/others" "$WHERRY_OUTPUTS"'
    crew = Crew(make_state(tmp_path, script, tasks=1), tmp_path / "scratch")
    crew.work()
    done = crew.state.read_done(0)
    assert done is not None
    assert (done.state.value, done.outputs) == ("succeeded", ())
    assert crew.text(0, "outputs/secret") is None
