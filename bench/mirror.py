"""A package index on loopback, the same for every tool, so that the network decides nothing.

Serves a folder of wheels as PEP 503 pages with sha256 fragments, and each wheel's METADATA beside it (PEP 658), so
that nobody has to fetch a wheel to learn what it needs. Files go out by sendfile: the server takes little of the CPU.
"""

from __future__ import annotations

import hashlib
import html
import re
import threading
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@contextmanager
def serve_wheels(*folders: Path) -> Iterator[str]:
    """Serve while the context is open; gives the index's URL."""
    files = {path.name: path for folder in folders for path in sorted(folder.glob("*.whl"))}
    handler = type("Handler", (_Handler,), {"files": files, "pages": _render_pages(files)})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@cache
def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _render_pages(files: dict[str, Path]) -> dict[str, bytes]:
    links = defaultdict(list)
    for name, path in files.items():
        project = re.sub(r"[-_.]+", "-", name.partition("-")[0]).lower()
        metadata = hashlib.sha256(_read_metadata(path)).hexdigest()
        address = f'href="/files/{html.escape(name)}#sha256={sha256_of(path)}" data-core-metadata="sha256={metadata}"'
        links[project].append(f"<a {address}>{html.escape(name)}</a><br>")
    return {project: f"<!DOCTYPE html><body>{''.join(lines)}</body>".encode() for project, lines in links.items()}


def _read_metadata(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        return archive.read(name)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body go in two writes
    files: dict[str, Path]
    pages: dict[str, bytes]

    def do_GET(self) -> None:
        kind, _, name = self.path.strip("/").partition("/")
        if kind == "simple" and name in self.pages:
            self._answer(self.pages[name], "text/html")
        elif kind == "files" and name in self.files:
            self._send(self.files[name])
        elif kind == "files" and name.removesuffix(".metadata") in self.files:
            self._answer(_read_metadata(self.files[name.removesuffix(".metadata")]), "text/plain")
        else:
            self._answer(b"", "text/plain", 404)

    do_HEAD = do_GET  # noqa: N815 - the name http.server asks for

    def _send(self, path: Path) -> None:
        self._begin(200, "application/octet-stream", path.stat().st_size)
        if self.command == "HEAD":
            return
        self.wfile.flush()
        with path.open("rb") as file:
            self.connection.sendfile(file)

    def _answer(self, body: bytes, kind: str, status: int = 200) -> None:
        self._begin(status, kind, len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def _begin(self, status: int, kind: str, size: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        if status == 200:  # as public indexes say it: clients may keep what they got
            self.send_header(
                "Cache-Control", "max-age=600, public" if kind == "text/html" else "max-age=31536000, immutable, public"
            )
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""
