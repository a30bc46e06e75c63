"""A blob that is no longer what its digest says is found by reading it, and only then."""

from __future__ import annotations

from pathlib import Path

from wherry.store.disk import DiskStore


def test_a_sound_blob_stays_and_a_damaged_one_goes(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    sound, damaged = store.put_bytes(b"sound"), store.put_bytes(b"damaged")
    store.path(damaged).write_bytes(b"dAmaged")
    assert not store.drop_if_damaged(sound)
    assert store.has(sound)
    assert store.drop_if_damaged(damaged)
    assert not store.has(damaged)
