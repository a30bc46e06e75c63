"""What a process does not load: a rebuild as a whole may take a tenth of a second, and each of these costs a good part of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.simulators.recipes import make_layer, make_recipe
from tests.unit.check.trees import system
from tests.unit.cli.test_check import store_image
from wherry.model.declaration import CodeSelection
from wherry.model.lock import LayerKind
from wherry.rebuild import ProjectFiles, finish_build
from wherry.store.disk import DiskStore
from wherry.store.places import cache_path, store_path

HEAVY = (
    "asyncio",
    "backports.zstd",
    "compression.zstd",
    "concurrent.futures",
    "cryptography",
    "email",
    "http",
    "installer",
    "msgspec",
    "packaging",
    "pysequoia",
    "rich",
    "securesystemslib",
    "ssl",
    "tempfile",
    "tuf",
    "typer",
    "urllib3",
    "uv",
    "zipfile",
)

# Prints the modules that are loaded when a command has ended, on stderr, whatever the command did.
_SPY = """
import json, sys
sys.argv = ["wherry", *sys.argv[1:]]
from wherry.cli.front import main
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def loaded_by(*words: str, cwd: Path, store: Path, cache: Path) -> tuple[str, set[str]]:
    """stdout, and the modules of a whole process."""
    env = {"WHERRY_STORE": str(store), "WHERRY_CACHE": str(cache), "PATH": "/usr/bin:/bin", "HOME": str(cwd)}
    done = subprocess.run([sys.executable, "-c", _SPY, *words], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, set(json.loads(done.stderr.splitlines()[-1]))


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A project after a build without options: its state is kept, its base layer is in the store."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "main.py").write_text("print('one')\n")
    store = DiskStore(tmp_path / "store")
    layer = make_layer("base", LayerKind.BASE, ("libc6 2.41",), digest=store.put_bytes(b"base"), size=4)
    files = ProjectFiles(root=project, code=CodeSelection(include=("**",), exclude=()), models=(), watched=("wherry.toml",))
    later = time.time_ns() + 10**10  # so that no stamp counts as too young to be believed
    recipe = make_recipe(("linux/amd64", (layer,)))
    finish_build(files, recipe, "anomaly:latest", store, tmp_path / "cache", {}, since=later, usual=True)
    return project


@pytest.mark.parametrize("edit", [False, True])
def test_a_rebuild_loads_nothing_heavy(built: Path, tmp_path: Path, edit: bool) -> None:
    if edit:
        (built / "main.py").write_text("print('two')\n")
    out, loaded = loaded_by("build", "--json", cwd=built, store=tmp_path / "store", cache=tmp_path / "cache")
    images = json.loads(out)["images"]
    assert [layer["cause"] for layer in images[0]["layers"]][-1] == "code"
    assert "wherry.cli.app" not in loaded, "the rebuild went the long way"
    assert sorted(loaded & set(HEAVY)) == []


def test_help_loads_no_part_of_the_library(tmp_path: Path) -> None:
    _, loaded = loaded_by("--help", cwd=tmp_path, store=tmp_path / "store", cache=tmp_path / "cache")
    assert sorted(loaded & {"urllib3", "uv", "msgspec", "installer", "pysequoia", "wherry.pipeline", "wherry.store.disk"}) == []


def test_a_check_of_a_known_image_loads_no_command_line(tmp_path: Path) -> None:
    """Nor an HTTP client, nor what reads requirements: these take longer than the check."""
    project = tmp_path / "tiny"
    project.mkdir()
    (project / "wherry.toml").write_text('name = "tiny"\n')
    (project / "requirements.txt").write_text("six\n")
    store_image(system())
    places = {"store": store_path(os.environ), "cache": cache_path(os.environ)}
    for words in (("check",), ("check", "--json"), ("check", "tiny", "--json")):
        _, loaded = loaded_by(*words, cwd=project, **places)
        heavy = {"typer", "rich", "urllib3", "uv", "asyncio", "pydantic", "cryptography", "tuf", "wherry.declare.environment"}
        assert sorted(loaded & heavy) == []
