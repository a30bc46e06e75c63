"""Apptainer and pyxis by their command lines, and programs in their places that record the call and run the command.

What the real ones are asked is held to their documentation here, word by word; no real one runs.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engines.images import layer_bytes, put_image
from tests.unit.engines.cluster_stand_ins import StandIn
from tests.unit.run.backend_contract import ASLEEP, stands_still, wait_until
from tests.unit.run.sweeps import Crew, make_state
from wherry.engines.port import EngineImage, Mount, MountKind, RunSpec
from wherry.engines.root_file_engine import Apptainer, FileContainers, Pyxis, RootFileEngine, find_root_file_engine
from wherry.errors import EngineError
from wherry.model.job import Limits
from wherry.run.launch import pick_runnable
from wherry.run.sweep_container import ContainerLauncher
from wherry.store.disk import DiskStore

FILE = Path("/shared/ab.file")
SCRATCH = Path("/tmp/scratch")


@pytest.fixture
def image(tmp_path: Path) -> EngineImage:
    store = DiskStore(tmp_path / "store")
    put_image(store, "tiny:latest", [layer_bytes([])], workdir="/app", env=("MODE=image", "LANG=C"))
    return pick_runnable(store, "tiny")[1]


@pytest.fixture
def spec(image: EngineImage) -> RunSpec:
    return RunSpec(
        image=image,
        name="wherry-1",
        command=("python", "train.py", "--lr", "0.1"),
        env=(("HOME", "/tmp"), ("TOKEN", "s3cret, yes"), ("MODE", "mine")),
        mounts=(
            Mount(kind=MountKind.BIND, source="/home/me/a project", target="/app", read_only=True),
            Mount(kind=MountKind.BIND, source="/scratch/outputs", target="/run/wherry/outputs"),
        ),
        workdir="/app",
    )


def test_what_apptainer_is_asked(spec: RunSpec) -> None:
    words = Apptainer({}).render(replace(spec, gpus="all", network="none"), FILE, SCRATCH)
    assert words == (
        *("apptainer", "exec", "--containall", "--cleanenv", "--workdir", "/tmp/scratch", "--pwd", "/app"),
        *("--bind", "/home/me/a project:/app:ro", "--bind", "/scratch/outputs:/run/wherry/outputs"),
        *("--nv", "--net", "--network", "none", "/shared/ab.file", "python", "train.py", "--lr", "0.1"),
    )
    assert Apptainer({}).list_variables(spec) == {"APPTAINERENV_TOKEN": "s3cret, yes", "APPTAINERENV_MODE": "mine"}


def test_what_pyxis_is_asked(spec: RunSpec) -> None:
    words = Pyxis({}).render(replace(spec, options=("--mem=512M",)), FILE, SCRATCH)
    assert words == (
        *("srun", "--overlap", "--ntasks=1", "--cpu-bind=none", "--export=HOME,TOKEN,MODE"),
        "--container-image=/shared/ab.file",
        "--container-mounts=/home/me/a project:/app:ro,/scratch/outputs:/run/wherry/outputs",
        *("--container-workdir=/app", "--container-env=MODE", "--no-container-mount-home", "--no-container-entrypoint"),
        *("--mem=512M", "python", "train.py", "--lr", "0.1"),
    )
    assert Pyxis({}).list_variables(spec) == dict(spec.env)


@pytest.mark.parametrize("engine", [Apptainer({}), Pyxis({})])
def test_no_value_of_a_variable_stands_on_a_command_line(engine: RootFileEngine, spec: RunSpec) -> None:
    assert not any("s3cret" in word for word in engine.render(spec, FILE, SCRATCH))


@pytest.mark.parametrize("engine", [Apptainer({}), Pyxis({})])
@pytest.mark.parametrize("source", ["/a:b", "/a,b"])
def test_what_neither_can_write_is_refused(engine: RootFileEngine, spec: RunSpec, source: str) -> None:
    odd = replace(spec, mounts=(Mount(kind=MountKind.BIND, source=source, target="/in"),))
    with pytest.raises(EngineError, match="colon or a comma") as caught:
        engine.render(odd, FILE, SCRATCH)
    assert caught.value.where == source


def test_pyxis_cannot_take_the_network_away(spec: RunSpec) -> None:
    with pytest.raises(EngineError, match="without a network"):
        Pyxis({}).render(replace(spec, network="none"), FILE, SCRATCH)


def test_which_engine(tmp_path: Path) -> None:
    apptainer, srun = StandIn(tmp_path / "a", "apptainer"), StandIn(tmp_path / "s", "srun")
    both = {**srun.env, "PATH": f"{apptainer.folder}:{srun.folder}"}
    none = {"PATH": str(tmp_path), "SLURM_JOB_ID": "7"}
    for name, env, found in (
        ("any", both, "pyxis"),
        ("any", {**both, "PATH": str(apptainer.folder)}, "apptainer"),
        ("any", none, None),
        ("apptainer", both, "apptainer"),
        ("podman", both, None),
        ("", both, None),
    ):
        engine = find_root_file_engine(name, env)
        assert (engine.name if engine else None) == found
    (apptainer.folder / "tar2sqfs").unlink()
    assert find_root_file_engine("any", apptainer.env | {"PATH": str(apptainer.folder)}) is None
    for name, reason in (("pyxis", "no plugin pyxis"), ("apptainer", "not installed")):
        with pytest.raises(EngineError, match=reason) as caught:
            find_root_file_engine(name, none)
        assert caught.value.hint


@pytest.fixture(params=["apptainer", "srun"])
def stand_in(request: pytest.FixtureRequest, tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "bin", request.param)


@pytest.fixture
def containers(stand_in: StandIn, image: EngineImage, tmp_path: Path) -> FileContainers:
    engine = find_root_file_engine("any", stand_in.env)
    assert engine is not None
    file = tmp_path / f"root.{'sif' if engine.form == 'sif' else 'sqfs'}"
    file.touch()
    return FileContainers(engine, image, file, stand_in.env)


@pytest.fixture
def launcher(containers: FileContainers, image: EngineImage) -> ContainerLauncher:
    return ContainerLauncher(containers, image)


def test_tasks_and_what_is_kept_of_them(launcher: ContainerLauncher, stand_in: StandIn, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("seen\n")
    script = 'cat mine; echo err >&2; echo $WHERRY_TASK $MODE > "$WHERRY_OUTPUTS/m"; env > "$WHERRY_OUTPUTS/env"; exit {i}'
    state = make_state(tmp_path, script, tasks=3, env=(("MODE", "mine"),), limits=Limits(memory=1 << 30))
    crew = Crew(state, tmp_path / "scratch", launcher)
    crew.work()
    ends = crew.state.read_ends()
    assert [(ends[task].state.value, ends[task].exit_code) for task in range(3)] == [("succeeded", 0), ("failed", 1), ("failed", 2)]
    assert [crew.text(task, "outputs/m") for task in range(3)] == [f"{task} mine\n" for task in range(3)]
    assert (crew.text(0), crew.text(0, "stderr")) == ("seen\n", "err\n")
    assert "s3cret" not in (crew.text(0, "outputs/env") or "s3cret")
    told = [" ".join(call["argv"]) for call in stand_in.calls()]
    assert not any("mine" in text.split("sh -c")[0] for text in told)


def test_time_is_up(launcher: ContainerLauncher, tmp_path: Path) -> None:
    script = f'trap "" TERM; (while :; do echo >> {tmp_path}/beat; sleep 0.05; done) & {ASLEEP}'
    crew = Crew(make_state(tmp_path, script, tasks=1, limits=Limits(seconds=1)), tmp_path / "scratch", launcher)
    crew.work()
    done = crew.state.read_done(0)
    assert done is not None, crew.errors
    assert (done.state.value, done.exit_code) == ("timed-out", 124)
    assert stands_still(tmp_path / "beat")


def test_cancelling_asks_the_command_itself(launcher: ContainerLauncher, tmp_path: Path) -> None:
    crew = Crew(make_state(tmp_path, f'trap "echo bye; exit 0" TERM; echo up; {ASLEEP}', tasks=1), tmp_path / "scratch", launcher)
    worker = threading.Thread(target=crew.work, kwargs={"grace": 30.0})
    worker.start()
    assert wait_until(lambda: crew.text(0) == "up\n")
    crew.stop.give()
    worker.join()
    assert crew.text(0) == "up\nbye\n"
    assert crew.state.read_done(0) is None


def test_a_program_that_is_not_there_is_the_task_s_own_mistake(
    launcher: ContainerLauncher, containers: FileContainers, tmp_path: Path
) -> None:
    containers.try_out()
    state = make_state(tmp_path, "exec no-such-program", tasks=1)
    crew = Crew(state, tmp_path / "scratch", launcher)
    crew.work()
    done = state.read_done(0)
    assert done is not None, crew.errors
    assert done.state.value == "failed"


@pytest.mark.parametrize("words", ["FATAL:   could not open image: no such device\n", "slurmstepd: error: pyxis: enroot failed\n"])
def test_an_engine_that_cannot_run_the_file_is_told_before_any_task(
    containers: FileContainers, stand_in: StandIn, words: str
) -> None:
    stand_in.fail(words)
    if ("FATAL" in words) != (containers.name == "apptainer"):
        containers.try_out()  # words of no such engine
        return
    with pytest.raises(EngineError, match=f"{containers.name} does not run the image"):
        containers.try_out()


def test_a_file_that_is_gone_fails_no_task(containers: FileContainers, image: EngineImage, tmp_path: Path) -> None:
    for file in tmp_path.glob("root.*"):
        file.unlink()
    crew = Crew(make_state(tmp_path, "true", tasks=1), tmp_path / "scratch", ContainerLauncher(containers, image))
    crew.work()
    assert "is gone" in str(crew.errors[0])
    assert crew.state.read_ends() == {}
