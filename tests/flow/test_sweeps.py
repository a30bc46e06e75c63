"""A person's sweeps, as whole processes: carried to their end, read, cancelled, resumed from another folder, cleared away."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require_tool
from tests.flow.conftest import Wherry, write_project
from tests.unit.run.backend_contract import wait_until
from wherry.run.sweep_state import SweepState
from wherry.store.objects_folder import FolderObjects

TRAIN = """\
import json, os, pathlib, sys, time
import tinyone
lr, depth = float(sys.argv[2]), int(sys.argv[4])
print("training", lr, depth, tinyone.VERSION, flush=True)
with open(os.environ["WHERRY_METRICS"], "a") as file:
    print(json.dumps({"metric": "loss", "value": lr * depth}), file=file)
pathlib.Path(os.environ["WHERRY_OUTPUTS"], "model").write_text(f"{lr} {depth}")
while depth == 9 and not pathlib.Path(os.environ["GO"]).exists():
    time.sleep(0.05)
sys.exit(depth == 8)
"""
QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
SWEEP = """
name = "anomaly"
[sweeps.depth]
command = "train.py --lr {lr} --depth {depth}"
grid = { lr = [0.5, 0.25], depth = [2, 8] }
"""


@pytest.fixture
def mine(wherry: Wherry, tmp_path: Path) -> Wherry:
    return wherry.with_env(WHERRY_JOBS=str(tmp_path / "jobs"), WHERRY_ENGINE="bubblewrap", GO=str(tmp_path / "go"))


@pytest.fixture
def yard(seed: Any, tmp_path: Path) -> Path:
    folder = write_project(tmp_path / "yard", {"train.py": TRAIN, "wherry.toml": SWEEP})
    (folder / "wherry.lock").write_bytes((seed.project / "wherry.lock").read_bytes())
    return folder


def shown(wherry: Wherry, *words: str) -> Any:
    return json.loads(said(wherry, *words, "--json"))


def said(wherry: Wherry, *words: str) -> str:
    """What a command about sweeps prints, wherever it is called."""
    return wherry.ok("sweep", *words, cwd=Path("/"))


def test_a_sweep_and_what_came_of_it(mine: Wherry, yard: Path, tmp_path: Path) -> None:
    plan = json.loads(mine.run("sweep", "depth", "--on", "local", "--time", "1h", "--dry-run", "--json", cwd=yard).stdout)
    assert (plan["tasks"], plan["cost_at_most"]) == (4, None)
    assert plan["hours_at_most"] == -(-4 // plan["at_once"])
    done = mine.run("sweep", "depth", "--on", "local", cwd=yard, timeout=120)
    assert done.returncode == 1
    assert "task 1 (lr=0.5 depth=8) failed, exit code 1" in done.stdout
    status = shown(mine, "status")
    assert status["counts"] == {"total": 4, "waiting": 0, "running": 0, "succeeded": 2, "failed": 2, "timed_out": 0, "lost": 0}
    rows = list(csv.DictReader(io.StringIO(said(mine, "results", "--csv"))))
    assert [(row["lr"], row["depth"], row["state"], row["loss"], row["outputs"]) for row in rows] == [
        ("0.5", "2", "succeeded", "1.0", "model"),
        ("0.5", "8", "failed", "4.0", "model"),
        ("0.25", "2", "succeeded", "0.5", "model"),
        ("0.25", "8", "failed", "2.0", "model"),
    ]
    assert "[2] training 0.25 2 " in said(mine, "logs")
    assert said(mine, "logs", "--task", "1").startswith("training 0.5 8 ")
    assert said(mine, "gc") == ""
    other = mine.with_env(WHERRY_JOBS=str(tmp_path / "elsewhere"))
    state = f"{tmp_path}/jobs/sweeps/state"
    assert shown(other, "results", status["id"], "--state", state)["rows"] == shown(mine, "results")["rows"]
    assert "no task 4" in mine.refused("sweep", "logs", "--task", "4", cwd=yard, code=2)


def test_the_same_in_containers(mine: Wherry, yard: Path, tmp_path: Path) -> None:
    require_tool("bwrap")
    mine.run("sweep", "depth", "--on", "local", cwd=yard)
    here = shown(mine, "results")["rows"]
    mine.run("sweep", "depth", "--on", "container", cwd=yard, timeout=120)
    there = shown(mine, "results")["rows"]
    states = [SweepState(FolderObjects(tmp_path / "jobs/sweeps/state"), found["id"]) for found in shown(mine, "ls")["sweeps"]]
    outputs = [{task: done.outputs for task, done in state.read_ends().items()} for state in states]
    assert outputs[0] == outputs[1]
    assert all(one.sha256 for found in outputs[0].values() for one in found)
    told = ("task", "lr", "depth", "state", "exit_code", "loss", "outputs")
    assert [[row[name] for name in told] for row in here] == [[row[name] for name in told] for row in there]


def test_an_environment_that_is_not_the_lock_s_runs_nothing(mine: Wherry, yard: Path) -> None:
    mine.run("sweep", "depth", "--on", "local", cwd=yard, timeout=120)
    (module,) = (yard / ".wherry/env").rglob("tinyone/__init__.py")
    text = module.read_text()
    module.unlink()
    module.write_text(text + "# edited\n", encoding="utf-8")
    assert "not what its lock says" in mine.refused("sweep", "depth", "--on", "local", cwd=yard, code=18, timeout=120)
    assert shown(mine, "status")["counts"]["waiting"] == 4


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_driver_that_ends_is_followed_by_another(mine: Wherry, yard: Path, tmp_path: Path, how: signal.Signals) -> None:
    words = ["sweep", "run", "depth", "--list", "lr=1,depth=9", "--list", "lr=2,depth=9", "--list", "lr=3,depth=9", "--on", "local"]
    (yard / "wherry.toml").write_text(SWEEP.replace("grid = { lr = [0.5, 0.25], depth = [2, 8] }", ""))
    driver = mine.start(*words, cwd=yard, **QUIET)
    assert wait_until(lambda: "training" in mine.run("sweep", "logs", cwd=yard).stdout, 120)
    driver.send_signal(how)
    code = driver.wait()
    (tmp_path / "go").touch()
    assert code == (-9 if how is signal.SIGKILL else 130)
    state = f"{tmp_path}/jobs/sweeps/state"
    (name,) = [found["id"] for found in shown(mine, "ls")["sweeps"]]
    other = mine.with_env(WHERRY_JOBS=str(tmp_path / "elsewhere"))
    done = other.run("sweep", "resume", name, "--state", state, cwd=tmp_path, timeout=180)
    assert done.returncode == 0
    assert shown(mine, "status")["counts"]["succeeded"] == 3
    said(mine, "gc", name)
    assert not list(Path(state, "tags").rglob("*.*"))


def test_gc_ends_what_a_killed_driver_left(mine: Wherry, yard: Path, tmp_path: Path) -> None:
    (yard / "wherry.toml").write_text(SWEEP.replace("grid = { lr = [0.5, 0.25], depth = [2, 8] }", ""))
    driver = mine.start("sweep", "run", "depth", "--list", "lr=1,depth=9", "--on", "local", cwd=yard, **QUIET)
    assert wait_until(lambda: "training" in mine.run("sweep", "logs", cwd=yard).stdout, 120)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert said(mine, "gc") == ""  # it is needed still
    name = shown(mine, "ls")["sweeps"][0]["id"]
    told = said(mine, "gc", name, "--dry-run")
    assert "it was named" in told
    assert said(mine, "gc", name) == told
    assert said(mine, "gc", name) == ""
    assert shown(mine, "status")["counts"]["succeeded"] == 0
