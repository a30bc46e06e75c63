"""Fetches single files over http, https or from `file:` addresses, into memory or beside their final place.

Transfers are tried again on what may pass (429, 5xx, a broken connection). A file becomes visible only after its size
and sha256 are right: a wrong digest is a `TrustError`, and nothing is left behind. Credentials come from the address
or from apt's auth.conf and never stand in an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import urllib3

from wherry.errors import StoreError, TransferError, TrustError
from wherry.model.digest import Digest
from wherry.model.progress import Progress, be_silent
from wherry.sources.apt import AptLogin

CHUNK = 1 << 17
_RETRIES = urllib3.Retry(total=4, redirect=5, backoff_factor=0.3, status_forcelist=(429, 500, 502, 503, 504))
_TIMEOUT = urllib3.Timeout(connect=15, read=60)


class Fetcher:
    """An ordinary client: keeps connections, follows redirects, speaks through the proxy of the scheme."""

    def __init__(self, proxies: Mapping[str, str], logins: tuple[AptLogin, ...] = ()) -> None:
        self._proxies = dict(proxies)
        self._logins = logins
        self._pools: dict[str, urllib3.PoolManager] = {}

    def read(self, url: str, limit: int) -> bytes | None:
        """The file's bytes; None where there is no such file."""
        parts = bytearray()
        with self._open(url) as chunks:
            if chunks is None:
                return None
            for chunk in chunks:
                parts += chunk
                if len(parts) > limit:
                    raise TransferError(f"more than {limit} bytes", where=hide_login(url))
        return bytes(parts)

    def fetch(self, url: str, target: Path, *, size: int, sha256: Digest, progress: Progress = be_silent) -> bool:
        """Fetch to `target`, which appears whole or not at all; False where there is no such file."""
        with self._open(url) as chunks:
            if chunks is None:
                return False
            _store_verified(chunks, target, size=size, sha256=sha256, where=hide_login(url), progress=progress)
        return True

    def close(self) -> None:
        for pool in self._pools.values():
            pool.clear()

    @contextlib.contextmanager
    def _open(self, url: str) -> Iterator[Iterator[bytes] | None]:
        if url.startswith("file:"):
            with _open_file(url) as chunks:
                yield chunks
            return
        where = hide_login(url)
        try:
            response = self._pool(urlsplit(url).scheme).request("GET", where, headers=self._headers(url), preload_content=False)
            try:
                if response.status in (404, 410):
                    yield None
                elif response.status != 200:
                    raise TransferError(f"the server answered {response.status}", where=where)
                else:
                    yield response.stream(CHUNK, decode_content=False)
                response.drain_conn()
            finally:
                response.close()
        except urllib3.exceptions.HTTPError as error:
            raise TransferError(
                f"{type(error).__name__}: {str(error)[:200]}", where=where, hint="check the network and try again"
            ) from error

    def _pool(self, scheme: str) -> urllib3.PoolManager:
        if scheme not in self._pools:
            proxy = self._proxies.get(scheme)
            if proxy:
                self._pools[scheme] = urllib3.ProxyManager(proxy, retries=_RETRIES, timeout=_TIMEOUT, maxsize=8)
            else:
                self._pools[scheme] = urllib3.PoolManager(retries=_RETRIES, timeout=_TIMEOUT, maxsize=8)
        return self._pools[scheme]

    def _headers(self, url: str) -> dict[str, str]:
        headers = {"user-agent": "wherry", "accept-encoding": "identity"}
        parts = urlsplit(url)
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
        for entry in self._logins:
            scheme, _, machine = entry.machine.rpartition("://")
            if not login and (scheme in ("", parts.scheme)) and f"{parts.netloc}{parts.path}".startswith(machine):
                rest = f"{parts.netloc}{parts.path}"[len(machine) : len(machine) + 1]
                login = f"{entry.login}:{entry.password}" if rest in ("", "/", ":") else ""
        if login:
            headers |= urllib3.make_headers(basic_auth=login)
        return headers


def hide_login(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url, count=1)


@contextlib.contextmanager
def _open_file(url: str) -> Iterator[Iterator[bytes] | None]:
    path = Path(unquote("/" + url.removeprefix("file:").lstrip("/")))
    if not path.is_file():
        yield None
        return
    try:
        with path.open("rb") as stream:
            yield iter(lambda: stream.read(CHUNK), b"")
    except OSError as error:
        raise StoreError(f"cannot read: {error.strerror}", where=str(path)) from error


def _store_verified(chunks: Iterator[bytes], target: Path, *, size: int, sha256: Digest, where: str, progress: Progress) -> None:
    digest, done = hashlib.sha256(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with beside.open("xb") as out:
            for chunk in chunks:
                done += len(chunk)
                if done > size:
                    break
                digest.update(chunk)
                out.write(chunk)
                progress(target.name, done, size)
            out.flush()
            os.fsync(out.fileno())
        if done < size:
            raise TransferError(f"ended after {done} of {size} bytes", where=where, hint="try again")
        if done > size or digest.hexdigest() != sha256.hex:
            raise TrustError(f"the file is not the one that was promised ({sha256})", where=where)
        beside.replace(target)
    except OSError as error:
        raise StoreError(f"cannot write: {error.strerror}", where=str(target)) from error
    finally:
        beside.unlink(missing_ok=True)
