"""One GET over connections that are kept: short requests, answers whose headers are bounded, redirects.

Rules: redirects lead at most three times further, never from https to http. A kept connection that turns out to be dead is
replaced once. Whatever fails in between is `Interrupted`; a server that cannot prove who it is, is a `TrustError`. No message holds
a URL's query.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from wherry.agent.metered_socket import Account, MeteredSocket, Tls
from wherry.errors import TransferError, TrustError
from wherry.formats.urls import Origin, origin_of, place

MAX_REDIRECTS = 3
FAILURES = (OSError, http.client.HTTPException, ValueError)  # ValueError: what http.client says to numbers that are none
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEAD = 64 << 10  # bytes of handshake and headers; and of a body beyond what was asked for
_SMALL = 4 << 10  # an answer that is not wanted is read to its end up to this, so that the connection can be kept


class Interrupted(TransferError):
    """The same again may work, after `wait` seconds if the server named them."""

    def __init__(self, what: str, *, where: str, wait: float = 0.0) -> None:
        super().__init__(what, where=where)
        self.wait = wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds, and how often to try without getting anything. `block`: for 16 KiB, or for all headers."""

    connect: float = 30.0
    stall: float = 60.0
    block: float = 300.0
    attempts: int = 3
    first_wait: float = 2.0
    longest_wait: float = 300.0


class Answer:
    """A status, headers, and a body that is read piece by piece."""

    def __init__(self, response: http.client.HTTPResponse, connection: MeteredSocket, url: str, patience: Patience) -> None:
        self._response, self._connection, self._patience = response, connection, patience
        self.url, self.status, self.keeps = url, response.status, not response.will_close
        # How much of the body is still to come; None where the server does not say.
        self.length: int | None = None if response.chunked else response.length

    def header(self, name: str) -> str:
        return (self._response.getheader(name) or "").strip()

    def read(self, size: int) -> bytes:
        """The next bytes of the body, at least one; less than was announced is `Interrupted`."""
        self._connection.allow(self._patience.block, size + _HEAD)
        try:
            data = self._response.read1(size if self.length is None else min(size, self.length))
        except FAILURES as error:
            raise explain_failure(error, self.url) from None
        if not data:
            raise Interrupted("the connection was cut", where=place(self.url))
        if self.length is not None:
            self.length -= len(data)
        return data

    def finish(self) -> bool:
        """Read what is left, if it is little; whether the connection can be used again."""
        if self.length is None or self.length > _SMALL:
            return False
        with suppress(Interrupted):
            while self.length:
                self.read(self.length)
        self._response.close()
        return self.keeps and not self.length


class Exchanges:
    """The connections of one session, one a server. `tls` outlives it."""

    def __init__(self, account: Account, tls: Tls, patience: Patience) -> None:
        self._account, self._tls, self._patience = account, tls, patience
        self._open: dict[Origin, MeteredSocket] = {}

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Ask; follows redirects. The answer before has to be finished."""
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._get_once(url, headers)
            location = answer.header("Location")
            if answer.status not in _REDIRECTS or not location:
                return answer
            self.finish(answer)
            url = _follow(url, location)
        raise TransferError(f"more than {MAX_REDIRECTS} redirects", where=place(url))

    def finish(self, answer: Answer) -> None:
        """Be done with an answer; its connection is kept if that is possible."""
        if not answer.finish():
            self._drop(origin_of(answer.url), abort=answer.length != 0)

    def close(self, *, abort: bool = False) -> None:
        """End all connections; `abort` when one would go on sending what is not wanted."""
        for origin in tuple(self._open):
            self._drop(origin, abort=abort)

    def _get_once(self, url: str, headers: Mapping[str, str]) -> Answer:
        request = _render_request(url, headers)
        origin = origin_of(url)
        kept = origin in self._open
        try:
            return self._send(url, request)
        except FAILURES as error:
            self._drop(origin, abort=True)
            if not kept or isinstance(error, TimeoutError):
                raise explain_failure(error, url) from None
        try:
            return self._send(url, request)
        except FAILURES as error:
            self._drop(origin, abort=True)
            raise explain_failure(error, url) from None

    def _send(self, url: str, request: bytes) -> Answer:
        connection = self._connect(origin_of(url))
        connection.allow(self._patience.block, _HEAD)
        connection.sendall(request)
        response = http.client.HTTPResponse(connection, method="GET")  # type: ignore[arg-type]
        response.begin()
        return Answer(response, connection, url, self._patience)

    def _connect(self, origin: Origin) -> MeteredSocket:
        if origin in self._open:
            return self._open[origin]
        scheme, host, port = origin
        raw = socket.create_connection((host, port or 0), timeout=self._patience.connect)
        connection = self._open[origin] = MeteredSocket(raw, self._account, stall=self._patience.stall)
        connection.allow(self._patience.block, _HEAD)
        if scheme == "https":
            connection.start_tls(self._tls, host, port or 0)
        return connection

    def _drop(self, origin: Origin, *, abort: bool) -> None:
        connection = self._open.pop(origin, None)
        if connection is not None:
            session = connection.end_tls()
            if session is not None:
                self._tls.sessions[origin[1], origin[2] or 0] = session
            connection.close(abort=abort)


def check_address(url: str) -> None:
    """Refuse what is no web address, or has a login in it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        port = -1
    if port == -1 or parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise TransferError("not an http or https address without login", where=place(url))


def explain_failure(error: BaseException, url: str) -> TransferError | TrustError:
    """What the system or http.client raised, as one of ours."""
    where = place(url)
    if isinstance(error, ssl.SSLCertVerificationError):
        return TrustError(f"the server's certificate is not trusted: {error.verify_message}", where=where)
    if isinstance(error, TimeoutError):
        return Interrupted("the server does not answer in time", where=where)
    if isinstance(error, socket.gaierror):
        return Interrupted("the server's name is not known", where=where)
    if isinstance(error, ssl.SSLError):
        return Interrupted(f"TLS failed: {error.reason or 'cut'}", where=where)
    brief = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return Interrupted(f"the connection failed: {brief[:120]}", where=where)


def _follow(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
    except ValueError:
        target = ""
    check_address(target)
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http":
        raise TrustError("the server leads from https to http", where=f"{place(url)} to {place(target)}")
    return target


def _render_request(url: str, headers: Mapping[str, str]) -> bytes:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"GET {target} HTTP/1.1", f"Host: {parts.netloc}", "User-Agent: wherry"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if not all(line.isascii() and line.isprintable() for line in lines):
        raise TransferError("an address or header with strange characters", where=place(url))
    return "\r\n".join((*lines, "", "")).encode("ascii")
