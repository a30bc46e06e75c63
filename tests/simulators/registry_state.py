"""What a simulated registry has and how it behaves: plain dictionaries and switches, to be looked into and turned at any time."""

from __future__ import annotations

import base64
import hashlib
import threading
from dataclasses import dataclass, field
from typing import Any

USER, PASSWORD = "captain", "s3cret-pässword"  # what `basic` and `bearer` accept
IDENTITY = "identity-token-of-the-captain"


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
    referrers: bool = False  # knows what a subject is, and lists what refers to a manifest
    needs_blobs: bool = True  # refuses manifests whose blobs or manifests are missing


@dataclass
class Repository:
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)  # digest → bytes, media type
    tags: dict[str, str] = field(default_factory=dict)  # tag → digest

    def has_all_of(self, document: dict[str, Any]) -> bool:
        """Whether all that a manifest names is here."""
        blobs = [*([document["config"]] if "config" in document else []), *document.get("layers", [])]
        manifests = document.get("manifests", [])
        return all(part["digest"] in self.blobs for part in blobs) and all(part["digest"] in self.manifests for part in manifests)


@dataclass(frozen=True)
class Seen:
    """A request as it came in: `authorization` is the header or empty."""

    method: str
    path: str  # with the query
    authorization: str
    range: str
    status: int  # 0: no answer was given


@dataclass
class Failure:
    """An answer that is to be given to requests that match; `skip` of them first get their own."""

    status: int
    method: str
    path: str
    skip: int
    times: int
    headers: dict[str, str]
    body: bytes


class RegistryState:
    """Repositories, what was asked, and what is to go wrong; safe from several threads."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.repositories: dict[str, Repository] = {}
        self.seen: list[Seen] = []
        self.bytes_in = 0
        self.bytes_out = 0
        self.tokens: dict[str, tuple[set[str], float]] = {}
        self.uploads: dict[str, tuple[str, bytearray]] = {}
        self.lock = threading.RLock()
        self.quiet = threading.Event()  # set when the simulator stops: ends stalls
        self._failures: list[Failure] = []

    # -- what tests say to it

    def repository(self, name: str) -> Repository:
        with self.lock:
            return self.repositories.setdefault(name, Repository())

    def add_blob(self, repository: str, data: bytes) -> str:
        """Put a blob; gives its digest."""
        digest = digest_of(data)
        self.repository(repository).blobs[digest] = data
        return digest

    def add_manifest(self, repository: str, raw: bytes, media_type: str, tag: str | None = None) -> str:
        """Put a manifest, unchecked; gives its digest."""
        digest = digest_of(raw)
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
            self._failures.append(Failure(status, method, path, after, times, headers or {}, body))

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

    def next_failure(self, method: str, path: str) -> Failure | None:
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


def basic_header(user: str = USER, password: str = PASSWORD) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
