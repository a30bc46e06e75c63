"""A Python package index on loopback (PEP 503 and 691), with faults on request, and a maker of tiny wheels."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

FIXED = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    name: str
    version: str
    file: str
    data: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def make_wheel(
    name: str, version: str, *, tag: str = "py3-none-any", requires: Sequence[str] = (), padding: int = 0, build: str = ""
) -> Wheel:
    """A wheel that pip would install: one module, METADATA, WHEEL, RECORD."""
    module = re.sub(r"[-_.]+", "_", name)
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {r}\n" for r in requires)
    members = {
        f"{module}/__init__.py": f"VERSION = {version!r}\n{build}".encode() + b"#" * padding,
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: simulator\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    lines = []
    for path, data in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(data)}\n")
    members[f"{info}/RECORD"] = ("".join(lines) + f"{info}/RECORD,,\n").encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, data in members.items():
            archive.writestr(zipfile.ZipInfo(path, FIXED), data)
    return Wheel(name=name, version=version, file=f"{module}-{version}-{tag}.whl", data=buffer.getvalue())


class PythonIndex:
    """Serves ``/simple/NAME/`` and ``/files/FILE``. Faults are used up one a request, first in, first out.

    Fault words: a status such as ``429``; ``cut:N`` (N bytes, then the connection ends); ``stall`` (never answers);
    ``wrong`` (other bytes of the same length); ``short`` (half of it, and says that this is all).
    """

    def __init__(self, *, json_pages: bool = False, digests: bool = True, credentials: tuple[str, str] | None = None) -> None:
        self.json_pages = json_pages
        self.digests = digests
        self.credentials = credentials
        self.ranges = True
        self.heads = True
        self.wheels: list[Wheel] = []
        self.extra_pages: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.faults: dict[str, list[str]] = {}
        self.requests: list[tuple[str, str, str]] = []  # method, path, Range
        self.authorizations: list[str] = []
        self._released = threading.Event()
        index = self

        class Handler(_Handler):
            simulator = index

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> PythonIndex:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.root}/simple"

    def url_with_credentials(self) -> str:
        assert self.credentials is not None
        return self.url.replace("://", f"://{self.credentials[0]}:{self.credentials[1]}@")

    def add(self, *wheels: Wheel) -> None:
        self.wheels.extend(wheels)

    def file_url(self, wheel: Wheel) -> str:
        return f"{self.root}/files/{wheel.file}"

    def fail(self, path: str, *words: str) -> None:
        self.faults.setdefault(path, []).extend(words)

    def downloads(self, wheel: Wheel) -> list[tuple[str, str, str]]:
        return [request for request in self.requests if request[1] == f"/files/{wheel.file}" and request[0] == "GET"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body go in two writes
    simulator: PythonIndex

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self) -> None:
        index = self.simulator
        index.requests.append((self.command, self.path, self.headers.get("Range", "")))
        index.authorizations.append(self.headers.get("Authorization", ""))
        if index.credentials is not None:
            expected = base64.b64encode(":".join(index.credentials).encode()).decode()
            if self.headers.get("Authorization") != f"Basic {expected}":
                return self._send(401, b"")
        if self.path in index.redirects:
            return self._send(302, b"", {"Location": index.redirects[self.path]})
        words = index.faults.get(self.path, [])
        word = words.pop(0) if words else ""
        if word.isdigit():
            return self._send(int(word), b"no", {"Retry-After": "0"})
        if word == "stall":
            index._released.wait(30)
            self.close_connection = True
            return None
        if self.command == "HEAD" and not index.heads:
            return self._send(405, b"")
        data, kind = self._find()
        if data is None:
            return self._send(404, b"not here")
        return self._send_file(data, kind, word)

    def _find(self) -> tuple[bytes | None, str]:
        index = self.simulator
        if self.path in index.extra_pages:
            return index.extra_pages[self.path], "text/html"
        if self.path.startswith("/files/"):
            found = next((wheel for wheel in index.wheels if self.path == f"/files/{wheel.file}"), None)
            return (found.data if found else None), "application/octet-stream"
        name = self.path.removeprefix("/simple/").strip("/")
        wheels = [wheel for wheel in index.wheels if re.sub(r"[-_.]+", "-", wheel.name).lower() == name]
        if not wheels:
            return None, ""
        if index.json_pages:
            files = [
                {"filename": wheel.file, "url": f"../../files/{wheel.file}", "size": len(wheel.data),
                 "hashes": {"sha256": wheel.sha256} if index.digests else {}}
                for wheel in wheels
            ]  # fmt: skip
            page = {"meta": {"api-version": "1.1"}, "name": name, "files": files, "versions": []}
            return json.dumps(page).encode(), "application/vnd.pypi.simple.v1+json"
        links = "".join(
            f'<a href="../../files/{wheel.file}{f"#sha256={wheel.sha256}" if index.digests else ""}">{wheel.file}</a>\n'
            for wheel in wheels
        )
        return f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html"

    def _send_file(self, data: bytes, kind: str, word: str) -> None:
        if word == "wrong":
            data = bytes(byte ^ 1 for byte in data)
        if word == "short":
            data = data[: len(data) // 2]
        start = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        status, headers, body = 200, {"Content-Type": kind}, data
        if start[0].isdigit() and self.simulator.ranges:
            first = int(start[0])
            last = int(start[2]) if start[2] else len(data) - 1
            status, body = 206, data[first : last + 1]
            headers["Content-Range"] = f"bytes {first}-{first + len(body) - 1}/{len(data)}"
        if word.startswith("cut:"):
            self._head(status, len(body), headers)
            self.wfile.write(body[: int(word.removeprefix("cut:"))])
            self.wfile.flush()
            self.close_connection = True
            return
        self._send(status, body, headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._head(status, len(body), headers or {})
        if self.command != "HEAD":
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
