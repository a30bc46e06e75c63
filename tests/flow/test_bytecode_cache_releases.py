"""`bytecode = "cache"`: one volume holds the bytecode of every release, and none of them runs another's.

All time stamps in an image are equal, so Python itself cannot tell a changed module of equal size from the one that was
compiled before; the folder that the image names has to.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require_tool
from tests.flow.conftest import Seed, Wherry, write_project

pytestmark = [pytest.mark.network, pytest.mark.engine]

MAIN = "import pkg.answer, sys, tinyone\nprint(pkg.answer.VALUE, pkg.answer.__cached__, sys.flags.dont_write_bytecode)\n"


@pytest.fixture
def cached(wherry: Wherry, seed: Seed, tmp_path: Path) -> Path:
    require_tool("bwrap")
    files = {"main.py": MAIN, "pkg/__init__.py": "", "pkg/answer.py": "VALUE = 111\n", "wherry.toml": 'bytecode = "cache"\n'}
    return write_project(tmp_path / "cached", files)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    folder = tmp_path / "volume"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    return folder


def release(wherry: Wherry, project: Path, value: int, tag: str) -> dict[str, Any]:
    path = project / "pkg/answer.py"
    assert path.stat().st_size == len(f"VALUE = {value}\n")
    path.write_text(f"VALUE = {value}\n")
    return wherry.build(project, "-t", f"cached:{tag}")


def answer(wherry: Wherry, project: Path, volume: Path, tag: str, *, mode: str = "rw") -> tuple[str, Path]:
    """What the release prints, and the file its bytecode lies in."""
    mount = ("-v", f"{volume}:/var/cache/python:{mode}")
    printed = wherry.ok("run", "--on", "bubblewrap", *mount, "--image", f"cached:{tag}", cwd=project)
    value, cached, dont = printed.split()
    assert dont == "0"
    assert cached.startswith("/var/cache/python/")
    return value, volume / Path(cached).relative_to("/var/cache/python")


def test_the_changed_release_runs_changed_code_and_the_former_its_own(wherry: Wherry, cached: Path, volume: Path) -> None:
    wherry.ok("lock", cwd=cached)
    release(wherry, cached, 111, "1")
    release(wherry, cached, 222, "2")
    first, first_file = answer(wherry, cached, volume, "1")
    assert (first, first_file.is_file()) == ("111", True)  # written, or this test would prove nothing
    second, second_file = answer(wherry, cached, volume, "2")
    assert (second, second_file.is_file()) == ("222", True)
    assert first_file != second_file
    assert answer(wherry, cached, volume, "1")[0] == "111"
    assert answer(wherry, cached, volume, "2", mode="ro")[0] == "222"
    assert answer(wherry, cached, volume, "1", mode="ro")[0] == "111"


def test_the_danger_is_real(wherry: Wherry, cached: Path, volume: Path) -> None:
    """With one folder for both releases, Python runs the first one's code: what the test above guards against."""
    wherry.ok("lock", cwd=cached)
    release(wherry, cached, 111, "1")
    release(wherry, cached, 222, "2")
    mount = ("-v", f"{volume}:/var/cache/python", "-e", "PYTHONPYCACHEPREFIX=/var/cache/python/one")
    values = [
        wherry.ok("run", "--on", "bubblewrap", *mount, "--image", f"cached:{tag}", cwd=cached).split()[0] for tag in ("1", "2")
    ]
    assert values == ["111", "111"]


def test_a_retrained_model_keeps_the_cache(wherry: Wherry, cached: Path, volume: Path) -> None:
    """Models hold no Python: their change must not make a device compile everything again."""
    (cached / "model.pkl").write_bytes(b"1" * 50)
    wherry.ok("lock", cwd=cached)
    first = release(wherry, cached, 111, "1")
    (cached / "model.pkl").write_bytes(b"2" * 50)
    second = release(wherry, cached, 111, "2")
    assert first["index"] != second["index"]
    _, first_file = answer(wherry, cached, volume, "1")
    _, second_file = answer(wherry, cached, volume, "2")
    assert first_file == second_file


def test_no_bytecode_is_in_such_an_image(wherry: Wherry, cached: Path) -> None:
    wherry.ok("lock", cwd=cached)
    result = release(wherry, cached, 111, "1")
    assert not [layer for layer in result["images"][0]["layers"] if "bytecode" in layer["cause"]]
    told = wherry.ok("image", "inspect", "cached:1", "--json", cwd=cached)
    assert "bytecode" not in json.dumps([layer["name"] for layer in json.loads(told)["images"][0]["layers"]])
