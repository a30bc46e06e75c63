"""One HTTP exchange with a registry, or with a host that a registry points to.

Rules, beside those of `store.http`: TLS always, but for loopback hosts and where plain HTTP was asked for; no proxy is
asked for loopback; no redirect leads from https to http. Bodies are streamed and never decoded: digests are over what was
sent. Nothing here repeats anything: `registry_session` does. Errors name a host and a path, never a query (it may hold a
signature), a header or a proxy's password.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from wherry.errors import TransferError, TrustError
from wherry.formats.urls import place
from wherry.model.reference import HUB
from wherry.store.http import (
    BLOCK,
    FAILURES,
    Body,
    ConnectionProblem,
    Connections,
    Exchange,
    Failure,
    Response,
    find_proxy,
    is_loopback,
    understand_failure,
)

_HUB_HOST = "registry-1.docker.io"


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


class Transport:
    """Connections, kept open and shared by threads. `env` is where proxies and certificates are looked up."""

    def __init__(self, env: Mapping[str, str], *, patience: Patience = Patience(), plain_http: bool = False) -> None:
        self.patience = patience
        self._plain_http = plain_http
        self._connections = Connections(
            env, connect=patience.connect, stall=patience.stall, proxy_of=lambda url: choose_proxy(url, env)
        )

    def base_url(self, registry: str) -> str:
        """Where a registry's API lies, such as ``https://ghcr.io``."""
        host = _HUB_HOST if registry == HUB else registry
        parts = urlsplit(f"//{host}")
        plain = (self._plain_http or is_loopback(parts.hostname or "")) and parts.port != 443
        return f"{'http' if plain else 'https'}://{host}"

    def exchange(self, method: str, url: str, headers: Mapping[str, str], body: Body = None, *, follow: bool = True) -> Exchange:
        """Send a request and give the answer as soon as its headers are there; GET and HEAD follow redirects."""
        source = None if body is None or isinstance(body, bytes) else _Source(body)
        try:
            return self._connections.exchange(
                method,
                url,
                headers,
                source or body,
                follow=follow,
                check=self.check_url,
            )
        except (ConnectionProblem, ValueError) as error:
            if source and source.error:
                raise source.error from None
            if isinstance(error, ConnectionProblem):
                raise _explain(error) from None
            raise TransferError("not a web address", where=place(url)) from None

    def check_url(self, url: str, origin: str) -> None:
        """Refuse what a registry must not send us to: other schemes, and plain HTTP where TLS was spoken."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise TransferError("the registry points to something that is no web address", where=place(origin))
        if parts.scheme == "http" and urlsplit(origin).scheme == "https":
            raise TrustError("the registry leads from https to http", where=f"{place(origin)} to {place(url)}")
        if parts.scheme == "http" and not (self._plain_http or is_loopback(parts.hostname)):
            raise TrustError("plain http to a host that is not this machine", where=place(url), hint="--plain-http")

    def close(self) -> None:
        self._connections.close()


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


def choose_proxy(url: str, env: Mapping[str, str]) -> str | None:
    """The environment's proxy for a URL; none for this machine."""
    return None if is_loopback(urlsplit(url).hostname or "") else find_proxy(url, env)


def read_body(response: Response, limit: int, url: str) -> bytes:
    """A small answer as a whole; more than `limit` bytes are a `TransferError`."""
    data = bytearray()
    try:
        while chunk := response.read(min(BLOCK, limit + 1 - len(data))):
            data += chunk
            if len(data) > limit:
                response.close()
                raise TransferError(f"the answer has more than {limit} bytes", where=place(url))
    except FAILURES as error:
        response.close()
        raise explain_http_error(error, url) from None
    response.release_conn()
    return bytes(data)


_AGAIN = "the same command again, once the registry answers: what was moved stays"


def explain_http_error(error: Exception, url: str) -> TransferError | TrustError:
    """What urllib3 or the system raised, as one of ours."""
    return _explain(understand_failure(error, url))


def _explain(problem: ConnectionProblem) -> TransferError | TrustError:
    where = place(problem.url)
    if problem.failure is Failure.CERTIFICATE:
        what = f"the server's certificate is not trusted: {problem.brief}"
        return TrustError(what, where=where, hint="SSL_CERT_FILE=ca.pem, or --plain-http for a registry without TLS")
    if problem.failure is Failure.TLS:
        return TransferError(f"TLS failed: {problem.brief}", where=where, hint="--plain-http if the registry has no TLS")
    if problem.failure is Failure.STALLED:
        return Interrupted("no answer: the connection stalled", where=where, hint=_AGAIN)
    return Interrupted(f"connection failed: {problem.brief}", where=where, hint=_AGAIN)
