"""A connection of which every byte is known: TCP, and TLS over memory buffers, so that what TLS adds is counted too.

Rules: nothing leaves or arrives without passing the account, which may refuse (a budget, a time window); every wait has an end,
and so has all that was allowed (`allow`). The end of a handshake leaves in one packet with the first
request. Where the system tells (Linux), packets are counted by the kernel, with those sent again; elsewhere they are estimated.
Certificates are always checked. Speaks neither HTTP nor anything above it.
"""

from __future__ import annotations

import io
import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from wherry.errors import DeviceError
from wherry.model.traffic import PACKET_HEADERS, Traffic, estimate_packets

T = TypeVar("T")
_CHUNK = 1 << 14  # also the most that arrives uncounted
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are few by themselves
_PADDING = 0x10  # SSL_OP_TLSEXT_PADDING, which makes the first message 512 bytes long for the sake of balancers of 2013
_HYBRID = (3, 5)  # OpenSSL from which a post-quantum share of 1.2 kB each way is the default
_SEGMENTS = struct.Struct("=II")  # tcpi_segs_out, tcpi_segs_in (linux/tcp.h)
_SEGMENTS_AT = 136
_INFO = 256


class Account(Protocol):
    """Who keeps count. Both may raise, which ends the connection."""

    def count(self, sent: int, received: int) -> None:
        """So many more bytes passed the socket."""
        ...

    def settle(self, traffic: Traffic) -> None:
        """A connection ended; this is all that it moved."""
        ...


class Tls:
    """How servers are believed, by the system's certificates or those of a file; remembers sessions while it lives.

    First messages are short: 1.3 alone is offered, and 1.2 after a server did not like that. `version` is OpenSSL's: content is
    signed and public, so what a post-quantum key exchange would keep secret is not worth its 2.3 kB a connection.
    """

    def __init__(self, certificates: Path | None = None, version: tuple[int, int] | None = None) -> None:
        try:
            self.context = ssl.create_default_context(cafile=certificates)
        except OSError as error:
            raise DeviceError(f"cannot read certificates: {error.strerror or error}", where=str(certificates)) from None
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.set_ciphers(_CIPHERS)
        self.context.options &= ~_PADDING
        if (version or ssl.OPENSSL_VERSION_INFO[:2]) >= _HYBRID:
            self.context.set_ecdh_curve("prime256v1")
        self.sessions: dict[tuple[str, int], ssl.SSLSession] = {}  # with which the next handshake is short


class MeteredSocket:
    """As much of a socket as `http.client.HTTPResponse` needs. `stall` is the longest silence in seconds."""

    def __init__(self, connected: socket.socket, account: Account, *, stall: float) -> None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket, self._account, self._stall = connected, account, stall
        self._end, self._most = float("inf"), 0
        self._tls: ssl.SSLObject | None = None
        self._agreed = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.sent = self.received = 0

    def allow(self, seconds: float, size: int) -> None:
        """What follows has to be over in so many seconds and bytes: a server that drips or floods does not hold us up."""
        self._end, self._most = time.monotonic() + seconds, self.received + size

    def start_tls(self, tls: Tls, host: str, port: int) -> None:
        """Raises `ssl.SSLCertVerificationError` for a server that is not the one."""
        session = tls.sessions.pop((host, port), None)
        self._tls = tls.context.wrap_bio(self._incoming, self._outgoing, server_hostname=host, session=session)
        try:
            self._pump(self._tls.do_handshake)
        except ssl.SSLCertVerificationError:
            raise
        except ssl.SSLError:
            tls.context.minimum_version = ssl.TLSVersion.TLSv1_2  # for the next attempt
            raise
        self._agreed = True

    def end_tls(self) -> ssl.SSLSession | None:
        """The session, for `Tls.sessions`; what TLS says at an end costs a packet and is not sent, as lengths are known."""
        if self._tls is None or not self._agreed:
            return None
        with suppress(ssl.SSLError):
            self._tls.unwrap()  # without it OpenSSL never uses the session again
        with suppress(ssl.SSLError, ValueError):
            return self._tls.session
        return None

    def sendall(self, data: bytes) -> None:
        if self._tls is None:
            self._send(data)
            return
        tls, rest = self._tls, memoryview(data)
        while rest:
            rest = rest[self._pump(lambda rest=rest: tls.write(rest)) :]  # type: ignore[misc]
        self._flush()

    def recv_into(self, buffer: memoryview) -> int:
        """0 at the end, also where the other side ended without a word: who reads knows how much has to come."""
        if self._tls is None:
            data = self._receive(min(len(buffer), _CHUNK))
            buffer[: len(data)] = data
            return len(data)
        tls = self._tls
        try:
            return self._pump(lambda: tls.read(len(buffer), buffer))  # type: ignore[return-value]
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return 0

    def makefile(self, mode: str = "rb") -> io.BufferedReader:
        """What `http.client` reads an answer from; closing it leaves the connection open."""
        if mode != "rb":
            raise ValueError(mode)
        return io.BufferedReader(_Reader(self), _CHUNK)

    def close(self, *, abort: bool = False) -> None:
        """End the connection; `abort` when the other side would go on sending what is not wanted."""
        if self._socket.fileno() < 0:
            return
        with suppress(OSError):
            if abort:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                self._say_goodbye()
        traffic = self._weigh()
        self._socket.close()
        self._account.settle(traffic)

    def _say_goodbye(self) -> None:
        """Take what is under way, so that the kernel need not refuse it, which would cost packets."""
        self._socket.shutdown(socket.SHUT_WR)
        self._socket.settimeout(1.0)
        for _ in range(4):
            data = self._socket.recv(_CHUNK)
            self.received += len(data)
            if not data:
                break

    def _weigh(self) -> Traffic:
        out, into = self._count_segments() or estimate_packets(self.sent, self.received)
        headers = PACKET_HEADERS + 20 * (self._socket.family == socket.AF_INET6)
        return Traffic(sent=self.sent, received=self.received, packets_out=out, packets_in=into, headers=headers)

    def _count_segments(self) -> tuple[int, int] | None:
        if not hasattr(socket, "TCP_INFO"):
            return None
        with suppress(OSError, struct.error):
            out, into = _SEGMENTS.unpack_from(self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO), _SEGMENTS_AT)
            return (out, into) if out else None
        return None

    def _pump(self, step: Callable[[], T]) -> T:
        """Do a step of TLS; give it the bytes that it wants until it is done."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._receive(_CHUNK)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._send(data)

    def _send(self, data: bytes) -> None:
        self._socket.settimeout(self._patience())
        self._socket.sendall(data)
        self.sent += len(data)
        self._account.count(len(data), 0)

    def _receive(self, size: int) -> bytes:
        if self.received >= self._most:
            raise ConnectionError("the server sends more than it may")
        self._socket.settimeout(self._patience())
        data = self._socket.recv(size)
        self.received += len(data)
        self._account.count(0, len(data))
        return data

    def _patience(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("slower than allowed")
        return min(self._stall, left)


class _Reader(io.RawIOBase):
    def __init__(self, source: MeteredSocket) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._source.recv_into(buffer)
