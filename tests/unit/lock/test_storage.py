"""The lock's file: written whole, and only when it says something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.errors import StoreError
from wherry.lock.storage import LOCKFILE, read_lock, write_lock
from wherry.model.digest import Digest
from wherry.model.lock import Lock

LOCK = Lock(declaration=Digest.of(b""), platforms=())


def test_it_is_written_once(tmp_path: Path) -> None:
    assert read_lock(tmp_path) is None
    assert write_lock(tmp_path, LOCK)
    assert not write_lock(tmp_path, LOCK)
    assert read_lock(tmp_path) == LOCK
    assert [path.name for path in tmp_path.iterdir()] == [LOCKFILE]


def test_a_project_that_cannot_be_written_is_named_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the file beside it, nor the store."""

    def fail(path: Path, *_: object) -> None:
        raise OSError(30, "Read-only file system", str(path.with_name(".1-2.part")))

    monkeypatch.setattr("wherry.lock.storage.write_atomically", fail)
    with pytest.raises(StoreError, match="Read-only") as caught:
        write_lock(tmp_path, LOCK)
    assert caught.value.where == str(tmp_path / LOCKFILE)
    assert "--frozen" in (caught.value.hint or "")
