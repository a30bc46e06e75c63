"""Object stores of this machine: a folder, and memory."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.unit.store.objects_contract import ObjectStoreContract
from wherry.errors import StoreError, UsageError
from wherry.store.objects import ObjectStore
from wherry.store.objects_folder import FolderObjects
from wherry.store.objects_memory import MemoryObjects
from wherry.store.objects_open import open_objects


class TestMemory(ObjectStoreContract):
    @pytest.fixture
    def store(self) -> ObjectStore:
        return MemoryObjects()


class TestFolder(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return FolderObjects(tmp_path / "objects")

    def test_its_address_opens_it_again(self, store: ObjectStore) -> None:
        store.put("a", b"x")
        held = open_objects(store.url, {}).get("a")
        assert held is not None
        assert held.data == b"x"

    def test_a_writer_that_is_killed_leaves_nothing_that_is_seen(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = FolderObjects(tmp_path)
        for call in ("fsync", "link"):
            child = os.fork()
            if child == 0:
                monkeypatch.setattr(os, call, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
                store.put_if_absent("d/x", b"half")
                os._exit(0)
            assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
            assert store.get("d/x") is None
            assert [*store.list("")] == []
        assert store.put_if_absent("d/x", b"whole")

    def test_a_disk_that_is_full_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(StoreError, match="full"):
            FolderObjects(tmp_path).put_if_absent("d/x", b"x")


def test_an_address_of_nothing() -> None:
    with pytest.raises(UsageError, match="ftp"):
        open_objects("ftp://host/x", {})


def test_an_address_whose_account_nobody_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(UsageError, match="Account") as caught:
        open_objects("az://sweeps", {})
    assert "AZURE_STORAGE_ACCOUNT_NAME" in str(caught.value.hint)
