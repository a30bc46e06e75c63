"""What is remembered counts until a file that it came from changes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from wherry.run import readiness
from wherry.run.readiness import recall, remember


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "a").write_text("one")
    return folder


def later() -> int:
    """A time at which no file of the test counts as young."""
    return time.time_ns() + 10**10


def test_it_counts_until_a_file_changes(root: Path, tmp_path: Path) -> None:
    assert recall(tmp_path, root, "lock") is None
    remember(tmp_path, root, "lock", ("a", "absent"), {"digest": "x"}, later())
    assert recall(tmp_path, root, "lock") == {"digest": "x"}
    assert recall(tmp_path, root, "environment") is None
    (root / "a").write_text("two")
    assert recall(tmp_path, root, "lock") is None


def test_a_file_that_appears_is_a_change(root: Path, tmp_path: Path) -> None:
    remember(tmp_path, root, "lock", ("a", "absent"), 1, later())
    (root / "absent").touch()
    assert recall(tmp_path, root, "lock") is None


def test_a_replaced_file_of_the_same_size_and_time_is_a_change(root: Path, tmp_path: Path) -> None:
    remember(tmp_path, root, "lock", ("a",), 1, later())
    state = (root / "a").stat()
    (root / "b").write_text("two")
    os.utime(root / "b", ns=(state.st_atime_ns, state.st_mtime_ns))
    (root / "b").replace(root / "a")
    assert recall(tmp_path, root, "lock") is None


def test_young_files_are_not_believed(root: Path, tmp_path: Path) -> None:
    remember(tmp_path, root, "lock", ("a",), 1, time.time_ns() - 10**9)
    assert recall(tmp_path, root, "lock") is None


def test_damage_and_other_versions_are_passed_over(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(tmp_path, root, "lock", ("a",), 1, later())
    (place,) = (tmp_path / "ready").iterdir()
    kept = place.read_bytes()
    for damaged in (b"", b"[]", kept[:-5], b'{"wherry": 1}'):
        place.write_bytes(damaged)
        assert recall(tmp_path, root, "lock") is None
    place.write_bytes(kept)
    monkeypatch.setattr(readiness, "VERSION", "another")
    assert recall(tmp_path, root, "lock") is None
