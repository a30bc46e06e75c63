"""Gets pages and files over http, https and file: bounded, retried with back-off, resumed where a server cuts.

Every received byte counts as a stranger's: `download` gives a file only when its sha256 and size are those expected.
Wrong bytes are a `TrustError` and never asked for again; a cut, a stall, 429 or 5xx is asked for again a few times and
then a `TransferError`; what is not there (404, 410, 403) is `MissingError`, so that the next place can be tried.
No message holds a credential.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    IncompleteRead,
    LocationValueError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from wherry.errors import StoreError, TransferError, TrustError
from wherry.model.digest import Digest
from wherry.model.progress import Progress, be_silent
from wherry.sources.urls import CredentialBook, strip_credentials

CHUNK = 1024 * 1024
ATTEMPTS = 5
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
ABSENT = frozenset({401, 403, 404, 405, 410})
T = TypeVar("T")
LONGEST_PAUSE = 20.0  # seconds; also the most that a Retry-After is believed


class MissingError(TransferError):
    """The server answers, and does not have it (or does not show it to us)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    data: bytes
    content_type: str
    url: str  # after redirects: what links on the page are relative to


class Transport:
    """A pool of connections. `pause` is what sleeps between attempts, so that tests need not wait."""

    def __init__(
        self,
        environment: Mapping[str, str],
        credentials: CredentialBook,
        *,
        certificates: Path | None = None,
        trusted_hosts: tuple[str, ...] = (),
        offline: bool = False,
        stall: float = 60.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._environment = environment
        self._credentials = credentials
        self._certificates = certificates
        self._trusted_hosts = trusted_hosts
        self._offline = offline
        self._timeout = urllib3.Timeout(connect=20.0, read=stall)
        self._pause = pause
        self._pools: dict[tuple[str | None, bool], urllib3.PoolManager] = {}
        self._guard = threading.Lock()

    def get_page(self, url: str, *, accept: str, limit: int) -> Page:
        """Read a whole page of at most `limit` bytes."""
        if urlsplit(url).scheme == "file":
            return _read_local_page(url, limit)
        return self._repeat(url, lambda: self._get_page_once(url, accept, limit))

    def size_of(self, url: str) -> int | None:
        """How long the file is, without reading it; None when the server will not say."""
        if urlsplit(url).scheme == "file":
            return _stat_local(url)
        return self._repeat(url, lambda: self._size_once(url))

    def download(self, url: str, target: Path, sha256: Digest, size: int, progress: Progress = be_silent) -> None:
        """Write a file to `target`, a new file, and sync it. On any error `target` is removed."""
        try:
            with target.open("xb") as sink:
                body = _Body(sink, target.name.partition(".part")[0], sha256, size, strip_credentials(url), progress)
                if urlsplit(url).scheme == "file":
                    _copy_local(url, body)
                else:
                    self._repeat(url, lambda: self._download_once(url, body))
                body.verify()
                sink.flush()
                os.fsync(sink.fileno())
        except BaseException as error:
            target.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise StoreError(f"cannot write {target.parent}: {error.strerror}") from error
            raise

    def _repeat(self, url: str, attempt: Callable[[], T]) -> T:
        """Try until it works; a `MissingError` or `TrustError` ends it at once."""
        where = strip_credentials(url)
        if self._offline:
            raise TransferError("this would need the network, and --offline forbids it", where=where)
        for number in range(ATTEMPTS):
            try:
                return attempt()
            except _AgainError as again:
                problem = again
            except (HTTPError, OSError) as error:
                if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
                    raise
                problem = _AgainError(_reason(error))
                if "certificate" in problem.what:
                    raise TransferError(problem.what, where=where) from None
            if number + 1 < ATTEMPTS:
                self._pause(min(max(problem.wait, 0.25 * 4**number), LONGEST_PAUSE))
        raise TransferError(f"{problem.what}, {ATTEMPTS} times in a row", where=where, hint="the same command again, later")

    def _get_page_once(self, url: str, accept: str, limit: int) -> Page:
        with closing(self._open("GET", url, {"Accept": accept})) as response:
            _check_status(response, url, (200,))
            parts: list[bytes] = []
            length = 0
            for chunk in response.stream(CHUNK, decode_content=True):
                length += len(chunk)
                if length > limit:
                    raise TransferError(f"a page is larger than {limit} bytes", where=strip_credentials(url))
                parts.append(chunk)
            final = response.geturl() or url
            kind = response.headers.get("content-type", "text/html")
        return Page(data=b"".join(parts), content_type=kind, url=_absolute(url, final))

    def _size_once(self, url: str) -> int | None:
        with closing(self._open("HEAD", url, {"Accept-Encoding": "identity"})) as response:
            if response.status not in (405, 501):
                _check_status(response, url, (200,))
                response.read()  # nothing; gives the connection back to the pool
                return _number(response.headers.get("content-length"))
        with closing(self._open("GET", url, {"Accept-Encoding": "identity", "Range": "bytes=0-0"})) as response:
            _check_status(response, url, (200, 206))
            if response.status == 206:
                return _number(response.headers.get("content-range", "").rpartition("/")[2])
            return _number(response.headers.get("content-length"))

    def _download_once(self, url: str, body: _Body) -> None:
        headers = {"Accept-Encoding": "identity"}
        if body.done:
            headers["Range"] = f"bytes={body.done}-"
        with closing(self._open("GET", url, headers)) as response:
            if response.status == 416:
                body.restart()
                raise _AgainError("the server would not go on where it was cut")
            _check_status(response, url, (200, 206))
            start = _number(response.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0])
            if response.status == 200 or start != body.done:
                body.restart()
            if response.status == 206 and start not in (0, body.done):
                raise _AgainError("the server sent another part than asked for")
            if start == 0 and response.status == 206:
                body.restart()
            for chunk in response.stream(CHUNK, decode_content=False):
                body.write(chunk)

    def _open(self, method: str, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        found = self._credentials.find(url)
        if found is not None:
            headers |= urllib3.make_headers(basic_auth=f"{found[0]}:{found[1]}")
        try:
            response = self._pool_for(url).request(
                method,
                _without_user(url),
                headers={"User-Agent": "wherry", **headers},
                timeout=self._timeout,
                retries=urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=8),
                preload_content=False,
            )
            if response.status in (401, 403) and self._credentials.learn(url):
                response.close()
                raise _AgainError(f"the server answers {response.status}")
            return response
        except (LocationValueError, UnicodeError):
            raise MissingError("not a URL that can be asked for", where=strip_credentials(url)) from None

    def _pool_for(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        host = parts.hostname or ""
        trusted = any(name in (host, parts.netloc.rpartition("@")[2]) for name in self._trusted_hosts)
        proxy = _proxy_for(parts.scheme, parts.netloc.rpartition("@")[2], self._environment)
        with self._guard:
            pool = self._pools.get((proxy, trusted))
            if pool is None:
                options = self._tls_options(trusted)
                made = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
                pool = self._pools[(proxy, trusted)] = made
        return pool

    def _tls_options(self, trusted: bool) -> dict[str, Any]:
        options: dict[str, Any] = {"maxsize": 16, "block": False}
        if self._certificates is not None:
            options["ca_certs"] = str(self._certificates)
        elif self._environment.get("SSL_CERT_DIR"):
            options["ca_cert_dir"] = self._environment["SSL_CERT_DIR"]
        if trusted:
            options |= {"cert_reqs": "CERT_NONE", "assert_hostname": False}
        return options


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


def _check_status(response: urllib3.BaseHTTPResponse, url: str, wanted: tuple[int, ...]) -> None:
    if response.status in wanted:
        return
    if response.status in RETRIED:
        wait = _number(response.headers.get("retry-after"))
        raise _AgainError(f"the server answers {response.status}", float(wait or 0))
    where = strip_credentials(url)
    if response.status in ABSENT:
        raise MissingError(f"the server answers {response.status}", where=where)
    raise TransferError(f"the server answers {response.status}", where=where)


def _proxy_for(scheme: str, host: str, environment: Mapping[str, str]) -> str | None:
    values = {name.lower(): value for name, value in environment.items() if name.lower().endswith("_proxy") and value}
    if _is_bypassed(host, values.get("no_proxy", "")):
        return None
    proxy = values.get(f"{scheme}_proxy") or values.get("all_proxy")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _is_bypassed(host: str, no_proxy: str) -> bool:
    """curl's reading of NO_PROXY: names and their subdomains, with or without a port; ``*`` is every host."""
    bare = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    for entry in (part.strip().lstrip(".").lower() for part in no_proxy.split(",")):
        if entry == "*" or (entry and (entry in (host.lower(), bare.lower()) or bare.lower().endswith(f".{entry}"))):
            return True
    return False


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
    except OSError:
        raise MissingError("there is no such page", where=url) from None
    if len(data) > limit:
        raise TransferError(f"a page is larger than {limit} bytes", where=url)
    return Page(data=data, content_type="application/json" if data[:1] == b"{" else "text/html", url=url)


def _stat_local(url: str) -> int:
    try:
        return local_path(url).stat().st_size
    except OSError:
        raise MissingError("there is no such file", where=url) from None


def _copy_local(url: str, body: _Body) -> None:
    try:
        source = local_path(url).open("rb")
    except OSError:
        raise MissingError("there is no such file", where=url) from None
    with source:
        for chunk in iter(lambda: source.read(CHUNK), b""):
            body.write(chunk)


def _absolute(url: str, final: str) -> str:
    return urljoin(url, final)


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 18 else None


def _reason(error: BaseException) -> str:
    """What went wrong in words, without urllib3's repr of a URL."""
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason is not None else error
    if isinstance(cause, ReadTimeoutError | ConnectTimeoutError | TimeoutError) and not isinstance(cause, NewConnectionError):
        return "the server does not answer in time"
    if isinstance(cause, SSLError):
        return "the server's certificate is not trusted (SSL_CERT_FILE, or pip's cert)"
    if isinstance(cause, ProtocolError | IncompleteRead):
        return "the connection was cut"
    return "the server cannot be reached"
