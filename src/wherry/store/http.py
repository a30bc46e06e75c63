"""HTTP as all parts that ask the network speak it, on urllib3: connections, proxies, certificates, redirects, failures.

Rules: proxies and certificates are the environment's (curl's reading of it); every wait has an end; a redirect to another
origin loses the `Authorization` header. Answers are given as soon as their headers are there and never decoded, unless
the reader asks. Nothing here is tried again, and no failure holds a URL's query, a header or a proxy's password: who asks
decides what to repeat, where a redirect may lead, and how a failure is told.
"""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, IncompleteRead, LocationValueError, NewConnectionError, ProtocolError
from urllib3.exceptions import SSLError as PoolSSLError
from urllib3.exceptions import TimeoutError as PoolTimeoutError

from wherry.errors import TransferError, UsageError
from wherry.formats.urls import place, same_origin

Response: TypeAlias = urllib3.BaseHTTPResponse
Body: TypeAlias = bytes | Iterable[bytes] | None

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # statuses after which the same again may work
BLOCK = 1 << 17
FAILURES = (HTTPError, OSError)  # what reading an answer raises
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 8


class Failure(Enum):
    """Why there was no answer, or no whole one."""

    CERTIFICATE = "the server's certificate is not trusted"
    TLS = "TLS failed"
    STALLED = "the server does not answer in time"
    CUT = "the connection was cut"
    UNREACHABLE = "the server cannot be reached"


class ConnectionProblem(Exception):
    """A request to `url`, perhaps one that a redirect led to, that failed. `brief` is the system's word for it."""

    def __init__(self, failure: Failure, brief: str, url: str) -> None:
        super().__init__(failure.value)
        self.failure, self.brief, self.url = failure, brief, url


@dataclass(frozen=True, slots=True)
class Exchange:
    """An answer and the URL that gave it, after redirects."""

    response: Response
    url: str


class Connections:
    """Connections, kept open and shared by threads.

    `certificates` go before ``SSL_CERT_FILE``; nobody checks those of `trusted_hosts` (HOST or HOST:PORT); `proxy_of`
    names the proxy for a URL.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        *,
        connect: float,
        stall: float,
        certificates: Path | None = None,
        trusted_hosts: tuple[str, ...] = (),
        proxy_of: Callable[[str], str | None] | None = None,
    ) -> None:
        self._env = env
        self._timeout = urllib3.Timeout(connect=connect, read=stall)
        self._certificates = certificates
        self._trusted_hosts = trusted_hosts
        self._proxy_of = proxy_of or (lambda url: find_proxy(url, env))
        self._pools: dict[tuple[str | None, bool | None], urllib3.PoolManager] = {}
        self._guard = threading.Lock()

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body = None,
        *,
        follow: bool = True,
        check: Callable[[str, str], None] | None = None,
    ) -> Exchange:
        """Send a request; GET and HEAD follow redirects. `check(target, origin)` raises where a redirect must not lead.

        Raises `ConnectionProblem`; `ValueError` for what is no web address.
        """
        headers = {"User-Agent": "wherry", **headers}
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send_once(method, url, headers, body)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location or not follow or method not in {"GET", "HEAD"}:
                return Exchange(response, url)
            discard(response)
            target = urljoin(url, location)
            if check is not None:
                check(target, url)
            if not same_origin(target, url):
                headers.pop("Authorization", None)
            url = target
        raise TransferError("too many redirects", where=place(url))

    def close(self) -> None:
        for pool in self._pools.values():
            pool.clear()

    def _send_once(self, method: str, url: str, headers: Mapping[str, str], body: Body) -> Response:
        try:
            return self._pool(url).urlopen(
                method,
                url,
                body=body,
                headers=headers,
                redirect=False,
                retries=False,
                timeout=self._timeout,
                preload_content=False,
                decode_content=False,
            )
        except FAILURES as error:
            if isinstance(error, LocationValueError):
                raise ValueError("not a web address") from None
            raise understand_failure(error, url) from None

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = self._proxy_of(url)
        checked: bool | None = None  # no TLS at all
        if "https" in (parts.scheme, urlsplit(proxy or "").scheme):
            checked = not any(name in (parts.hostname, parts.netloc.rpartition("@")[2]) for name in self._trusted_hosts)
        with self._guard:
            pool = self._pools.get((proxy, checked))
            if pool is None:
                tls = None if checked is None else _tls_context(self._certificates, self._env, checked=checked)
                pool = self._pools[proxy, checked] = _make_pool(proxy, tls)
        return pool


def _make_pool(proxy: str | None, tls: ssl.SSLContext | None) -> urllib3.PoolManager:
    if proxy is None:
        return urllib3.PoolManager(ssl_context=tls, maxsize=16, num_pools=16, blocksize=BLOCK)
    parts = urlsplit(proxy)
    if parts.scheme not in {"http", "https"}:
        raise UsageError(f"a proxy of scheme {parts.scheme!r} is not supported", hint="an http:// or https:// proxy")
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if parts.username else None
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    proxy_headers = urllib3.make_headers(proxy_basic_auth=login)
    return urllib3.ProxyManager(
        address, ssl_context=tls, maxsize=16, blocksize=BLOCK, proxy_headers=proxy_headers, proxy_ssl_context=tls
    )


def _tls_context(certificates: Path | None, env: Mapping[str, str], *, checked: bool) -> ssl.SSLContext:
    file, folder = certificates or env.get("SSL_CERT_FILE") or None, env.get("SSL_CERT_DIR") or None
    try:
        context = ssl.create_default_context(cafile=file, capath=folder)
    except OSError as error:
        where = str(certificates) if certificates else f"SSL_CERT_FILE={file}"
        raise UsageError(f"cannot read certificates: {_brief(error)}", where=where) from None
    if not checked:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def find_proxy(url: str, env: Mapping[str, str]) -> str | None:
    """The proxy for a URL, from ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, as curl reads them."""
    parts = urlsplit(url)
    if _is_excepted((parts.hostname or "").lower(), parts.port, _either(env, "no_proxy")):
        return None
    proxy = _either(env, f"{parts.scheme}_proxy") or _either(env, "all_proxy")
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    return proxy or None


def _is_excepted(host: str, port: int | None, exceptions: str) -> bool:
    for rule in (part.strip().lower() for part in exceptions.split(",")):
        name, _, rule_port = rule.rpartition(":") if rule.count(":") == 1 or "]:" in rule else (rule, "", "")
        name = name.strip("[]")
        if not name or (rule_port and rule_port != str(port)):
            continue
        suffix = name.lstrip("*").lstrip(".")
        if name == "*" or host == suffix or host.endswith(f".{suffix}") or _in_network(host, name):
            return True
    return False


def _in_network(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _either(env: Mapping[str, str], name: str) -> str:
    return env.get(name) or env.get(name.upper()) or ""


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def discard(response: Response) -> None:
    """Throw an answer away; its connection is kept when that costs little."""
    try:
        if int(response.headers.get("Content-Length") or 0) > BLOCK:
            response.close()
        else:
            response.drain_conn()
            response.release_conn()
    except (*FAILURES, ValueError):
        response.close()


def retry_after(response: Response) -> float | None:
    """In how many seconds a server wants to be asked again; None where it does not say."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 18:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


def understand_failure(error: BaseException, url: str) -> ConnectionProblem:
    """What urllib3 or the system raised."""
    brief = _brief(error)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ConnectionProblem(Failure.CERTIFICATE, _brief(cause), url)
        inner = next((part for part in getattr(cause, "args", ()) if isinstance(part, BaseException)), None)
        cause = inner or cause.__cause__ or cause.__context__
    if isinstance(error, PoolSSLError):
        return ConnectionProblem(Failure.TLS, brief, url)
    if isinstance(error, NewConnectionError):  # which urllib3 counts among the timeouts
        return ConnectionProblem(Failure.UNREACHABLE, brief, url)
    if isinstance(error, TimeoutError | PoolTimeoutError) or "timed out" in str(error):
        return ConnectionProblem(Failure.STALLED, brief, url)
    if isinstance(error, ProtocolError | IncompleteRead | ConnectionError):
        return ConnectionProblem(Failure.CUT, brief, url)
    return ConnectionProblem(Failure.UNREACHABLE, brief, url)


def _brief(error: BaseException) -> str:
    inner = error
    while inner.args and isinstance(inner.args[-1], BaseException):
        inner = inner.args[-1]
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror[:200]
    # urllib3 puts addresses with queries into its texts: keep what comes after the last colon
    return (str(inner).rsplit(": ", 1)[-1] or type(inner).__name__)[:200]
