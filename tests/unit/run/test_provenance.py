"""git's commit, and what differs from it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require_tool
from wherry.run.provenance import Provenance, read_provenance

ENV = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
NAMED = ("-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *NAMED, *words], cwd=folder, env=ENV, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    require_tool("git")
    folder = tmp_path / "repository" / "project"
    folder.mkdir(parents=True)
    (folder / "train.py").write_text("one\n")
    (folder / ".gitignore").write_text("data/\n")
    (folder.parent / "other").write_text("x\n")
    git(folder.parent, "init", "--quiet")
    git(folder.parent, "add", ".")
    git(folder.parent, "commit", "--quiet", "-m", "first")
    return folder


def test_no_repository(tmp_path: Path) -> None:
    assert read_provenance(tmp_path, {**ENV, "GIT_CEILING_DIRECTORIES": str(tmp_path)}) == Provenance()
    assert read_provenance(tmp_path, {"PATH": "/nowhere"}) == Provenance()


def test_a_clean_commit(root: Path) -> None:
    assert read_provenance(root, ENV) == Provenance(commit=git(root, "rev-parse", "HEAD"))
    (root / "data").mkdir()
    (root / "data/x").write_text("ignored")
    (root.parent / "other").write_text("outside of the project")
    assert read_provenance(root, ENV).dirty is None


def test_whatever_differs_is_in_the_digest(root: Path) -> None:
    seen = {read_provenance(root, ENV).dirty}

    def is_new() -> bool:
        dirty = read_provenance(root, ENV).dirty
        assert dirty == read_provenance(root, ENV).dirty
        new = dirty not in seen
        seen.add(dirty)
        return new

    (root / "train.py").write_text("two\n")
    assert is_new()
    (root / "new é.py").write_text("1")
    assert is_new()
    (root / "new é.py").write_text("2")
    assert is_new()
    (root / "link").symlink_to("a")
    assert is_new()
    git(root, "add", "train.py")
    assert not is_new()  # staged or not: the same files
    git(root, "commit", "--quiet", "-m", "second")
    assert is_new()


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    require_tool("git")
    git(tmp_path, "init", "--quiet")
    assert read_provenance(tmp_path, ENV) == Provenance()
    (tmp_path / "a").write_text("1")
    found = read_provenance(tmp_path, ENV)
    assert found.commit is None
    assert found.dirty is not None


def test_nothing_of_the_repository_runs(root: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    trap.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external", "core.pager"):
        git(root, "config", key, str(trap))
    (root / ".gitattributes").write_text("*.py diff=evil\n")
    git(root, "config", "diff.evil.textconv", str(trap))
    git(root, "config", "diff.evil.command", str(trap))
    (root / "train.py").write_text("three\n")
    assert read_provenance(root, ENV).dirty is not None
    assert not (tmp_path / "ran").exists()
