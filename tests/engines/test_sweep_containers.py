"""Tasks of a sweep as containers: in real podman and docker, and with bubblewrap alone."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.engines.test_container_backend import engine_place
from tests.unit.run.backend_contract import ASLEEP, wait_until
from tests.unit.run.sweeps import Crew, make_state
from wherry.engines.bubblewrap import BubblewrapEngine
from wherry.engines.choice import make_engine
from wherry.engines.docker_like import DockerLikeEngine
from wherry.model.job import Limits
from wherry.model.sweep import SweepInput
from wherry.run.launch import load_image, pick_runnable
from wherry.run.sweep_container import ContainerLauncher
from wherry.run.sweep_inputs import TaskInputs
from wherry.store.disk import DiskStore

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engines")]
__all__ = ["engine_place"]


@pytest.fixture
def launcher(engine_place: tuple[str, Mapping[str, str], Path]) -> ContainerLauncher:
    name, env, place = engine_place
    engine, store = make_engine(name, env), DiskStore(place)
    assert isinstance(engine, DockerLikeEngine | BubblewrapEngine)
    stored, image = pick_runnable(store, "tiny")
    load_image(store, stored, image, engine, lambda _text: None)
    return ContainerLauncher(engine, image, "none")


def list_left(engine_place: tuple[str, Mapping[str, str], Path]) -> list[str]:
    """Containers of sweeps that are there still."""
    name, env, _ = engine_place
    if name == "bubblewrap":
        return [path.name for path in Path(env["WHERRY_CACHE"], "containers").iterdir() if "trial" in path.name]
    listed = subprocess.run([name, "ps", "--all", "--format", "{{.Names}}"], env=dict(env), capture_output=True, check=True)
    return [line for line in listed.stdout.decode().split() if "trial" in line]


def test_what_is_kept_of_a_task(
    launcher: ContainerLauncher, engine_place: tuple[str, Mapping[str, str], Path], tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text("seen\n")
    script = 'cat mine; echo err >&2; echo $WHERRY_TASK > "$WHERRY_OUTPUTS/m"; touch made || echo read-only; exit {i}'
    crew = Crew(make_state(tmp_path, script, tasks=3), tmp_path / "scratch", launcher)
    beat = crew.work()
    assert beat is not None, crew.errors
    ends = crew.state.read_ends()
    assert [(ends[task].state.value, ends[task].exit_code) for task in range(3)] == [("succeeded", 0), ("failed", 1), ("failed", 2)]
    assert [crew.text(task, "outputs/m") for task in range(3)] == ["0\n", "1\n", "2\n"]
    assert crew.text(0) == "seen\nread-only\n"
    assert "err\n" in (crew.text(0, "stderr") or "")
    assert list_left(engine_place) == []


def test_time_is_up(launcher: ContainerLauncher, engine_place: tuple[str, Mapping[str, str], Path], tmp_path: Path) -> None:
    script = f'trap "" TERM; echo up; {ASLEEP}'
    crew = Crew(make_state(tmp_path, script, tasks=1, limits=Limits(seconds=2)), tmp_path / "scratch", launcher)
    crew.work()
    done = crew.state.read_done(0)
    assert done is not None, crew.errors
    assert (done.state.value, done.exit_code) == ("timed-out", 124)
    assert list_left(engine_place) == []


def test_cancelling_is_orderly(
    launcher: ContainerLauncher, engine_place: tuple[str, Mapping[str, str], Path], tmp_path: Path
) -> None:
    crew = Crew(make_state(tmp_path, f'trap "echo bye; exit 0" TERM; echo up; {ASLEEP}', tasks=1), tmp_path / "scratch", launcher)
    worker = threading.Thread(target=crew.work, kwargs={"grace": 30.0})
    worker.start()
    assert wait_until(lambda: crew.text(0) == "up\n")
    crew.stop.give()
    worker.join()
    assert crew.state.read_done(0) is None
    assert crew.text(0) == "up\nbye\n"
    assert list_left(engine_place) == []


def test_a_program_that_is_not_there(launcher: ContainerLauncher, tmp_path: Path) -> None:
    state = make_state(tmp_path, "exec no-such-program", tasks=1)
    crew = Crew(state, tmp_path / "scratch", launcher)
    crew.work()
    done = state.read_done(0)
    assert done is not None, crew.errors
    assert done.exit_code == 127


def test_inputs_are_there_to_be_read(launcher: ContainerLauncher, tmp_path: Path) -> None:
    """The container's user may be root, so that the files' modes alone would keep nobody off."""
    (tmp_path / "one").write_text("one\n")
    script = 'cat "$WHERRY_INPUTS/data/one"; (echo x > "$WHERRY_INPUTS/data/one") 2>&1 || rm "$WHERRY_INPUTS/data/one" || echo kept'
    one = SweepInput(source=f"file://{tmp_path}/one", target="data/one")
    crew = Crew(make_state(tmp_path, script, tasks=1, inputs=(one,)), tmp_path / "scratch", launcher)
    crew.inputs = TaskInputs(crew.state.read_spec().sweep, tmp_path / "cache", {}, crew.stop)
    crew.work()
    lines = (crew.text(0) or "").splitlines()
    assert (lines[0], lines[-1]) == ("one", "kept"), crew.errors
    assert [path.read_text() for path in (tmp_path / "cache/data").iterdir()] == ["one\n"]
