"""A person's jobs, as whole processes: in the environment, in a container, interrupted, killed, done again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require_tool
from tests.flow.conftest import Wherry, write_project

TRAIN = """\
import json, os, pathlib, sys
import tinyone
print("training", *sys.argv[1:], flush=True)
print(tinyone.VERSION, os.environ["LEVEL"], pathlib.Path("data/given").read_text(), sys.stdin.read(), file=sys.stderr)
pathlib.Path(os.environ["WHERRY_OUTPUTS"], "model.txt").write_text("model of " + " ".join(sys.argv[1:]))
with open(os.environ["WHERRY_METRICS"], "a") as file:
    for step in range(3):
        print(json.dumps({"metric": "loss", "value": 1 / (step + 1), "step": step}), file=file)
sys.exit(int(sys.argv[-1]))
"""
WAIT = """\
import os, pathlib, signal, sys, time
def end(*_):
    print("bye", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
while True:
    with open(os.environ["WHERRY_OUTPUTS"] + "/beat", "a") as file:
        file.write(".")
    time.sleep(0.05)
"""
FILES = {
    "train.py": TRAIN,
    "wait.py": WAIT,
    "data/given": "seen",
    "wherry.toml": 'name = "anomaly"\nentrypoint = "python train.py --lr 9 0"\nenv = { LEVEL = "3" }\n',
}


@pytest.fixture
def mine(wherry: Wherry, tmp_path: Path) -> Wherry:
    return wherry.with_env(WHERRY_JOBS=str(tmp_path / "jobs"), WHERRY_ENGINE="bubblewrap")


@pytest.fixture(params=["local", "container"])
def target(request: pytest.FixtureRequest) -> str:
    if request.param == "container":
        require_tool("bwrap")
    return str(request.param)


@pytest.fixture
def yard(seed: Any, tmp_path: Path) -> Path:
    folder = write_project(tmp_path / "yard", FILES)
    (folder / "wherry.lock").write_bytes((seed.project / "wherry.lock").read_bytes())
    return folder


def shown(wherry: Wherry, cwd: Path, name: str) -> dict[str, Any]:
    return dict(json.loads(wherry.ok("job", "show", name, "--json", cwd=cwd))["job"])


def listed(wherry: Wherry, cwd: Path) -> list[dict[str, Any]]:
    return list(json.loads(wherry.ok("job", "ls", "--json", cwd=cwd))["jobs"])


def wait_until(happens: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while not happens():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_a_job_and_its_record(mine: Wherry, yard: Path, target: str) -> None:
    done = mine.run("run", "--on", target, "train.py", "--lr", "0.1", "3", cwd=yard, input="from a pipe", timeout=120)
    assert (done.returncode, done.stdout) == (3, "training --lr 0.1 3\n"), done.stderr
    assert "1.0 3 seen from a pipe\n" in done.stderr
    (job,) = listed(mine, yard)
    assert (job["state"], job["exit_code"], job["target"], job["parameters"]) == ("failed", 3, target, {"lr": "0.1"})
    one = shown(mine, yard, job["id"][:4])
    assert one["metrics"] == {"loss": 1 / 3}
    assert [(output["path"], output["size"]) for output in one["outputs"]] == [("model.txt", len("model of --lr 0.1 3"))]
    assert (Path(one["folder"]) / "outputs/model.txt").read_text() == "model of --lr 0.1 3"
    assert (Path(one["folder"]) / "outputs/model.txt").stat().st_uid == os.geteuid()
    assert (one["image"] is None) == (target == "local")
    assert mine.ok("job", "logs", job["id"], cwd=yard) == "training --lr 0.1 3\n"
    assert not (yard / "model.txt").exists()
    assert mine.ok("job", "rm", job["id"], cwd=yard).strip() == job["id"]
    assert listed(mine, yard) == []
    assert not Path(one["folder"]).exists()


def test_twins_have_the_same_lock(mine: Wherry, yard: Path) -> None:
    require_tool("bwrap")
    for target in ("local", "container"):
        mine.ok("run", "--on", target, cwd=yard, timeout=120)  # the entrypoint
    two, one = listed(mine, yard)
    assert one["command"] == two["command"] == ["python", "train.py", "--lr", "9", "0"]
    assert one["lock"] == two["lock"] is not None
    table = mine.ok("job", "compare", one["id"], two["id"], cwd=yard)
    assert "target" in table
    assert "lock" not in table
    assert "metrics.loss" not in table


def test_a_changed_requirement_never_runs_in_the_old_environment(mine: Wherry, yard: Path) -> None:
    mine.ok("run", "--on", "local", cwd=yard)
    (yard / "requirements.txt").write_text("tinyone==1.1\n")
    mine.refused("run", "--on", "local", cwd=yard, code=11)
    mine.ok("lock", cwd=yard)
    done = mine.run("run", "--on", "local", cwd=yard)
    assert "making it" in done.stderr
    assert "1.1 3 seen" in done.stderr
    again = mine.run("run", "--again", listed(mine, yard)[-1]["id"], cwd=yard)
    assert "the locked packages: sha256:" in again.stderr
    (yard / "wherry.toml").write_text(FILES["wherry.toml"].replace('"3"', '"4"'))
    assert "1.1 4 seen" in mine.run("run", "--on", "local", cwd=yard).stderr


def test_again_is_the_same_and_says_what_is_not(mine: Wherry, yard: Path, tmp_path: Path) -> None:
    given = ("-e", "LEVEL=7", "-e", "TOKEN", "--time", "5m")
    mine.with_env(TOKEN="hidden").ok("run", "--on", "local", *given, "--", "train.py", "--lr", "1", "0", cwd=yard)
    (former,) = listed(mine, yard)
    assert former["env"] == {"LEVEL": "7", "TOKEN": None}
    assert "hidden" not in (tmp_path / "jobs/jobs.sqlite").read_bytes().decode("latin-1")
    done = mine.run("run", "--again", former["id"][:5], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "training --lr 1 0\n")
    assert f"not as in {former['id']}: values of TOKEN" in done.stderr
    assert "1.0 7 seen" in done.stderr
    now = listed(mine, yard)[0]
    assert now["again"] == former["id"]
    same = ("command", "parameters", "limits", "lock", "project", "target", "data")
    assert {key: now[key] for key in same} == {key: former[key] for key in same}
    mine.refused("run", "--again", former["id"], "--", "python", cwd=yard, code=2)
    mine.refused("run", "--again", "nothere", cwd=yard, code=13)


def begin(wherry: Wherry, yard: Path, *options: str) -> subprocess.Popen[str]:
    process = wherry.start("run", *options, "wait.py", cwd=yard)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n", process.stderr.read() if process.stderr else ""
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_ends_the_job_in_order(mine: Wherry, yard: Path, target: str, number: signal.Signals, code: int) -> None:
    with begin(mine, yard, "--on", target) as process:
        process.send_signal(number)
        assert process.communicate(timeout=60)[0] == "bye\n"
        assert process.returncode == code
    (job,) = listed(mine, yard)
    assert job["state"] == "cancelled"
    assert is_still(mine, yard, job["id"])


def test_a_killed_front_loses_nothing(mine: Wherry, yard: Path, target: str) -> None:
    with begin(mine, yard, "--on", target) as process:
        process.kill()
    (job,) = listed(mine, yard)
    assert job["state"] == "running"
    mine.refused("job", "rm", job["id"], cwd=yard, code=18)
    assert mine.ok("job", "stop", job["id"], cwd=yard).strip() == job["id"]
    assert mine.ok("job", "logs", "-f", job["id"], cwd=yard) == "up\nbye\n"
    (job,) = listed(mine, yard)
    assert (job["state"], [output["path"] for output in job["outputs"]]) == ("cancelled", ["beat"])


def test_a_killed_supervisor_is_no_running_job(mine: Wherry, yard: Path, target: str) -> None:
    with begin(mine, yard, "--on", target) as process:
        (job,) = listed(mine, yard)
        begun = Path(shown(mine, yard, job["id"])["folder"], "tasks/0/begun.json")
        os.kill(json.loads(begun.read_bytes())["pid"], signal.SIGKILL)
        assert process.communicate(timeout=60)[1].endswith(f"try: wherry run --again {job['id']}\n")
        assert process.returncode == 18
    (job,) = listed(mine, yard)
    assert (job["state"], job["exit_code"]) == ("lost", None)
    assert is_still(mine, yard, job["id"])


def test_killed_at_any_moment_no_job_runs_for_ever(mine: Wherry, yard: Path) -> None:
    mine.ok("run", "--on", "local", "true", cwd=yard)
    for turn in range(12):
        with mine.start("run", "--on", "local", "sh", "-c", 'echo > "$WHERRY_OUTPUTS/m"', cwd=yard) as process:
            time.sleep(turn * 0.06)
            process.kill()
    assert wait_until(lambda: all(job["state"] != "running" for job in listed(mine, yard)))
    for job in listed(mine, yard)[:-1]:
        assert job["state"] in ("succeeded", "lost")
        assert [output["path"] for output in job["outputs"]] == ["m"] or job["state"] == "lost"
    left = [path.name for path in (yard.parent / "jobs").iterdir() if path.is_dir()]
    assert {job["id"] for job in listed(mine, yard)} <= set(left)


def test_in_the_background_and_out_of_time(mine: Wherry, yard: Path, target: str) -> None:
    name = mine.ok("run", "-d", "--on", target, "--time", "3", "--", "wait.py", cwd=yard, timeout=120).strip()
    assert mine.ok("job", "logs", "-f", name, cwd=yard, timeout=60) == "up\nbye\n"
    (job,) = listed(mine, yard)
    assert (job["id"], job["state"], job["exit_code"]) == (name, "timed-out", 124)


def test_what_a_job_cannot_have(mine: Wherry, yard: Path) -> None:
    assert "no target 'moon'" in mine.refused("run", "--on", "moon", "x", cwd=yard, code=2)
    assert "-v" in mine.refused("run", "--on", "local", "-v", "./data:/x", "x", cwd=yard, code=2)
    assert "only jobs have limits" in mine.refused("run", "--memory", "1G", "x", cwd=yard, code=2)
    assert "no amount of memory" in mine.refused("run", "--on", "local", "--memory", "much", "x", cwd=yard, code=2)
    assert listed(mine, yard) == []
    done = mine.run("run", "--on", "local", "no-such-program", cwd=yard)
    assert done.returncode == 127


def test_a_target_of_one_s_own(mine: Wherry, yard: Path) -> None:
    require_tool("bwrap")
    table = '[targets.small]\nengine = "bubblewrap"\nmemory = "1GiB"\ndata = ["data:rw"]\nenv = { LEVEL = "5" }\n'
    (yard / "wherry.toml").write_text(FILES["wherry.toml"] + table)
    script = "import os, pathlib; pathlib.Path('data/made').write_text(os.environ['LEVEL']); pathlib.Path('made').write_text('')"
    done = mine.run("run", "--on", "small", "--", "python", "-c", script, cwd=yard, timeout=120)
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr
    assert (yard / "data/made").read_text() == "5"
    (job,) = listed(mine, yard)
    assert (job["target"], job["engine"], job["limits"]["memory"]) == ("small", "bubblewrap", 1 << 30)


def is_still(wherry: Wherry, yard: Path, name: str) -> bool:
    """Whether nothing of the job writes any more."""
    beat = Path(shown(wherry, yard, name)["folder"], "outputs/beat")

    def rested() -> bool:
        before = beat.stat().st_size
        time.sleep(0.5)
        return beat.stat().st_size == before

    return wait_until(rested)
