"""One object that behaves badly when it is told to: for whatever downloads."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator

from wherry.errors import StoreError, TransferError
from wherry.store.object_download import Patience, Traffic
from wherry.store.part_file import ObjectFacts

PIECE = 1000
DATA = random.Random(7).randbytes(100_500)
QUICK = Patience(first=0.001, longest=0.002, total=0.05)


class Shelf:
    """`data` in a `version`. `fail(request, offset, sent)` is asked before each piece, and raises what goes wrong."""

    def __init__(self, data: bytes = DATA, version: str | None = "v1", address: str = "az://shelf/data") -> None:
        self.address = address
        self.data = data
        self.version = version
        self.fail: Callable[[int, int, int], None] = lambda _request, _offset, _sent: None
        self.said: int | None = None
        self.requests = self.described = self.sent = self.most = 0
        self._open = 0
        self._guard = threading.Lock()

    def describe(self) -> ObjectFacts | None:
        self.described += 1
        return ObjectFacts(size=len(self.data) if self.said is None else self.said, version=self.version)

    def stream(self, offset: int, length: int, version: str | None) -> Iterator[bytes]:
        with self._guard:
            self.requests += 1
            request = self.requests
            self._open += 1
            self.most = max(self.most, self._open)
        try:
            if version != self.version:
                raise StoreError("it changed", where=self.address)
            for start in range(offset, min(offset + length, len(self.data)), PIECE):
                self.fail(request, offset, start - offset)
                piece = self.data[start : min(start + PIECE, offset + length)]
                with self._guard:
                    self.sent += len(piece)
                yield piece
        finally:
            with self._guard:
                self._open -= 1


def make_traffic(most: int = 4, stopped: Callable[[], bool] = lambda: False) -> Traffic:
    return Traffic(most, QUICK, stopped)


def cut(_request: int = 0, _offset: int = 0, _sent: int = 0) -> None:
    raise TransferError("cut")
