"""A registry in this process, on loopback, with switches for everything that registries do wrong.

    with RegistrySimulator() as registry:
        reference = f"{registry.host}/team/model:1"       # 127.0.0.1:PORT
        registry.behaviour.bearer = True                  # switches may be turned at any time
        registry.add_blob("team/base", b"...")            # put things there without a client
        registry.fail(503, method="PUT", path="/blobs/")  # the next matching request
        ...
        assert registry.count("PUT", "/manifests/") == 2
        assert registry.bytes_in < 10_000                 # bodies received; bytes_out: bodies sent

Speaks OCI distribution-spec 1.1: blobs (monolithic, chunked, mounted, with Range), manifests, tags with pages,
referrers no. It verifies digests as a real one does, and refuses manifests whose blobs it lacks. State is plain
dictionaries: look into `repositories` or change them. All methods may be called while clients are at work.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

USER, PASSWORD = "captain", "s3cret-pässword"  # what `basic` and `bearer` accept
IDENTITY = "identity-token-of-the-captain"

_UPLOADS = re.compile(r"/v2/(.+)/blobs/uploads/([0-9a-f]*)")
_BLOB = re.compile(r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})")
_MANIFEST = re.compile(r"/v2/(.+)/manifests/([A-Za-z0-9_:.-]+)")
_TAGS = re.compile(r"/v2/(.+)/tags/list")


@dataclass
class Behaviour:
    """Switches. The defaults are a well-behaved, anonymous registry."""

    basic: bool = False  # wants USER and PASSWORD with every request
    bearer: bool = False  # wants a token from its own /token, which wants USER and PASSWORD, or IDENTITY
    anonymous_pull: bool = False  # with `bearer`: tokens for pulling are given to anybody
    realm: str = ""  # another token server than its own
    token_seconds: int = 300  # how long tokens live; after that they are refused
    grants_mount_scope: bool = True  # False: the token server gives no token that reads a second repository
    mount: bool = True  # False: answers a mount with an upload session, as the specification allows
    ranges: bool = True  # False: ignores Range and sends the whole
    patch: bool = True  # False: 405 to PATCH
    tells_offset: bool = True  # False: no Range header with uploads, 404 to a question for their state
    conditional_tags: bool = False  # honours If-None-Match: * when a tag is written
    immutable_tags: bool = False  # refuses every second write of a tag
    deletes: bool = True  # False: 405 to DELETE
    page: int = 0  # tags per page; 0: all at once
    manifest_type: str = ""  # lies about the Content-Type of manifests
    wrong_bytes: bool = False  # flips a bit in blobs and manifests that it sends
    longer_bytes: int = 0  # sends so many bytes too many, and announces them
    cut_after: int = 0  # ends connections after so many bytes of a blob's body; 0: never
    cuts: int = 1_000_000  # how often `cut_after` (down) and `cut_upload_after` (up) strike
    cut_upload_after: int = 0  # ends connections after so many bytes of an upload
    stall: float = 0.0  # seconds of silence in the middle of a blob
    slow_tags: float = 0.0  # seconds between looking at the tags and answering
    redirect: str = ""  # blobs are told to lie at this base URL, such as another simulator's `url`
    sends_digest: bool = True  # the Docker-Content-Digest header
    needs_blobs: bool = True  # refuses manifests whose blobs or manifests are missing


@dataclass
class Repository:
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)  # digest → bytes, media type
    tags: dict[str, str] = field(default_factory=dict)  # tag → digest


@dataclass(frozen=True)
class Seen:
    """A request as it came in: `authorization` is the header or empty."""

    method: str
    path: str  # with the query
    authorization: str
    range: str
    status: int  # 0: no answer was given


@dataclass
class _Failure:
    status: int
    method: str
    path: str
    skip: int
    times: int
    headers: dict[str, str]
    body: bytes


class RegistrySimulator:
    """The registry; use as a context manager, or `start` and `stop`. It also serves as an http proxy in front of itself."""

    def __init__(self, behaviour: Behaviour | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.repositories: dict[str, Repository] = {}
        self.seen: list[Seen] = []
        self.bytes_in = 0
        self.bytes_out = 0
        self.tokens: dict[str, tuple[set[str], float]] = {}
        self.uploads: dict[str, tuple[str, bytearray]] = {}
        self.lock = threading.RLock()
        self.quiet = threading.Event()  # set when the simulator stops: ends stalls
        self._failures: list[_Failure] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.simulator = self
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "https" if tls else "http"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    # -- life

    def start(self) -> RegistrySimulator:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.quiet.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> RegistrySimulator:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    # -- what tests say to it

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT``, the registry's part of a reference."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.host}"

    def repository(self, name: str) -> Repository:
        with self.lock:
            return self.repositories.setdefault(name, Repository())

    def add_blob(self, repository: str, data: bytes) -> str:
        """Put a blob; gives its digest."""
        digest = _digest(data)
        self.repository(repository).blobs[digest] = data
        return digest

    def add_manifest(self, repository: str, raw: bytes, media_type: str, tag: str | None = None) -> str:
        """Put a manifest, unchecked; gives its digest."""
        digest = _digest(raw)
        with self.lock:
            place = self.repository(repository)
            place.manifests[digest] = (raw, media_type)
            if tag:
                place.tags[tag] = digest
        return digest

    def fail(
        self,
        status: int,
        *,
        method: str = "",
        path: str = "",
        after: int = 0,
        times: int = 1,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        """Answer matching requests with `status`: those whose path contains `path`, from the `after`-th on, `times` times."""
        with self.lock:
            self._failures.append(_Failure(status, method, path, after, times, headers or {}, body))

    def count(self, method: str = "", path: str = "") -> int:
        """How many requests came whose path contains `path`."""
        with self.lock:
            return sum((not method or one.method == method) and path in one.path for one in self.seen)

    def forget(self) -> None:
        """Start counting anew."""
        with self.lock:
            self.seen.clear()
            self.bytes_in = self.bytes_out = 0

    # -- what the handler asks

    def next_failure(self, method: str, path: str) -> _Failure | None:
        with self.lock:
            for failure in self._failures:
                if (failure.method and failure.method != method) or failure.path not in path or not failure.times:
                    continue
                if failure.skip:
                    failure.skip -= 1
                    continue
                failure.times -= 1
                return failure
        return None

    def take_cut(self) -> bool:
        with self.lock:
            if self.behaviour.cuts <= 0:
                return False
            self.behaviour.cuts -= 1
            return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    simulator: RegistrySimulator

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what many tests are about."""


class _Cut(Exception):
    """The connection is to end here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 30

    @property
    def simulator(self) -> RegistrySimulator:
        return self.server.simulator

    @property
    def behaviour(self) -> Behaviour:
        return self.server.simulator.behaviour

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Quiet."""

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the base class looks for these names

    # -- one request

    def _serve(self) -> None:
        self._noted = False
        self._left = int(self.headers.get("Content-Length") or 0)
        failure = self.simulator.next_failure(self.command, self.path)
        try:
            if failure:
                self._drain()
                self._reply(failure.status, failure.body, **failure.headers)
            elif urlsplit(self.path).path == "/token":
                self._serve_token()
            elif self._is_allowed():
                self._route()
        except _Cut:
            self.close_connection = True
        finally:
            self._note(0)
        if self._left:
            self.close_connection = True

    def _note(self, status: int) -> None:
        """Count the request once, before its answer goes out: a test may look right after it."""
        if not self._noted:
            self._noted = True
            known = (self.headers.get("Authorization", ""), self.headers.get("Range", ""))
            with self.simulator.lock:
                self.simulator.seen.append(Seen(self.command, self.path, *known, status))

    def _route(self) -> None:
        path = urlsplit(self.path).path
        for pattern, serve in (
            (_UPLOADS, self._serve_upload),
            (_BLOB, self._serve_blob),
            (_MANIFEST, self._serve_manifest),
            (_TAGS, self._serve_tags),
        ):
            match = pattern.fullmatch(path)
            if match:
                serve(*match.groups())
                return
        self._drain()
        self._reply(200 if path == "/v2/" else 404, b"{}")

    def _query(self, name: str) -> str:
        return parse_qs(urlsplit(self.path).query).get(name, [""])[0]

    def _reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self._note(status)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status not in (204, 304) and "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self._send(body)

    def _refuse(self, status: int, code: str, message: str = "", **headers: str) -> None:
        self._drain()
        body = json.dumps({"errors": [{"code": code, "message": message or code.lower().replace("_", " ")}]}).encode()
        self._reply(status, body, Content_Type="application/json", **headers)

    def _send(self, data: bytes) -> None:
        with self.simulator.lock:
            self.simulator.bytes_out += len(data)
        self.wfile.write(data)

    def _read(self) -> bytes:
        """Some of the request's body; empty at its end."""
        data = self.rfile.read1(min(self._left, 1 << 16)) if self._left else b""
        if self._left and not data:
            raise _Cut
        self._left -= len(data)
        with self.simulator.lock:
            self.simulator.bytes_in += len(data)
        return data

    def _drain(self) -> bytes:
        body = bytearray()
        while data := self._read():
            body += data
        return bytes(body)

    # -- logins

    def _is_allowed(self) -> bool:
        sent = self.headers.get("Authorization", "")
        if self.behaviour.basic and sent != basic_header():
            self._refuse(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="simulator"')
            return False
        if self.behaviour.bearer:
            needed = self._needed_scopes()
            scopes, ends = self.simulator.tokens.get(sent.removeprefix("Bearer "), (set(), 0.0))
            if not needed <= scopes or ends < time.monotonic():
                realm = self.behaviour.realm or f"{self.simulator.url}/token"
                scope = f',scope="{" ".join(sorted(needed))}"' if needed else ""
                challenge = f'Bearer realm="{realm}",service="simulator"{scope}'
                self._refuse(401, "UNAUTHORIZED", WWW_Authenticate=challenge)
                return False
        return True

    def _needed_scopes(self) -> set[str]:
        match = re.match(r"/v2/(.+?)/(?:blobs|manifests|tags)/", self.path)
        if not match:
            return set()
        needed = {f"{match[1]}:pull"}
        if self.command not in ("GET", "HEAD") or "/uploads/" in self.path:
            needed.add(f"{match[1]}:push")
        return needed

    def _serve_token(self) -> None:
        form = parse_qs(self._drain().decode() or urlsplit(self.path).query)
        known = self.headers.get("Authorization") == basic_header() or form.get("refresh_token") == [IDENTITY]
        asked = {piece for text in form.get("scope", []) for piece in text.split()}
        scopes = {f"{name}:{action}" for _, name, actions in map(_split_scope, asked) for action in actions}
        if not known and not (self.behaviour.anonymous_pull and all(scope.endswith(":pull") for scope in scopes)):
            self._refuse(401, "UNAUTHORIZED", "incorrect username or password")
            return
        names = {scope.rpartition(":")[0] for scope in scopes}
        if len(names) > 1 and not self.behaviour.grants_mount_scope:
            self._refuse(403, "DENIED")
            return
        token = secrets.token_urlsafe(16)
        self.simulator.tokens[token] = (scopes, time.monotonic() + self.behaviour.token_seconds)
        body = json.dumps({"token": token, "expires_in": self.behaviour.token_seconds}).encode()
        self._reply(200, body, Content_Type="application/json")

    # -- blobs

    def _serve_blob(self, name: str, digest: str) -> None:
        self._drain()
        data = self.simulator.repository(name).blobs.get(digest)
        if self.command not in ("GET", "HEAD"):
            self._refuse(405, "UNSUPPORTED")
        elif data is None:
            self._refuse(404, "BLOB_UNKNOWN")
        elif self.behaviour.redirect and self.command == "GET":
            self._reply(307, Location=f"{self.behaviour.redirect}{self.path}?signature=secret")
        else:
            self._send_blob(data, digest)

    def _send_blob(self, data: bytes, digest: str) -> None:
        behaviour = self.behaviour
        if behaviour.wrong_bytes and data:
            data = bytes([data[0] ^ 1]) + data[1:]
        data += b"x" * behaviour.longer_bytes
        start, headers, status = 0, {"Docker_Content_Digest": digest}, 200
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and behaviour.ranges:
            start, status = int(asked[1]), 206
            headers["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = data[start:]
        self._reply(status, b"", Content_Length=str(len(body)), Content_Type="application/octet-stream", **headers)
        if self.command == "HEAD":
            return
        if behaviour.stall:
            self._send(body[: len(body) // 2])
            self.wfile.flush()
            self.simulator.quiet.wait(behaviour.stall)
            raise _Cut
        if behaviour.cut_after and len(body) > behaviour.cut_after and self.simulator.take_cut():
            self._send(body[: behaviour.cut_after])
            raise _Cut
        for position in range(0, len(body), 1 << 16):
            self._send(body[position : position + (1 << 16)])

    def _serve_upload(self, name: str, upload: str) -> None:
        if self.command == "POST":
            self._drain()
            self._begin_upload(name)
        elif upload not in self.simulator.uploads:
            self._refuse(404, "BLOB_UPLOAD_UNKNOWN")
        elif self.command == "PATCH":
            self._serve_patch(name, upload)
        elif self.command == "PUT":
            self._serve_put(name, upload)
        elif self.command == "DELETE":
            self._drain()
            del self.simulator.uploads[upload]
            self._reply(204)
        elif self.behaviour.tells_offset:
            self._reply(204, **self._upload_state(name, upload))
        else:
            self._refuse(404, "UNSUPPORTED")

    def _begin_upload(self, name: str) -> None:
        digest, source = self._query("mount"), self._query("from")
        found = self.simulator.repository(source).blobs.get(digest) if source and self.behaviour.mount else None
        if digest and found is not None and self._may_read(source):
            self.simulator.repository(name).blobs[digest] = found
            self._reply(201, Location=f"/v2/{name}/blobs/{digest}", Docker_Content_Digest=digest)
            return
        upload = secrets.token_hex(8)
        self.simulator.uploads[upload] = (name, bytearray())
        self._reply(202, **self._upload_state(name, upload))

    def _may_read(self, name: str) -> bool:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return not self.behaviour.bearer or f"{name}:pull" in self.simulator.tokens[token][0]

    def _upload_state(self, name: str, upload: str) -> dict[str, str]:
        length = len(self.simulator.uploads[upload][1])
        headers = {"Location": f"/v2/{name}/blobs/uploads/{upload}?state={length}"}
        if self.behaviour.tells_offset:
            headers["Range"] = f"0-{max(length - 1, 0)}"
        return headers

    def _serve_patch(self, name: str, upload: str) -> None:
        received = self.simulator.uploads[upload][1]
        first = re.match(r"(\d+)-", self.headers.get("Content-Range", "0-"))
        if not self.behaviour.patch:
            self._refuse(405, "UNSUPPORTED")
        elif not first or int(first[1]) != len(received):
            self._refuse(416, "RANGE_INVALID")
        else:
            self._receive(received)
            self._reply(202, **self._upload_state(name, upload))

    def _receive(self, received: bytearray) -> None:
        cut = self.behaviour.cut_upload_after
        count = 0
        while data := self._read():
            received += data
            count += len(data)
            if cut and count >= cut and self._left and self.simulator.take_cut():
                raise _Cut

    def _serve_put(self, name: str, upload: str) -> None:
        received = self.simulator.uploads[upload][1]
        self._receive(received)
        digest = self._query("digest")
        with self.simulator.lock:
            self.simulator.uploads.pop(upload, None)
        if _digest(bytes(received)) != digest:
            self._refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
            return
        self.simulator.repository(name).blobs[digest] = bytes(received)
        self._reply(201, Location=f"/v2/{name}/blobs/{digest}", Docker_Content_Digest=digest)

    # -- manifests and tags

    def _serve_manifest(self, name: str, what: str) -> None:
        body = self._drain()
        repository = self.simulator.repository(name)
        if self.command == "PUT":
            self._store_manifest(repository, what, body)
            return
        if self.command == "DELETE":
            self._delete_manifest(repository, what)
            return
        with self.simulator.lock:
            digest = repository.tags.get(what, what)
            raw, media_type = repository.manifests.get(digest, (b"", ""))
        if not raw:
            self._refuse(404, "MANIFEST_UNKNOWN")
            return
        if self.behaviour.wrong_bytes:
            raw = raw[:-1] + b" }"
        headers = {"Docker_Content_Digest": digest} if self.behaviour.sends_digest else {}
        self._reply(200, raw, Content_Type=self.behaviour.manifest_type or media_type, **headers, **self._length(raw))

    def _length(self, raw: bytes) -> dict[str, str]:
        return {"Content_Length": str(len(raw))}

    def _store_manifest(self, repository: Repository, what: str, raw: bytes) -> None:
        digest, behaviour = _digest(raw), self.behaviour
        if what.startswith("sha256:") and what != digest:
            self._refuse(400, "DIGEST_INVALID")
            return
        if behaviour.needs_blobs and not _is_complete(repository, json.loads(raw)):
            self._refuse(400, "MANIFEST_BLOB_UNKNOWN")
            return
        with self.simulator.lock:
            exists = what in repository.tags
            guarded = behaviour.conditional_tags and self.headers.get("If-None-Match") == "*"
            refused = exists and (guarded or behaviour.immutable_tags)
            if not refused:
                repository.manifests[digest] = (raw, self.headers.get("Content-Type", ""))
                if not what.startswith("sha256:"):
                    repository.tags[what] = digest
        if refused:
            self._refuse(412 if guarded else 409, "DENIED", "the tag exists")
            return
        self._reply(201, Docker_Content_Digest=digest)

    def _delete_manifest(self, repository: Repository, digest: str) -> None:
        if not self.behaviour.deletes:
            self._refuse(405, "UNSUPPORTED")
            return
        with self.simulator.lock:
            found = repository.manifests.pop(digest, None)
            for tag in [tag for tag, meant in repository.tags.items() if meant == digest]:
                del repository.tags[tag]
        self._reply(202 if found else 404)

    def _serve_tags(self, name: str) -> None:
        with self.simulator.lock:
            known = name in self.simulator.repositories
            tags = sorted(self.simulator.repository(name).tags)
        if self.behaviour.slow_tags:
            self.simulator.quiet.wait(self.behaviour.slow_tags)
        if not known:
            self._refuse(404, "NAME_UNKNOWN")
            return
        headers = {}
        last = self._query("last")
        page = [tag for tag in tags if tag > last]
        if self.behaviour.page and len(page) > self.behaviour.page:
            page = page[: self.behaviour.page]
            headers["Link"] = f'</v2/{name}/tags/list?n={self.behaviour.page}&last={page[-1]}>; rel="next"'
        self._reply(200, json.dumps({"name": name, "tags": page or None}).encode(), Content_Type="application/json", **headers)


def basic_header(user: str = USER, password: str = PASSWORD) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _split_scope(text: str) -> tuple[str, str, list[str]]:
    kind, _, rest = text.partition(":")
    name, _, actions = rest.rpartition(":")
    return kind, name, actions.split(",")


def _is_complete(repository: Repository, document: dict[str, Any]) -> bool:
    blobs = [*([document["config"]] if "config" in document else []), *document.get("layers", [])]
    manifests = document.get("manifests", [])
    return all(part["digest"] in repository.blobs for part in blobs) and all(
        part["digest"] in repository.manifests for part in manifests
    )
