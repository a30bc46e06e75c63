from __future__ import annotations

from pathlib import Path

from tests.unit.store.contract import BlobStoreContract
from wherry.store.memory import MemoryStore
from wherry.store.port import BlobStore


class TestMemoryStore(BlobStoreContract):
    def new_store(self, place: Path) -> BlobStore:
        return MemoryStore()
