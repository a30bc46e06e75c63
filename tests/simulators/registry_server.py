"""Answers a registry's clients out of a `RegistryState`: OCI distribution-spec 1.1, and all that can go wrong with it."""

from __future__ import annotations

import json
import re
import secrets
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.simulators.registry_state import IDENTITY, Behaviour, RegistryState, Repository, Seen, basic_header, digest_of

_UPLOADS = re.compile(r"/v2/(.+)/blobs/uploads/([0-9a-f]*)")
_BLOB = re.compile(r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})")
_MANIFEST = re.compile(r"/v2/(.+)/manifests/([A-Za-z0-9_:.-]+)")
_TAGS = re.compile(r"/v2/(.+)/tags/list")
_REFERRERS = re.compile(r"/v2/(.+)/referrers/(sha256:[0-9a-f]{64})")


class RegistryServer(ThreadingHTTPServer):
    daemon_threads = True
    state: RegistryState
    url: str

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what many tests are about."""


class _Cut(Exception):
    """The connection is to end here."""


class RegistryHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RegistryServer
    timeout = 30
    disable_nagle_algorithm = True  # headers and body go in two writes: else each answer waits 40 ms for an acknowledgement

    @property
    def state(self) -> RegistryState:
        return self.server.state

    @property
    def behaviour(self) -> Behaviour:
        return self.server.state.behaviour

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Quiet."""

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the base class looks for these names

    # -- one request

    def _serve(self) -> None:
        self._noted = False
        self._left = int(self.headers.get("Content-Length") or 0)
        failure = self.state.next_failure(self.command, self.path)
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
            with self.state.lock:
                self.state.seen.append(Seen(self.command, self.path, *known, status))

    def _route(self) -> None:
        path = urlsplit(self.path).path
        for pattern, serve in (
            (_UPLOADS, self._serve_upload),
            (_BLOB, self._serve_blob),
            (_MANIFEST, self._serve_manifest),
            (_TAGS, self._serve_tags),
            (_REFERRERS, self._serve_referrers),
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
        with self.state.lock:
            self.state.bytes_out += len(data)
        self.wfile.write(data)

    def _read(self) -> bytes:
        """Some of the request's body; empty at its end."""
        data = self.rfile.read1(min(self._left, 1 << 16)) if self._left else b""
        if self._left and not data:
            raise _Cut
        self._left -= len(data)
        with self.state.lock:
            self.state.bytes_in += len(data)
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
            scopes, ends = self.state.tokens.get(sent.removeprefix("Bearer "), (set(), 0.0))
            if not needed <= scopes or ends < time.monotonic():
                realm = self.behaviour.realm or f"{self.server.url}/token"
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
        self.state.tokens[token] = (scopes, time.monotonic() + self.behaviour.token_seconds)
        body = json.dumps({"token": token, "expires_in": self.behaviour.token_seconds}).encode()
        self._reply(200, body, Content_Type="application/json")

    # -- blobs

    def _serve_blob(self, name: str, digest: str) -> None:
        self._drain()
        data = self.state.repository(name).blobs.get(digest)
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
            self.state.quiet.wait(behaviour.stall)
            raise _Cut
        if behaviour.cut_after and len(body) > behaviour.cut_after and self.state.take_cut():
            self._send(body[: behaviour.cut_after])
            raise _Cut
        for position in range(0, len(body), 1 << 16):
            self._send(body[position : position + (1 << 16)])

    def _serve_upload(self, name: str, upload: str) -> None:
        if self.command == "POST":
            self._drain()
            self._begin_upload(name)
        elif upload not in self.state.uploads:
            self._refuse(404, "BLOB_UPLOAD_UNKNOWN")
        elif self.command == "PATCH":
            self._serve_patch(name, upload)
        elif self.command == "PUT":
            self._serve_put(name, upload)
        elif self.command == "DELETE":
            self._drain()
            del self.state.uploads[upload]
            self._reply(204)
        elif self.behaviour.tells_offset:
            self._reply(204, **self._upload_state(name, upload))
        else:
            self._refuse(404, "UNSUPPORTED")

    def _begin_upload(self, name: str) -> None:
        digest, source = self._query("mount"), self._query("from")
        found = self.state.repository(source).blobs.get(digest) if source and self.behaviour.mount else None
        if digest and found is not None and self._may_read(source):
            self.state.repository(name).blobs[digest] = found
            self._reply(201, Location=f"/v2/{name}/blobs/{digest}", Docker_Content_Digest=digest)
            return
        upload = secrets.token_hex(8)
        self.state.uploads[upload] = (name, bytearray())
        self._reply(202, **self._upload_state(name, upload))

    def _may_read(self, name: str) -> bool:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return not self.behaviour.bearer or f"{name}:pull" in self.state.tokens[token][0]

    def _upload_state(self, name: str, upload: str) -> dict[str, str]:
        length = len(self.state.uploads[upload][1])
        headers = {"Location": f"/v2/{name}/blobs/uploads/{upload}?state={length}"}
        if self.behaviour.tells_offset:
            headers["Range"] = f"0-{max(length - 1, 0)}"
        return headers

    def _serve_patch(self, name: str, upload: str) -> None:
        received = self.state.uploads[upload][1]
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
            if cut and count >= cut and self._left and self.state.take_cut():
                raise _Cut

    def _serve_put(self, name: str, upload: str) -> None:
        received = self.state.uploads[upload][1]
        self._receive(received)
        digest = self._query("digest")
        with self.state.lock:
            self.state.uploads.pop(upload, None)
        if digest_of(bytes(received)) != digest:
            self._refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
            return
        self.state.repository(name).blobs[digest] = bytes(received)
        self._reply(201, Location=f"/v2/{name}/blobs/{digest}", Docker_Content_Digest=digest)

    # -- manifests and tags

    def _serve_manifest(self, name: str, what: str) -> None:
        body = self._drain()
        repository = self.state.repository(name)
        if self.command == "PUT":
            self._store_manifest(repository, what, body)
            return
        if self.command == "DELETE":
            self._delete_manifest(repository, what)
            return
        with self.state.lock:
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
        digest, behaviour = digest_of(raw), self.behaviour
        if what.startswith("sha256:") and what != digest:
            self._refuse(400, "DIGEST_INVALID")
            return
        if behaviour.needs_blobs and not repository.has_all_of(json.loads(raw)):
            self._refuse(400, "MANIFEST_BLOB_UNKNOWN")
            return
        with self.state.lock:
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
        subject = json.loads(raw).get("subject") if behaviour.referrers else None
        known = {"OCI_Subject": subject["digest"]} if subject else {}
        self._reply(201, Docker_Content_Digest=digest, **known)

    def _serve_referrers(self, name: str, subject: str) -> None:
        self._drain()
        if not self.behaviour.referrers:
            self._refuse(404, "UNSUPPORTED")
            return
        with self.state.lock:
            kept = [(digest, raw, json.loads(raw)) for digest, (raw, _) in self.state.repository(name).manifests.items()]
        found = [
            {"mediaType": each["mediaType"], "digest": digest, "size": len(raw), "artifactType": each.get("artifactType", "")}
            for digest, raw, each in kept
            if (each.get("subject") or {}).get("digest") == subject
        ]
        start, size = int(self._query("start") or 0), self.behaviour.page or len(found) or 1
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": found[start : start + size],
        }
        more = start + size < len(found)
        link = {"Link": f'</v2/{name}/referrers/{subject}?start={start + size}>; rel="next"'} if more else {}
        self._reply(200, json.dumps(index).encode(), Content_Type="application/vnd.oci.image.index.v1+json", **link)

    def _delete_manifest(self, repository: Repository, digest: str) -> None:
        if not self.behaviour.deletes:
            self._refuse(405, "UNSUPPORTED")
            return
        with self.state.lock:
            found = repository.manifests.pop(digest, None)
            for tag in [tag for tag, meant in repository.tags.items() if meant == digest]:
                del repository.tags[tag]
        self._reply(202 if found else 404)

    def _serve_tags(self, name: str) -> None:
        with self.state.lock:
            known = name in self.state.repositories
            tags = sorted(self.state.repository(name).tags)
        if self.behaviour.slow_tags:
            self.state.quiet.wait(self.behaviour.slow_tags)
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


def _split_scope(text: str) -> tuple[str, str, list[str]]:
    kind, _, rest = text.partition(":")
    name, _, actions = rest.rpartition(":")
    return kind, name, actions.split(",")
