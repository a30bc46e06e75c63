"""Objects in memory: for tests, benches, and a sweep that nobody else looks at."""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

from wherry.errors import StoreError
from wherry.store.objects import PAGE, Held, Listed, check_key


class MemoryObjects:
    """An `ObjectStore` that forgets everything with the process."""

    url = "memory://"

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> Held | None:
        data = self._objects.get(check_key(key))
        return None if data is None else Held(data, version_of(data))

    def size(self, key: str) -> int | None:
        data = self._objects.get(check_key(key))
        return None if data is None else len(data)

    def read(self, key: str, offset: int, length: int) -> bytes:
        data = self._objects.get(check_key(key))
        if data is None:
            raise StoreError("there is no such object", where=key)
        return data[offset : offset + length]

    def put(self, key: str, source: bytes | Path) -> None:
        data = source if isinstance(source, bytes) else source.read_bytes()
        with self._lock:
            self._objects[check_key(key)] = data

    def put_if_absent(self, key: str, data: bytes) -> bool:
        with self._lock:
            if check_key(key) in self._objects:
                return False
            self._objects[key] = data
            return True

    def put_if_match(self, key: str, data: bytes, version: str) -> bool:
        with self._lock:
            former = self._objects.get(check_key(key))
            if former is None or version_of(former) != version:
                return False
            self._objects[key] = data
            return True

    def list(self, prefix: str) -> Iterator[tuple[Listed, ...]]:
        with self._lock:
            keys = sorted(self._objects)
        first, last = bisect_left(keys, prefix), bisect_left(keys, prefix + "\U0010ffff")
        for start in range(first, last, PAGE):
            page = keys[start : min(start + PAGE, last)]
            yield tuple(Listed(key, len(self._objects.get(key, b""))) for key in page)

    def folders(self, prefix: str) -> tuple[str, ...]:
        with self._lock:
            below = [key[len(prefix) :] for key in self._objects if key.startswith(prefix)]
        return tuple(sorted({key.partition("/")[0] for key in below if "/" in key}))

    def delete(self, key: str) -> None:
        with self._lock:
            self._objects.pop(check_key(key), None)


def version_of(data: bytes) -> str:
    """A version that stands for the bytes."""
    return hashlib.sha256(data).hexdigest()
