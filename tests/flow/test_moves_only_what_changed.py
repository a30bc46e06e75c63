"""A change moves the layers it has to move, and `wherry diff` says which and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.flow.conftest import BOTH, Seed, Wherry, layers_of, locked_project, tree_of, write_project

pytestmark = pytest.mark.network


def moved(before: dict[str, Any], after: dict[str, Any], platform: str = "linux/amd64") -> list[str]:
    """Causes of the layers that the target has and the base has not."""
    known = {layer["diff_id"] for layer in layers_of(before, platform)}
    return [layer["cause"] for layer in layers_of(after, platform) if layer["diff_id"] not in known]


def pin(wherry: Wherry, project: Path, *words: str) -> str:
    """The built image under a name that the next build does not take away."""
    wherry.build(project, *words, "-t", "before:1")
    return "before:1"


def difference(wherry: Wherry, project: Path, base: str, target: str) -> dict[str, dict[str, Any]]:
    """What ``wherry diff --json`` says, by platform."""
    told = json.loads(wherry.ok("diff", base, target, "--json", cwd=project))
    assert told["schema"] == 1
    return {platform["platform"]: platform for platform in told["platforms"]}


def bytes_by_cause(told: Mapping[str, Any]) -> dict[str, int]:
    return {cause["cause"]: cause["size"] for cause in told["causes"]}


@pytest.fixture
def modelled(seed: Seed, tmp_path: Path) -> Path:
    return locked_project(seed, tmp_path / "modelled", {"models/model.pkl": b"first" * 1200, "helper.py": "X = 1\n"})


def test_a_retrained_model_is_one_layer_and_diff_gives_its_bytes(wherry: Wherry, modelled: Path) -> None:
    before = wherry.build(modelled, *BOTH)
    base = pin(wherry, modelled, *BOTH)
    (modelled / "models/model.pkl").write_bytes(b"other" * 1200)
    after = wherry.build(modelled, *BOTH)
    told = difference(wherry, modelled, base, "modelled:latest")
    for platform in ("linux/amd64", "linux/arm64"):
        assert moved(before, after, platform) == ["models/model.pkl"]
        assert len(layers_of(before, platform)) == len(layers_of(after, platform))
        (layer,) = [layer for layer in layers_of(after, platform) if layer["cause"] == "models/model.pkl"]
        assert bytes_by_cause(told[platform]) == {"models/model.pkl": layer["size"]}
        assert told[platform]["pull"]["layers"] == layer["size"] < 6000
        assert told[platform]["kept"]["size"] == sum(one["size"] for one in layers_of(after, platform)) - layer["size"]


def test_a_line_of_code_is_the_code_layer_alone(wherry: Wherry, modelled: Path) -> None:
    before = wherry.build(modelled)
    base = pin(wherry, modelled)
    (modelled / "helper.py").write_text("X = 2\n")
    after = wherry.build(modelled)
    assert moved(before, after) == ["code"]
    told = difference(wherry, modelled, base, "modelled:latest")["linux/amd64"]
    (layer,) = [layer for layer in layers_of(after) if layer["cause"] == "code"]
    assert bytes_by_cause(told) == {"code": layer["size"]}


def test_one_package_bumped_is_the_layer_it_lies_in(wherry: Wherry, tmp_path: Path) -> None:
    files = {"requirements.txt": "tinyone==1.0\ntinytwo==1.0\n", ".dockerignore": "requirements.txt\n"}
    project = write_project(tmp_path / "bumped", files)
    before = wherry.build(project)
    base = pin(wherry, project)
    (project / "requirements.txt").write_text("tinyone==1.1\ntinytwo==1.0\n")
    wherry.ok("lock", cwd=project)
    after = wherry.build(project)
    assert moved(before, after) == ["wheels", "bytecode-wheels"]
    told = difference(wherry, project, base, "bumped:latest")["linux/amd64"]
    assert told["causes"]
    for cause in told["causes"]:  # the wheel and its bytecode
        assert cause["changes"] == [{"name": "tinyone", "base": "1.0", "target": "1.1"}]
    new = [layer["size"] for layer in layers_of(after) if layer["cause"] in moved(before, after)]
    assert sum(bytes_by_cause(told).values()) == sum(new)


def test_an_unchanged_build_changes_nothing(wherry: Wherry, modelled: Path) -> None:
    first = wherry.build(modelled)
    wherry.build(modelled)  # the first one completed the lock
    before, stamps = tree_of(wherry.store, modelled), times_of(wherry.store / "index.json", modelled / "wherry.lock")
    for words in ((), ("--verify",), ("--locked",), ("--frozen",), ("--offline",)):
        assert wherry.build(modelled, *words) == first
        assert tree_of(wherry.store, modelled) == before
        assert times_of(wherry.store / "index.json", modelled / "wherry.lock") == stamps
    told = difference(wherry, modelled, "modelled:latest", "modelled:latest")["linux/amd64"]
    assert (told["causes"], told["layers"], told["pull"]["layers"]) == ([], [], 0)


def times_of(*files: Path) -> list[int]:
    return [file.stat().st_mtime_ns for file in files]


def test_going_back_gives_the_former_image(wherry: Wherry, modelled: Path) -> None:
    first = wherry.build(modelled)
    former = (modelled / "helper.py").read_bytes()
    (modelled / "helper.py").write_text("X = 3\n")
    assert wherry.build(modelled)["index"] != first["index"]
    (modelled / "helper.py").write_bytes(former)
    assert wherry.build(modelled) == first
