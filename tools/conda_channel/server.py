"""Serves a channel's folder from loopback, as servers of channels do: conditions, parts, tokens in the path, logins.

With `tokens` a path must begin with ``/t/TOKEN/``; with `login` or `bearer` the request must carry that. What is refused is
answered as by the public servers: 401 without a login, 403 with a wrong one, 404 without a token.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote


@dataclass
class ChannelServer:
    """`url` is where the folder is served, with the first token in it; `seen` are the paths asked for, with the status."""

    folder: Path
    port: int = 0
    tokens: tuple[str, ...] = ()
    login: str = ""
    bearer: str = ""
    seen: list[tuple[str, int]] = field(default_factory=list)

    @property
    def plain_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """With credentials: what somebody would write into a file who does not know better."""
        login = f"{self.login}@" if self.login else ""
        return f"http://{login}127.0.0.1:{self.port}" + (f"/t/{self.tokens[0]}" if self.tokens else "")


@contextmanager
def serve_channel(folder: Path, *, tokens: Collection[str] = (), login: str = "", bearer: str = "") -> Iterator[ChannelServer]:
    """Serve while the context is open. `login` is ``USER:PASSWORD``."""
    state = ChannelServer(folder=folder, tokens=tuple(tokens), login=login, bearer=bearer)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body go in two writes
    state: ChannelServer

    def do_GET(self) -> None:
        status, path = self._find()
        if status != 200:
            self._begin(status, 0, {"WWW-Authenticate": "Basic"} if status == 401 else {})
            return
        size = path.stat().st_size
        etag = f'"{hashlib.sha256(f"{path.stat().st_mtime_ns} {size}".encode()).hexdigest()[:16]}"'
        if self.headers.get("If-None-Match") == etag:
            self._begin(304, 0, {"ETag": etag})
            return
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0] or 0)
        part = {"Content-Range": f"bytes {start}-{size - 1}/{size}"} if start else {}
        self._begin(206 if start else 200, size - start, {"ETag": etag, **part})
        if self.command == "GET":
            self.wfile.flush()
            with path.open("rb") as file:
                self.connection.sendfile(file, start)

    do_HEAD = do_GET  # noqa: N815 - the name http.server asks for

    def _find(self) -> tuple[int, Path]:
        state, path = self.state, unquote(self.path.partition("?")[0])
        sent = self.headers.get("Authorization", "")
        wanted = f"Basic {base64.b64encode(state.login.encode()).decode()}" if state.login else f"Bearer {state.bearer}"
        if (state.login or state.bearer) and sent != wanted:
            return (403 if sent else 401), state.folder
        if state.tokens:
            token = path.removeprefix("/t/").partition("/")[0] if path.startswith("/t/") else ""
            if token not in state.tokens:
                return 404, state.folder
            path = path.removeprefix(f"/t/{token}")
        found = (state.folder / path.lstrip("/")).resolve()
        return (200 if found.is_file() and found.is_relative_to(state.folder.resolve()) else 404), found

    def _begin(self, status: int, size: int, headers: dict[str, str]) -> None:
        self.state.seen.append((self.path, status))
        self.send_response(status)
        if status != 304:
            self.send_header("Content-Length", str(size))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""
