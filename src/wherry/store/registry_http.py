"""One HTTP exchange with a registry, or with a host that a registry points to, on urllib3.

Rules: TLS always, but for loopback hosts and where plain HTTP was asked for; the environment's proxies (never for
loopback), `SSL_CERT_FILE` and `SSL_CERT_DIR` hold; every wait has an end; a redirect to another origin loses the
`Authorization` header, and none leads from https to http. Bodies are streamed and never decoded: digests are over what
was sent. Nothing here repeats anything: `registry_session` does. Errors name a host and a path, never a query (it may
hold a signature), a header or a proxy's password.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import SSLError as PoolSSLError
from urllib3.exceptions import TimeoutError as PoolTimeoutError

from wherry.errors import TransferError, TrustError, UsageError
from wherry.model.reference import HUB

Response: TypeAlias = urllib3.BaseHTTPResponse
Body: TypeAlias = bytes | Iterable[bytes] | None

_HUB_HOST = "registry-1.docker.io"
_REDIRECTS = {301, 302, 303, 307, 308}
_MAX_REDIRECTS = 5
_BLOCK = 1 << 17


class Interrupted(TransferError):
    """The connection failed or stalled: the same again may work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait, in seconds, and how often to try. `stall` is the longest silence on an open connection."""

    connect: float = 15.0
    stall: float = 60.0
    attempts: int = 5
    first_wait: float = 0.5
    longest_wait: float = 90.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """An answer and the URL that gave it, after redirects."""

    response: Response
    url: str


class Transport:
    """Connections, kept open and shared by threads. `env` is where proxies and certificates are looked up."""

    def __init__(self, env: Mapping[str, str], *, patience: Patience = Patience(), plain_http: bool = False) -> None:
        self.patience = patience
        self._env = env
        self._plain_http = plain_http
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        self._tls: ssl.SSLContext | None = None

    def base_url(self, registry: str) -> str:
        """Where a registry's API lies, such as ``https://ghcr.io``."""
        host = _HUB_HOST if registry == HUB else registry
        name, port = host_and_port(host)
        plain = (self._plain_http or is_loopback(name)) and port != 443
        return f"{'http' if plain else 'https'}://{host}"

    def exchange(self, method: str, url: str, headers: Mapping[str, str], body: Body = None, *, follow: bool = True) -> Exchange:
        """Send a request and give the answer as soon as its headers are there; GET and HEAD follow redirects."""
        headers = dict(headers)
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send_once(method, url, headers, body)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location or not follow or method not in {"GET", "HEAD"}:
                return Exchange(response, url)
            discard(response)
            target = urljoin(url, location)
            self.check_url(target, origin=url)
            if not same_origin(target, url):
                headers.pop("Authorization", None)
            url = target
        raise TransferError("too many redirects", where=place(url))

    def check_url(self, url: str, *, origin: str) -> None:
        """Refuse what a registry must not send us to: other schemes, and plain HTTP where TLS was spoken."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise TransferError("the registry points to something that is no web address", where=place(origin))
        if parts.scheme == "http" and urlsplit(origin).scheme == "https":
            raise TrustError("the registry leads from https to http", where=f"{place(origin)} to {place(url)}")
        if parts.scheme == "http" and not (self._plain_http or is_loopback(parts.hostname)):
            raise TrustError("plain http to a host that is not this machine", where=place(url), hint="--plain-http")

    def close(self) -> None:
        for pool in self._pools.values():
            pool.clear()

    def _send_once(self, method: str, url: str, headers: Mapping[str, str], body: Body) -> Response:
        timeout = urllib3.Timeout(connect=self.patience.connect, read=self.patience.stall)
        source = None if body is None or isinstance(body, bytes) else _Source(body)
        try:
            return self._pool(url).urlopen(
                method,
                url,
                body=source or body,
                headers={"User-Agent": "wherry", **headers},
                redirect=False,
                retries=False,
                timeout=timeout,
                preload_content=False,
                decode_content=False,
            )
        except (HTTPError, OSError, ValueError) as error:
            if source and source.error:
                raise source.error from None
            raise explain_http_error(error, url) from None

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = find_proxy(url, self._env)
        if proxy not in self._pools:
            self._pools[proxy] = self._make_pool(proxy)
        return self._pools[proxy]

    def _make_pool(self, proxy: str | None) -> urllib3.PoolManager:
        tls = self._tls = self._tls or _tls_context(self._env)
        if proxy is None:
            return urllib3.PoolManager(ssl_context=tls, maxsize=16, num_pools=16, blocksize=_BLOCK)
        parts = urlsplit(proxy)
        if parts.scheme not in {"http", "https"}:
            raise UsageError(f"a proxy of scheme {parts.scheme!r} is not supported", hint="an http:// or https:// proxy")
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if parts.username else None
        address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        proxy_headers = urllib3.make_headers(proxy_basic_auth=login)
        return urllib3.ProxyManager(
            address, ssl_context=tls, maxsize=16, blocksize=_BLOCK, proxy_headers=proxy_headers, proxy_ssl_context=tls
        )


class _Source:
    """A body's chunks. Keeps the error of whoever gives them, so that it is not taken for the network's."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except StopIteration:
            raise
        except Exception as error:
            self.error = error
            raise


def read_body(response: Response, limit: int, url: str) -> bytes:
    """A small answer as a whole; more than `limit` bytes are a `TransferError`."""
    data = bytearray()
    try:
        while chunk := response.read(min(_BLOCK, limit + 1 - len(data))):
            data += chunk
            if len(data) > limit:
                response.close()
                raise TransferError(f"the answer has more than {limit} bytes", where=place(url))
    except (HTTPError, OSError) as error:
        response.close()
        raise explain_http_error(error, url) from None
    response.release_conn()
    return bytes(data)


def discard(response: Response) -> None:
    """Throw an answer away; its connection is kept when that costs little."""
    try:
        if int(response.headers.get("Content-Length") or 0) > _BLOCK:
            response.close()
        else:
            response.drain_conn()
            response.release_conn()
    except (HTTPError, OSError, ValueError):
        response.close()


def explain_http_error(error: Exception, url: str) -> TransferError | TrustError:
    """What urllib3 or the system raised, as one of ours."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            what = f"the server's certificate is not trusted: {_brief(cause)}"
            return TrustError(what, where=place(url), hint="SSL_CERT_FILE=ca.pem, or --plain-http for a registry without TLS")
        inner = next((part for part in getattr(cause, "args", ()) if isinstance(part, BaseException)), None)
        cause = inner or cause.__cause__ or cause.__context__
    if isinstance(error, PoolSSLError):
        return TransferError(f"TLS failed: {_brief(error)}", where=place(url), hint="--plain-http if the registry has no TLS")
    refused = isinstance(error, NewConnectionError)  # which urllib3 counts among the timeouts
    if not refused and (isinstance(error, TimeoutError | PoolTimeoutError) or "timed out" in str(error)):
        return Interrupted("no answer: the connection stalled", where=place(url))
    return Interrupted(f"connection failed: {_brief(error)}", where=place(url))


def place(url: str) -> str:
    """A URL as it may be shown: host and path, without query or login."""
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


def same_origin(one: str, other: str) -> bool:
    return _origin(one) == _origin(other)


def host_and_port(host: str) -> tuple[str, int | None]:
    parts = urlsplit(f"//{host}")
    return parts.hostname or "", parts.port


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine: no TLS is needed there, and no proxy is asked."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def find_proxy(url: str, env: Mapping[str, str]) -> str | None:
    """The proxy for a URL, from ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, as curl reads them."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or _is_excepted(host, parts.port, _either(env, "no_proxy")):
        return None
    proxy = _either(env, f"{parts.scheme}_proxy") or _either(env, "all_proxy")
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    return proxy or None


def _is_excepted(host: str, port: int | None, exceptions: str) -> bool:
    for rule in (part.strip().lower() for part in exceptions.split(",")):
        name, _, rule_port = rule.partition(":") if rule.count(":") == 1 else (rule, "", "")
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


def _tls_context(env: Mapping[str, str]) -> ssl.SSLContext:
    file, folder = env.get("SSL_CERT_FILE") or None, env.get("SSL_CERT_DIR") or None
    try:
        return ssl.create_default_context(cafile=file, capath=folder)
    except OSError as error:
        raise UsageError(f"cannot read certificates: {_brief(error)}", where=f"SSL_CERT_FILE={file}") from None


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _brief(error: BaseException) -> str:
    inner = error
    while inner.args and isinstance(inner.args[-1], BaseException):
        inner = inner.args[-1]
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror[:200]
    # urllib3 puts addresses with queries into its texts: keep what comes after the last colon
    return (str(inner).rsplit(": ", 1)[-1] or type(inner).__name__)[:200]
