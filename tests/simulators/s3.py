"""A bucket of S3 on loopback: objects, ranges, lists in pages, conditional puts, and weather: calls that fail or break off.

Signatures are not looked at. What it answers is what S3's API reference says of PutObject, GetObject, HeadObject, DeleteObjects
and ListObjectsV2; multipart uploads are there, too.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

# Asked before each call: a status to answer with instead, 0 to break the connection off, or None. `after`: when it was done.
Weather = Callable[[str, str, bool], int | None]


class Bucket:
    """What the server has."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.weather: Weather = lambda _method, _key, _after: None
        self.lock = threading.Lock()
        self.calls: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body go in two writes
    bucket: Bucket

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        key = unquote(parts.path).lstrip("/").partition("/")[2]
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.bucket.calls.append(f"{self.command} {key}")
        if self._storm(key, False):
            return
        with self.bucket.lock:
            status, headers, answer = getattr(self, f"_{self.command.lower()}")(key, query, body)
        if self._storm(key, True):
            return
        self._answer(status, headers, answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - names of the standard library's

    def _storm(self, key: str, after: bool) -> bool:
        status = self.bucket.weather(self.command, key, after)
        if status == 0:
            self.close_connection = True
            self.connection.close()
        elif status is not None:
            self._answer(status, {}, b"<Error><Code>SlowDown</Code></Error>")
        return status is not None

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _get(self, key: str, query: dict[str, str], _body: bytes) -> tuple[int, dict[str, str], bytes]:
        if "list-type" in query:
            return 200, {"Content-Type": "application/xml"}, self._list(query)
        data = self.bucket.objects.get(key)
        if data is None:
            return 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        headers = {"ETag": _tag(data), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        if not found:
            return 200, headers, data
        first, last = int(found[1]), min(int(found[2] or len(data) - 1), len(data) - 1)
        if first >= len(data):
            return 416, {}, b"<Error><Code>InvalidRange</Code></Error>"
        return 206, {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"}, data[first : last + 1]

    def _head(self, key: str, query: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        status, headers, data = self._get(key, query, body)
        return status, {**headers, "Content-Length": str(len(data))}, b""

    def _put(self, key: str, query: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if "partNumber" in query:
            self.bucket.uploads[query["uploadId"]][int(query["partNumber"])] = body
            return 200, {"ETag": _tag(body)}, b""
        data = self.bucket.objects.get(key)
        if self.headers.get("If-None-Match") == "*" and data is not None:
            return 412, {}, b"<Error><Code>PreconditionFailed</Code></Error>"
        wanted = self.headers.get("If-Match")
        if wanted is not None and (data is None or _tag(data) != wanted):
            return (404 if data is None else 412), {}, b"<Error><Code>PreconditionFailed</Code></Error>"
        self.bucket.objects[key] = body
        return 200, {"ETag": _tag(body)}, b""

    def _post(self, key: str, query: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if "uploads" in query:
            upload = f"u{len(self.bucket.uploads)}"
            self.bucket.uploads[upload] = {}
            text = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            return 200, {}, text.encode()
        if "delete" in query:
            keys = re.findall(r"<Key>([^<]*)</Key>", body.decode())
            for one in keys:
                self.bucket.objects.pop(one, None)
            told = "".join(f"<Deleted><Key>{one}</Key></Deleted>" for one in keys)
            return 200, {}, f"<DeleteResult>{told}</DeleteResult>".encode()
        parts = self.bucket.uploads.pop(query["uploadId"])
        self.bucket.objects[key] = b"".join(parts[number] for number in sorted(parts))
        tag = escape(_tag(self.bucket.objects[key]))
        return 200, {}, f"<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>".encode()

    def _delete(self, key: str, _query: dict[str, str], _body: bytes) -> tuple[int, dict[str, str], bytes]:
        self.bucket.objects.pop(key, None)
        return 204, {}, b""

    def _list(self, query: dict[str, str]) -> bytes:
        prefix, most = query.get("prefix", ""), min(int(query.get("max-keys", 1000)), 1000)
        after = query.get("continuation-token") or query.get("start-after", "")
        keys = [key for key in sorted(self.bucket.objects) if key.startswith(prefix) and key > after]
        folders: list[str] = []
        if delimiter := query.get("delimiter"):
            below = {key[len(prefix) :].partition(delimiter)[0] for key in keys if delimiter in key[len(prefix) :]}
            folders = sorted(f"{prefix}{name}{delimiter}" for name in below)
            keys = [key for key in keys if delimiter not in key[len(prefix) :]]
        page, more = keys[:most], len(keys) > most
        told = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>{escape(_tag(self.bucket.objects[key]))}</ETag><Size>{len(self.bucket.objects[key])}</Size></Contents>"
            for key in page
        )
        told += "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        text = f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{told}</ListBucketResult>"
        return text.encode()


def _tag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


@contextmanager
def run_bucket() -> Iterator[tuple[Bucket, dict[str, str]]]:
    """The bucket ``sweeps``, and the variables that obstore finds it by."""
    bucket = Bucket()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"bucket": bucket}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        env = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "a-secret-of-someones",
            "AWS_REGION": "nowhere",
        }
        yield bucket, env
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
