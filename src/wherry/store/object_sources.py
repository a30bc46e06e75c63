"""Where an object's bytes come from: Azure Blob, S3, Google's store (by obstore), a web server, a file.

Credentials are each cloud's own: variables, files, the machine's identity; none stands in an address. A web server is asked in
ranges only if it gives them and says a strong ETag; else its object comes in one piece and is never gone on with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from wherry.errors import StoreError, TransferError
from wherry.formats.object_address import ObjectAddress
from wherry.store.http import FAILURES, PASSING, ConnectionProblem, Connections, Response, discard
from wherry.store.object_download import ObjectSource
from wherry.store.objects_remote import RemoteObjects
from wherry.store.part_file import ObjectFacts
from wherry.store.posix import explain_os_errors

_PIECE = 1 << 20
_CHANGED = "it changed while it was downloaded"
_TOTAL = re.compile(r"bytes (?:0-0|\*)/(\d{1,18})")
_LEAVE = "leave it as it is while tasks run, and say its sha256"


class ObjectSources:
    """Opens sources. `env` is where endpoints, proxies and certificates are read; connections are kept."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._stores: dict[str, RemoteObjects] = {}
        self._web: Connections | None = None

    def open(self, address: ObjectAddress) -> ObjectSource:
        if address.scheme == "file":
            return FileSource(address)
        if address.scheme in ("http", "https"):
            self._web = self._web or Connections(self._env, connect=10.0, stall=60.0)
            return WebSource(address, self._web)
        return RemoteSource(address, self._store(address))

    def list_folder(self, address: ObjectAddress) -> Iterator[str]:
        """Names of what lies in a folder, with ``/`` between; in no order."""
        if address.scheme == "file":
            root = Path(f"/{address.key}")
            with explain_os_errors(root):
                yield from (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        elif address.scheme in ("http", "https"):
            raise StoreError("a web server lists no folder", where=str(address), hint='manifest = "FILE" as sha256sum writes it')
        else:
            for page in self._store(address).list(address.key):
                yield from (one.key.removeprefix(address.key) for one in page if not one.key.endswith("/"))

    def _store(self, address: ObjectAddress) -> RemoteObjects:
        if address.root not in self._stores:
            self._stores[address.root] = RemoteObjects(address.root, self._env)
        return self._stores[address.root]


class RemoteSource:
    """An object of a bucket or container."""

    def __init__(self, address: ObjectAddress, store: RemoteObjects) -> None:
        self.address = str(address)
        self._key, self._store = address.key, store

    def describe(self) -> ObjectFacts | None:
        found = self._store.describe(self._key)
        return None if found is None else ObjectFacts(size=found[0], version=found[1])

    def stream(self, offset: int, length: int, version: str | None) -> Iterator[bytes]:
        return self._store.stream(self._key, offset, length, version)


class FileSource:
    """A file that this machine sees; its version is that of its time and place."""

    def __init__(self, address: ObjectAddress) -> None:
        self.address = str(address)
        self._path = Path(f"/{address.key}")

    def describe(self) -> ObjectFacts | None:
        with explain_os_errors(self._path):
            try:
                state = self._path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return ObjectFacts(size=state.st_size, version=f"{state.st_mtime_ns:x}-{state.st_ino:x}-{state.st_size:x}")

    def stream(self, offset: int, length: int, version: str | None) -> Iterator[bytes]:
        with explain_os_errors(self._path), self._path.open("rb") as file:
            file.seek(offset)
            while length > 0 and (data := file.read(min(length, _PIECE))):
                length -= len(data)
                yield data
            if (facts := self.describe()) is None or facts.version != version:
                raise StoreError(_CHANGED, where=self.address, hint=_LEAVE)


class WebSource:
    """What a web server has; a folder's lists are not read."""

    def __init__(self, address: ObjectAddress, web: Connections) -> None:
        self.address = str(address)
        self._url = f"{address.root}/{quote(address.key, safe='/%~')}"
        self._web = web

    def describe(self) -> ObjectFacts | None:
        """Asks for the first byte, which shows whether there are ranges, too, and is allowed where HEAD is not."""
        answer = self._ask("GET", {"Range": "bytes=0-0"})
        discard(answer)
        if answer.status in (404, 410):
            return None
        found = _TOTAL.fullmatch(answer.headers.get("Content-Range", "")) if answer.status in (206, 416) else None
        length = found[1] if found else answer.headers.get("Content-Length", "") if answer.status == 200 else ""
        if not length.isdecimal():
            raise self._explain(answer, "the server does not say how large it is")
        tag = answer.headers.get("ETag", "")
        return ObjectFacts(size=int(length), version=tag if found and tag.startswith('"') else None)

    def stream(self, offset: int, length: int, version: str | None) -> Iterator[bytes]:
        wanted = {"Range": f"bytes={offset}-{offset + length - 1}", "If-Match": version} if version else {}
        answer = self._ask("GET", wanted)
        with closing(answer):
            if answer.status in (404, 410, 412) or (version and answer.headers.get("ETag") not in (None, version)):
                raise StoreError(_CHANGED, where=self.address, hint=_LEAVE)
            if answer.status != (206 if version else 200):
                raise self._explain(answer, "the server gives other bytes than it was asked for")
            if version and not answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
                raise StoreError("the server gives other bytes than it was asked for", where=self.address)
            try:
                while data := answer.read(_PIECE):
                    yield data
            except FAILURES:
                raise TransferError("the connection was cut", where=self.address) from None

    def _ask(self, method: str, headers: Mapping[str, str]) -> Response:
        try:
            return self._web.exchange(method, self._url, headers).response
        except ConnectionProblem as problem:
            raise TransferError(f"{problem.failure.value}: {problem.brief}", where=self.address) from None

    def _explain(self, answer: Response, otherwise: str) -> StoreError | TransferError:
        if answer.status in PASSING:
            return TransferError(f"the server says {answer.status}", where=self.address)
        if answer.status in (401, 403):
            return StoreError(f"no access: the server says {answer.status}", where=self.address)
        return StoreError(otherwise if answer.status < 300 else f"the server says {answer.status}", where=self.address)
