"""A web server of static files in this process, with switches for what web servers do wrong.

    with WebSimulator({"/parcels/linux-amd64/ab": b"..."}, tls=certificates.server_context()) as web:
        web.manners.ranges = False                       # switches may be turned at any time
        web.files["/parcels/linux-amd64/full"] = b"..."  # so may files
        assert [seen.status for seen in web.seen] == [206, 304]

Its answers have the headers that a common server sends with static files: 260 bytes or so.
"""

from __future__ import annotations

import hashlib
import re
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal


@dataclass
class Manners:
    """Switches. The defaults are a well-behaved server."""

    ranges: bool = True  # False: ignores Range and sends the whole
    etag: Literal["strong", "weak", "none"] = "strong"
    dates: bool = True  # False: no Last-Modified
    conditions: bool = True  # False: ignores If-None-Match and If-Range
    announced: int = 0  # so many bytes more (or fewer) in Content-Length than are sent
    total: int = 0  # so many bytes more (or fewer) in Content-Range than there are
    shifted: int = 0  # parts begin so many bytes later than asked for
    chunked: bool = False  # no Content-Length
    endless: bool = False  # the body never ends
    encoding: str = ""  # says so in Content-Encoding
    keep: bool = True  # False: closes after each answer
    status: int = 0  # answers everything with this
    retry_after: str = ""  # with `status`
    redirect: str = ""  # leads every path below this URL
    headers: int = 0  # so many bytes of headers more


@dataclass(frozen=True)
class Seen:
    path: str
    status: int
    headers: dict[str, str] = field(repr=False)
    line: bytes = field(repr=False)

    @property
    def range(self) -> str:
        return self.headers.get("range", "")


class WebSimulator:
    """`files` are what there is, path → bytes. `host` is what it listens on."""

    def __init__(self, files: dict[str, bytes], *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.files = files
        self.manners = Manners()
        self.seen: list[Seen] = []
        self.changed = "Sat, 21 Nov 2026 08:00:00 GMT"
        self.quiet = threading.Event()
        self._server = _Server((host, 0), _Handler)
        self._server.simulator = self
        self._server.tls = tls
        self.scheme = "https" if tls else "http"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address[0]}:{self.address[1]}"

    def __enter__(self) -> WebSimulator:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.quiet.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def etag_of(self, body: bytes) -> str:
        value = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        return {"strong": value, "weak": f"W/{value}", "none": ""}[self.manners.etag]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    simulator: WebSimulator
    tls: ssl.SSLContext | None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread, so that a client that says nothing holds nobody up."""
        if self.tls:
            request = self.tls.wrap_socket(request, server_side=True, suppress_ragged_eofs=True)
        with request:
            super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Links are cut; that is what they are for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "harbour/1.24.0"
    sys_version = ""
    timeout = 20
    wbufsize = 1 << 16  # headers and a small body leave as one record, as from servers written for it
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        web, manners = self._web, self._web.manners
        body = web.files.get(self.path)
        if manners.redirect:
            self._answer(302, b"", {"Location": manners.redirect + self.path})
        elif manners.status:
            self._answer(manners.status, b"no", {"Retry-After": manners.retry_after} if manners.retry_after else {})
        elif body is None:
            self._answer(404, b"<html><body><h1>404 Not Found</h1></body></html>\r\n", {})
        else:
            self._send_file(body)

    def _send_file(self, body: bytes) -> None:
        manners, etag = self._web.manners, self._web.etag_of(body)
        about = {"Last-Modified": self._web.changed} if manners.dates else {}
        if etag:
            about["ETag"] = etag
        if manners.conditions and self._is_known(etag):
            self._answer(304, b"", about)
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked or not manners.ranges or not self._is_same(etag):
            self._answer(200, body, about | {"Accept-Ranges": "bytes"})
            return
        start, end = int(asked[1]), min(int(asked[2] or len(body)) + 1, len(body))
        if start >= len(body):
            self._answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            return
        start += manners.shifted
        self._answer(206, body[start:end], about | {"Content-Range": f"bytes {start}-{end - 1}/{len(body) + manners.total}"})

    def _is_known(self, etag: str) -> bool:
        known, since = self.headers.get("If-None-Match"), self.headers.get("If-Modified-Since")
        if known is not None:
            return bool(etag) and known.removeprefix("W/") == etag.removeprefix("W/")
        return self._web.manners.dates and since == self._web.changed

    def _is_same(self, etag: str) -> bool:
        wanted = self.headers.get("If-Range")
        if wanted is None or not self._web.manners.conditions:
            return True
        return wanted in (etag, self._web.changed) and not wanted.startswith("W/")

    def _answer(self, status: int, body: bytes, about: dict[str, str]) -> None:
        manners = self._web.manners
        self._web.seen.append(Seen(self.path, status, {k.lower(): v for k, v in self.headers.items()}, self.raw_requestline))
        self.close_connection = self.close_connection or not manners.keep
        self.send_response(status)
        if status not in (304, 416):
            self.send_header("Content-Type", "application/octet-stream")
        if manners.encoding:
            self.send_header("Content-Encoding", manners.encoding)
        if manners.headers:
            self.send_header("X-More", "x" * manners.headers)
        if manners.chunked and body:
            self.send_header("Transfer-Encoding", "chunked")
        elif status != 304:
            self.send_header("Content-Length", str(len(body) + manners.announced))
        self.send_header("Connection", "keep-alive" if manners.keep else "close")
        for name, value in about.items():
            self.send_header(name, value)
        self.end_headers()
        self._send_body(body)
        self.wfile.flush()
        self.close_connection = self.close_connection or bool(manners.announced)

    def _send_body(self, body: bytes) -> None:
        manners = self._web.manners
        for start in range(0, len(body), 1 << 16) if manners.chunked else ():
            part = body[start : start + (1 << 16)]
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        if not manners.chunked:
            self.wfile.write(body)
        while manners.endless and not self._web.quiet.is_set():
            self.wfile.write(b"4000\r\n" + bytes(1 << 14) + b"\r\n" if manners.chunked else bytes(1 << 14))
        if manners.chunked and body:
            self.wfile.write(b"0\r\n\r\n")

    @property
    def _web(self) -> WebSimulator:
        assert isinstance(self.server, _Server)
        return self.server.simulator

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(timestamp))
