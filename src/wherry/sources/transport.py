"""Gets pages and files over http, https and file: bounded, retried with back-off, resumed where a server cuts.

Every received byte counts as a stranger's: `download` gives a file only when its sha256 and size are those expected.
Wrong bytes are a `TrustError` and never asked for again; a cut, a stall, 429 or 5xx is asked for again a few times and
then a `TransferError`; what is not there (404, 410, 403) is `MissingError`, so that the next place can be tried.
No message holds a credential.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from wherry.errors import StoreError, TransferError, TrustError
from wherry.formats.urls import strip_credentials, strip_login
from wherry.model.digest import Digest
from wherry.model.progress import Progress, be_silent
from wherry.store.http import (
    FAILURES,
    PASSING,
    ConnectionProblem,
    Connections,
    Exchange,
    Failure,
    Response,
    retry_after,
    understand_failure,
)
from wherry.store.posix import sync_folder

CHUNK = 1024 * 1024
ATTEMPTS = 5
GONE = frozenset({404, 410})
ABSENT = GONE | {401, 403, 405}
T = TypeVar("T")
LONGEST_PAUSE = 20.0  # seconds; also the most that a Retry-After is believed


class MissingError(TransferError):
    """The server answers, and does not have it (`gone`), or does not show it to us."""

    def __init__(self, what: str, *, where: str, gone: bool) -> None:
        super().__init__(what, where=where)
        self.gone = gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    data: bytes
    content_type: str
    url: str  # after redirects: what links on the page are relative to


class Logins(Protocol):
    """Where user names and passwords are known."""

    def find(self, url: str) -> tuple[str, str] | str | None:
        """User name and password for a URL, or a bearer token."""
        ...

    def learn(self, url: str) -> bool:
        """Look further for a URL that was refused; whether there is something new to try."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """What a server said of the state of a file: its ETag and Last-Modified; for local files size and time."""

    etag: str = ""
    modified: str = ""


class Transport:
    """Asks, and asks again. `pause` is what sleeps between attempts, so that tests need not wait.

    `show` makes of a URL what messages may show of it.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        logins: Logins,
        *,
        certificates: Path | None = None,
        trusted_hosts: tuple[str, ...] = (),
        offline: bool = False,
        stall: float = 60.0,
        pause: Callable[[float], None] = time.sleep,
        show: Callable[[str], str] = strip_credentials,
    ) -> None:
        self._logins = logins
        self._show = show
        self._offline = offline
        self._pause = pause
        self._connections = Connections(
            environment, connect=20.0, stall=stall, certificates=certificates, trusted_hosts=trusted_hosts
        )

    def close(self) -> None:
        self._connections.close()

    def get_page(self, url: str, *, accept: str = "*/*", limit: int, decode: bool = True) -> Page:
        """Read a whole page of at most `limit` bytes. `decode` undoes a Content-Encoding."""
        if urlsplit(url).scheme == "file":
            return _read_local_page(url, limit)
        return self._repeat(url, lambda: self._get_page_once(url, accept, limit, decode=decode))

    def size_of(self, url: str) -> int | None:
        """How long the file is, without reading it; None when the server will not say."""
        if urlsplit(url).scheme == "file":
            return _stat_local(url)
        return self._repeat(url, lambda: self._size_once(url))

    def download(self, url: str, target: Path, sha256: Digest, size: int, progress: Progress = be_silent) -> None:
        """Fetch a file to `target`, which appears whole, right and durably, or not at all; its folder is made if needed."""
        beside = target.with_name(f".{target.name[:100]}.{os.urandom(8).hex()}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("xb") as sink:
                body = _Body(sink, target.name, sha256, size, self._show(url), progress)
                if urlsplit(url).scheme == "file":
                    _copy_local(url, body)
                else:
                    self._repeat(url, lambda: self._download_once(url, body))
                body.verify()
                sink.flush()
                os.fsync(sink.fileno())
            beside.replace(target)
            sync_folder(target.parent)
        except OSError as error:
            hint = "WHERRY_CACHE=another folder"
            raise StoreError(f"cannot write {target.parent}: {error.strerror}", hint=hint) from error
        finally:
            with suppress(OSError):
                beside.unlink()

    def fetch_if_changed(
        self, url: str, sink: BinaryIO, former: Freshness, *, limit: int, progress: Progress = be_silent
    ) -> Freshness | None:
        """Write a file of at most `limit` bytes into an empty, seekable `sink`; None, and nothing written, if it is as it was."""
        if urlsplit(url).scheme == "file":
            return _copy_if_changed(url, sink, former, limit)
        return self._repeat(url, lambda: self._fetch_changed_once(url, sink, former, limit, progress))

    def _repeat(self, url: str, attempt: Callable[[], T]) -> T:
        """Try until it works; a `MissingError` or `TrustError` ends it at once."""
        where = self._show(url)
        if self._offline:
            raise TransferError("this would need the network, and --offline forbids it", where=where, hint="once without --offline")
        for number in range(ATTEMPTS):
            try:
                return attempt()
            except _AgainError as again:
                problem = again
            except ConnectionProblem as failed:
                problem = _AgainError(failed.failure.value)
                if failed.failure is Failure.CERTIFICATE:
                    raise TransferError(f"{problem.what} (SSL_CERT_FILE, or pip's cert)", where=where) from None
            if number + 1 < ATTEMPTS:
                self._pause(min(max(problem.wait, 0.25 * 4**number), LONGEST_PAUSE))
        raise TransferError(f"{problem.what}, {ATTEMPTS} times in a row", where=where, hint="the same command again, later")

    def _get_page_once(self, url: str, accept: str, limit: int, *, decode: bool) -> Page:
        exchange = self._open("GET", url, {"Accept": accept})
        with closing(exchange.response) as response:
            _check_status(response, self._show(url), (200,))
            parts: list[bytes] = []
            length = 0
            for chunk in _read(exchange, decode=decode):
                length += len(chunk)
                if length > limit:
                    raise TransferError(f"a page is larger than {limit} bytes", where=self._show(url))
                parts.append(chunk)
            kind = response.headers.get("content-type", "text/html")
        return Page(data=b"".join(parts), content_type=kind, url=exchange.url)

    def _fetch_changed_once(self, url: str, sink: BinaryIO, former: Freshness, limit: int, progress: Progress) -> Freshness | None:
        sink.seek(0)
        sink.truncate()
        conditions = {"If-None-Match": former.etag, "If-Modified-Since": former.modified}
        exchange = self._open("GET", url, {name: value for name, value in conditions.items() if value})
        with closing(exchange.response) as response:
            if response.status == 304 and former != Freshness():
                return None
            _check_status(response, self._show(url), (200,))
            done, total = 0, _number(response.headers.get("content-length")) or 0
            for chunk in _read(exchange, decode=True):
                done += len(chunk)
                if done > limit:
                    raise TransferError(f"a file is larger than {limit} bytes", where=self._show(url))
                sink.write(chunk)
                progress(local_path(url).name, done, total)
            return Freshness(etag=response.headers.get("etag", ""), modified=response.headers.get("last-modified", ""))

    def _size_once(self, url: str) -> int | None:
        with closing(self._open("HEAD", url, {}).response) as response:
            if response.status not in (405, 501):
                _check_status(response, self._show(url), (200,))
                response.release_conn()
                return _number(response.headers.get("content-length"))
        with closing(self._open("GET", url, {"Range": "bytes=0-0"}).response) as response:
            _check_status(response, self._show(url), (200, 206))
            if response.status == 206:
                return _number(response.headers.get("content-range", "").rpartition("/")[2])
            return _number(response.headers.get("content-length"))

    def _download_once(self, url: str, body: _Body) -> None:
        exchange = self._open("GET", url, {"Range": f"bytes={body.done}-"} if body.done else {})
        with closing(exchange.response) as response:
            if response.status == 416:
                body.restart()
                raise _AgainError("the server would not go on where it was cut")
            _check_status(response, self._show(url), (200, 206))
            start = _number(response.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0])
            if response.status == 200 or start != body.done:
                body.restart()
            if response.status == 206 and start not in (0, body.done):
                raise _AgainError("the server sent another part than asked for")
            if start == 0 and response.status == 206:
                body.restart()
            for chunk in _read(exchange, decode=False):
                body.write(chunk)

    def _open(self, method: str, url: str, headers: dict[str, str]) -> Exchange:
        found = self._logins.find(url)
        if found is not None:
            headers["Authorization"] = _authorization(found)
        try:
            exchange = self._connections.exchange(method, strip_login(url), {"Accept-Encoding": "identity", **headers})
        except ValueError:
            raise MissingError("not a URL that can be asked for", where=self._show(url), gone=False) from None
        except TransferError as error:  # a redirect's, which names where it led
            raise TransferError(error.what, where=self._show(url)) from None
        if exchange.response.status in (401, 403) and self._logins.learn(url):
            exchange.response.close()
            raise _AgainError(f"the server answers {exchange.response.status}")
        return exchange


class _AgainError(Exception):
    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.what = what
        self.wait = wait


class _Body:
    """The bytes of one file as they come, over one or more answers."""

    def __init__(self, sink: BinaryIO, file: str, sha256: Digest, size: int, where: str, progress: Progress) -> None:
        self.done = 0
        self._sink, self._file, self._sha256, self._size = sink, file, sha256, size
        self._where, self._progress = where, progress
        self._running = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        self.done += len(chunk)
        if self.done > self._size:
            raise self._wrong(f"has more than its {self._size} bytes")
        self._running.update(chunk)
        self._sink.write(chunk)
        self._progress(self._file, self.done, self._size)

    def restart(self) -> None:
        if self.done:
            self.done = 0
            self._running = hashlib.sha256()
            self._sink.seek(0)
            self._sink.truncate()

    def verify(self) -> None:
        if self.done != self._size:
            raise self._wrong(f"has {self.done} bytes instead of {self._size}")
        if self._running.hexdigest() != self._sha256.hex:
            raise self._wrong(f"has the digest sha256:{self._running.hexdigest()} instead of {self._sha256}")

    def _wrong(self, what: str) -> TrustError:
        return TrustError(f"{self._file} {what}", where=self._where, hint="find out who serves other bytes before going on")


def _read(exchange: Exchange, *, decode: bool) -> Iterator[bytes]:
    try:
        yield from exchange.response.stream(CHUNK, decode_content=decode)
    except FAILURES as error:
        raise understand_failure(error, exchange.url) from None


def _check_status(response: Response, where: str, wanted: tuple[int, ...]) -> None:
    if response.status in wanted:
        return
    what = f"the server answers {response.status}"
    if response.status in PASSING:
        raise _AgainError(what, retry_after(response) or 0.0)
    if response.status in ABSENT:
        raise MissingError(what, where=where, gone=response.status in GONE)
    raise TransferError(what, where=where)


def local_path(url: str) -> Path:
    """Where a file URL points."""
    return Path(unquote(urlsplit(url).path))


def _read_local_page(url: str, limit: int) -> Page:
    path = local_path(url)
    if path.is_dir():
        path, url = path / "index.html", url.rstrip("/") + "/"
    try:
        with path.open("rb") as source:
            data = source.read(limit + 1)
    except OSError as error:
        raise _missing("page", url, error) from None
    if len(data) > limit:
        raise TransferError(f"a page is larger than {limit} bytes", where=url)
    return Page(data=data, content_type="application/json" if data[:1] == b"{" else "text/html", url=url)


def _stat_local(url: str) -> int:
    try:
        return local_path(url).stat().st_size
    except OSError as error:
        raise _missing("file", url, error) from None


def _copy_local(url: str, body: _Body) -> None:
    try:
        source = local_path(url).open("rb")
    except OSError as error:
        raise _missing("file", url, error) from None
    with source:
        for chunk in iter(lambda: source.read(CHUNK), b""):
            body.write(chunk)


def _copy_if_changed(url: str, sink: BinaryIO, former: Freshness, limit: int) -> Freshness | None:
    try:
        with local_path(url).open("rb") as source:
            found = os.fstat(source.fileno())
            state = Freshness(etag=f"{found.st_size}", modified=f"{found.st_mtime_ns} {found.st_ino}")
            if state == former:
                return None
            if found.st_size > limit:
                raise TransferError(f"a file is larger than {limit} bytes", where=url)
            shutil.copyfileobj(source, sink, CHUNK)
    except OSError as error:
        raise _missing("file", url, error) from None
    return state


def _authorization(found: tuple[str, str] | str) -> str:
    if isinstance(found, str):
        return f"Bearer {found}"
    return f"Basic {base64.b64encode(':'.join(found).encode()).decode()}"


def _missing(what: str, url: str, error: OSError) -> MissingError:
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return MissingError(f"there is no such {what}", where=url, gone=True)
    return MissingError(f"the {what} cannot be read: {error.strerror}", where=url, gone=False)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 18 else None
