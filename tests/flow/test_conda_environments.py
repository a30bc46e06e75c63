"""A lock of conda's, two twins: the image's prefix and one on this machine hold the same files but for what names the prefix."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tools.conda_channel.channel import Channel
from tools.conda_channel.samples import write_samples

from tests.flow.conftest import PROGRAM, Seed, Wherry, copy_store, write_project
from tests.flow.test_local_environments import image_files
from wherry.formats.lockfile import parse_lock
from wherry.store.host import read_host_platform

pytest.importorskip("rattler")
pytestmark = pytest.mark.network

FILE = """\
name: harbour
channels: [{channel}]
variables:
  TIDE: high
dependencies:
  - python=3.11
  - hello=1.0
  - harbour >=3
  - compass
  - almanac
  - talker
  - clobber-b
  - pip:
      - tinyone==1.0
"""
MAIN = """\
import importlib.metadata, json, os, platform, subprocess, sys
import hello, harbour, sqlite3, ssl, tinyone, zlib
names = ("hello", "answer", "harbour", "tinyone")
print(json.dumps({
    "executable": sys.executable, "prefix": sys.prefix, "conda": os.environ.get("CONDA_PREFIX"), "tide": os.environ.get("TIDE"),
    "python": platform.python_version(), "versions": {name: importlib.metadata.version(name) for name in names},
    "usersite": bool(__import__("site").ENABLE_USER_SITE),
    "said": subprocess.run(["hello"], capture_output=True, text=True, check=True).stdout,
}))
"""


@pytest.fixture(scope="module")
def made(
    seed: Seed, conda_records: Callable[[str], list[Path]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Wherry, Path, Path]:
    """An image and an environment of one lock."""
    folder = tmp_path_factory.mktemp("conda-twins")
    channel: Channel = write_samples(folder / "channel", python=False)
    for archive in conda_records(read_host_platform().subdir):
        channel.add_archive(archive)
    channel.write_index()
    copy_store(seed.wherry.store, folder / "store")
    wherry = replace(seed.wherry, store=folder / "store").with_env(XDG_DATA_HOME=str(folder / "data"))
    files = {
        "main.py": MAIN,
        "environment.yml": FILE.format(channel=channel.folder.as_uri()),
        "wherry.toml": 'name = "harbour"\nbytecode = "none"\n',
    }
    project = write_project(folder / "harbour", files)
    (project / "requirements.txt").unlink()
    wherry.ok("build", cwd=project)
    done = wherry.run("env", "create", "--frozen", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "talker" in done.stderr  # its link script is named, and not run
    return wherry, project, Path(done.stdout.strip())


def test_it_runs_what_is_locked(made: tuple[Wherry, Path, Path]) -> None:
    wherry, project, prefix = made
    env = {**wherry.environment(), "PYTHONDONTWRITEBYTECODE": "1"}
    script = f'eval "$({PROGRAM} env hook)"; python main.py'
    done = subprocess.run(["/bin/bash", "-c", script], cwd=project, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    locked = parse_lock((project / "wherry.lock").read_text()).for_platform(read_host_platform())
    versions = {package.name: package.version for package in (*locked.records, *locked.wheels)}
    answer = json.loads(done.stdout)
    assert answer == {
        "executable": f"{prefix}/bin/python",
        "prefix": str(prefix),
        "conda": str(prefix),
        "tide": "high",
        "python": locked.interpreter.version,
        "versions": {name: versions[name] for name in answer["versions"]},
        "usersite": False,
        "said": "hello 1.0 2\n",
    }


def test_every_file_is_the_same_but_where_the_prefix_stands(made: tuple[Wherry, Path, Path]) -> None:
    wherry, _project, prefix = made
    image = image_files(wherry.store, "harbour:latest", "opt/conda/")
    here = {
        path.relative_to(prefix).as_posix(): hashlib.sha256(b"" if path.is_symlink() else path.read_bytes()).hexdigest()
        for path in prefix.rglob("*")
        if (path.is_file() or path.is_symlink()) and "__pycache__" not in path.parts
    }
    for own in ("wherry.json", "bin/activate", "bin/activate.fish"):
        del here[own]
    assert here.keys() == image.keys()
    different = {path for path in image if image[path] != here[path]}
    for path in different:
        text = (prefix / path).read_bytes()
        assert str(prefix).encode() in text or path.startswith("conda-meta/") or path.endswith("RECORD"), path
        assert b"/opt/conda" not in text, path
    assert len(image) - len(different) > 600 > 60 * len(different)


def test_the_files_are_shared_with_the_next_one(made: tuple[Wherry, Path, Path]) -> None:
    wherry, project, prefix = made
    other = Path(wherry.ok("env", "create", "other", "--frozen", cwd=project).strip())
    library = "lib/python3.11/json/__init__.py"
    assert (prefix / library).samefile(other / library)
    assert not (prefix / "bin/hello").samefile(other / "bin/hello")
    assert (other / "bin/hello").read_text().startswith(f"#!{other}/bin/python")
    listed = json.loads(wherry.ok("env", "list", "--json", cwd=project))["environments"]
    assert [(one["name"], one["state"], one["conda"]) for one in listed] == [("harbour", "ok", True), ("other", "ok", True)]
    assert "leave it away" in wherry.refused("env", "create", "--python", "python3", "--frozen", cwd=project, code=2)
    wherry.ok("env", "remove", "other", cwd=project)


def test_an_environment_becomes_a_project_with_the_same_lock(made: tuple[Wherry, Path, Path], tmp_path: Path) -> None:
    wherry, project, prefix = made
    (tmp_path / "condarc").write_text(f"channel_alias: {(project.parent).as_uri()}\n")
    again = tmp_path / "again"
    again.mkdir()
    (again / "main.py").write_text(MAIN)
    there = wherry.with_env(CONDARC=str(tmp_path / "condarc"))
    said = there.run("init", "--from-env", prefix, cwd=again)
    assert said.returncode == 0, said.stderr
    assert "0 changed, 0 impossible" in said.stderr
    there.ok("lock", cwd=again)
    former, new = (
        parse_lock((folder / "wherry.lock").read_text()).for_platform(read_host_platform()) for folder in (project, again)
    )
    assert {record.file: record.sha256 for record in new.records} == {record.file: record.sha256 for record in former.records}
    assert {wheel.file: wheel.sha256 for wheel in new.wheels} == {wheel.file: wheel.sha256 for wheel in former.wheels}


def test_check_finds_them_equal(made: tuple[Wherry, Path, Path]) -> None:
    wherry, project, prefix = made
    told = json.loads(wherry.ok("check", "--twins", "--json", cwd=project))
    assert told["equal"]
    assert [(twin["name"], twin["digest"]) for twin in told["twins"]] == [
        ("local", told["lock"]["digest"]),
        ("container", told["lock"]["digest"]),
    ]
    assert told["twins"][0]["place"] == str(prefix)
    assert {twin["python"] for twin in told["twins"]} == {told["lock"]["python"]}
