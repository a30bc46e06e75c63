"""An image that carries its sources: pushed with all that it was made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flow.conftest import Seed, Wherry, locked_project
from tests.simulators.registry import RegistrySimulator

pytestmark = pytest.mark.network


@pytest.fixture
def registry() -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        yield simulator


def push(wherry: Wherry, project: Path, reference: str, *words: str) -> dict[str, Any]:
    return dict(json.loads(wherry.ok("push", reference, "--sources", "--json", *words, cwd=project)))


def test_a_push_attaches_what_the_lock_names(wherry: Wherry, project: Path, registry: RegistrySimulator) -> None:
    wherry.build(project)
    told = push(wherry, project, f"{registry.host}/team/tiny:1")
    names = {blob["name"] for blob in told["sources"]["blobs"]}
    assert {"recipe", "wherry.lock", "tinyone-1.0-py3-none-any.whl"} < names
    assert any(name.startswith("libc6_") for name in names)
    assert {blob["way"] for blob in told["sources"]["blobs"]} == {"sent"}
    kept = registry.repository("team/tiny")
    (artifact,) = told["sources"]["artifacts"]
    manifest = json.loads(kept.manifests[artifact][0])
    assert manifest["subject"]["digest"] in kept.manifests
    document = kept.blobs[manifest["config"]["digest"]]
    assert str(project).encode() not in document
    assert b"127.0.0.1" not in document
    again = push(wherry, project, f"{registry.host}/team/tiny:2")
    assert {blob["way"] for blob in again["sources"]["blobs"]} == {"there"}
    assert again["sources"]["artifacts"] == told["sources"]["artifacts"]


def test_only_of_what_was_built_here(
    wherry: Wherry, seed: Seed, project: Path, tmp_path: Path, registry: RegistrySimulator
) -> None:
    wherry.build(project, "-t", "kept:1")
    (project / "main.py").write_text("print('another')\n")
    wherry.build(project)
    said = wherry.refused("push", f"{registry.host}/team/tiny:1", "--sources", "--image", "kept:1", cwd=project, code=13)
    assert "is not what this project's last build made" in said
    never = locked_project(seed, tmp_path / "never")
    assert "nobody built" in wherry.refused(
        "push", f"{registry.host}/team/tiny:1", "--sources", "--image", "kept:1", cwd=never, code=13
    )
    assert registry.repository("team/tiny").tags == {}
