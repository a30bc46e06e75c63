"""A blob coming from a registry, as a file: goes on with a Range request where a connection broke, and verifies the whole.

Rules: bytes are counted as they are handed out, so a resumed stream has no gap and no overlap; when the registry
ignores the range, what is already there is skipped. The digest is checked at the end, the size all along: other bytes
are a `TrustError` and nothing is asked for again. A connection that breaks without progress is given up after the usual
number of attempts.
"""

from __future__ import annotations

import hashlib
import io
import re
from typing import Any, Protocol

from wherry.errors import TransferError, TrustError
from wherry.formats.urls import place
from wherry.model.digest import Digest
from wherry.store.http import FAILURES, Response
from wherry.store.registry_http import Interrupted, explain_http_error
from wherry.store.registry_session import Call, RegistrySession

_CHUNK = 1 << 17
_PROGRESS = 1 << 16  # bytes after which a broken connection counts as the first one again
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class _Hasher(Protocol):
    def update(self, data: Any, /) -> None: ...
    def hexdigest(self) -> str: ...


class BlobReader(io.RawIOBase):
    """Reads a blob of `size` bytes (None: as the registry says) from `offset`. `hasher` has seen what lies before."""

    def __init__(
        self,
        session: RegistrySession,
        call: Call,
        digest: Digest,
        *,
        size: int | None = None,
        offset: int = 0,
        hasher: _Hasher | None = None,
    ) -> None:
        super().__init__()
        self._session = session
        self._call = call
        self._digest = digest
        self._size = size
        self._offset = offset
        self._hasher = hasher or hashlib.sha256()
        self._response: Response | None = None
        self._url = call.url
        self._failures = 0
        self._mark = offset
        self._done = False

    def connect(self) -> None:
        """Make the first request now, so that a missing blob is an error of `open`, not of the first `read`."""
        if self._size is None or self._offset < self._size:
            self._connect()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if self._done:
            return 0
        view = memoryview(buffer).cast("B")
        while True:
            self._session.check_stop()
            data = self._read_some(min(len(view), _CHUNK))
            if data is None:
                continue
            if not data:
                self._finish()
                return 0
            view[: len(data)] = data
            self._take(data)
            return len(data)

    def close(self) -> None:
        self._drop()
        super().close()

    def _read_some(self, amount: int) -> bytes | None:
        """Some bytes; none at the end; None when the connection broke and another attempt is due."""
        if self._size is not None and self._offset == self._size and self._response is None:
            return b""
        try:
            if self._response is None:
                self._connect()
            assert self._response is not None  # noqa: S101 - for the type checker
            data = self._response.read(amount)
        except FAILURES as error:
            self._broken(explain_http_error(error, self._url))
            return None
        if not data and self._size is not None and self._offset < self._size:
            self._broken(Interrupted(f"the connection ended after {self._offset} of {self._size} bytes", where=place(self._url)))
            return None
        return data

    def _connect(self) -> None:
        headers = dict(self._call.headers)
        if self._offset:
            headers["Range"] = f"bytes={self._offset}-"
        call = Call(method="GET", url=self._call.url, scopes=self._call.scopes, headers=headers)
        exchange = self._session.exchange(call, (200, 206))
        self._response, self._url = exchange.response, exchange.url
        start, total = _extent(exchange.response)
        if self._size is None:
            self._size = total
        if total is not None and total != self._size:
            self._refuse(f"the registry has {total} bytes, not {self._size}")
        if start > self._offset:
            self._drop()
            raise TransferError(f"asked for byte {self._offset}, got {start}", where=place(self._url))
        self._skip(self._offset - start)

    def _skip(self, count: int) -> None:
        while count:
            assert self._response is not None  # noqa: S101 - for the type checker
            data = self._response.read(min(count, _CHUNK))
            if not data:
                raise OSError("ended within what was there before")
            count -= len(data)

    def _broken(self, error: TransferError | TrustError) -> None:
        self._drop()
        if not isinstance(error, Interrupted):
            raise error
        if self._offset - self._mark >= _PROGRESS:
            self._failures, self._mark = 0, self._offset
        self._failures += 1
        patience = self._session.transport.patience
        if self._failures >= patience.attempts:
            raise error
        self._session.pause(min(patience.first_wait * 2 ** (self._failures - 1), patience.longest_wait))

    def _take(self, data: bytes) -> None:
        self._offset += len(data)
        self._hasher.update(data)
        if self._size is not None and self._offset > self._size:
            self._refuse(f"the registry sends more than {self._size} bytes")

    def _finish(self) -> None:
        if self._response is not None:
            self._response.release_conn()
            self._response = None
        self._done = True
        if self._hasher.hexdigest() != self._digest.hex:
            self._refuse(f"the registry sent other bytes: sha256:{self._hasher.hexdigest()}")

    def _refuse(self, what: str) -> None:
        self._drop()
        raise TrustError(f"blob {self._digest}: {what}", where=place(self._call.url), hint="ask whoever runs the registry")

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


def _extent(response: Response) -> tuple[int, int | None]:
    """Where an answer starts in the blob, and how long the blob is if that is said."""
    if response.status == 206:
        match = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if match:
            return int(match[1]), None if match[3] == "*" else int(match[3])
        return 0, None
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None
