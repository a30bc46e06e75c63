"""`wherry check --twins`: an environment and an image of one lock, equal, and then one that somebody has touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.flow.conftest import Wherry


def twins_of(wherry: Wherry, project: Path, code: int = 0) -> dict[str, Any]:
    done = wherry.run("check", "--twins", "--json", cwd=project)
    assert done.returncode == code, done.stderr
    told = dict(json.loads(done.stdout))
    assert told["equal"] is (code == 0)
    return told


def test_equal_and_touched(wherry: Wherry, project: Path) -> None:
    none = twins_of(wherry, project)
    assert [place["name"] for place in none["absent"]] == ["local", "container", "kernel (local)", "kernel (container)"]
    wherry.build(project)
    place = Path(wherry.ok("env", "create", cwd=project).strip())
    told = twins_of(wherry, project)
    assert [(twin["name"], twin["equal"], twin["digest"]) for twin in told["twins"]] == [
        ("local", True, told["lock"]["digest"]),
        ("container", True, told["lock"]["digest"]),
    ]
    assert [(one["name"], one["version"]) for one in told["lock"]["packages"]] == [("tinyone", "1.0")]
    assert {twin["files"] for twin in told["twins"]} == {told["lock"]["files"]} != {0}
    assert all(twin["python"].startswith("3.11.") for twin in told["twins"])

    module = next(place.glob("lib/python3*/site-packages/tinyone/__init__.py"))
    module.unlink()
    module.write_text("VERSION = '1.0'  # mine\n")
    (local, container) = twins_of(wherry, project, code=20)["twins"]
    assert container["equal"]
    assert local["digest"] != container["digest"]
    assert local["differences"] == [f"tinyone 1.0: 1 file altered: {module.relative_to(place)}"]
    table = wherry.run("check", "--twins", cwd=project).stdout.splitlines()
    assert table[0].split()[:5] == ["TWIN", "PYTHON", "PACKAGES", "FILES", "DIGEST"]
    assert table[-1] == f"local: tinyone 1.0: 1 file altered: {module.relative_to(place)}"


def test_only_a_project_has_twins(wherry: Wherry, project: Path) -> None:
    assert "only a project" in wherry.refused("check", "main.py", "--twins", cwd=project, code=2)
    assert "compares with the lock alone" in wherry.refused("check", "--twins", "--files", cwd=project, code=2)
    (project / "wherry.lock").unlink()
    assert "there is no lock" in wherry.refused("check", "--twins", cwd=project, code=11)
