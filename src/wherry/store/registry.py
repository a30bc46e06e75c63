"""A repository of a registry as a store: blobs by digest, manifests by digest or tag (OCI distribution-spec 1.1).

Reads and writes blobs, manifests and tags; opens no credential file (logins come in by a port) and prints nothing.
Everything that comes is verified by digest and bounded by 4 MiB for documents; what does not match is a `TrustError`.
Media types may lie: a document is what it parses as.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import BinaryIO, cast
from urllib.parse import urljoin

from wherry.errors import FormatError, StoreError, TransferError, TrustError
from wherry.formats.oci_json import MAX_DOCUMENT, parse_any_manifest, parse_json
from wherry.formats.urls import place, same_origin
from wherry.model.digest import Digest
from wherry.model.oci import DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST, Descriptor, Index
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.store.http import Response, discard
from wherry.store.registry_download import BlobReader
from wherry.store.registry_http import read_body
from wherry.store.registry_session import BytesRefused, Call, Refused, RegistrySession, show_text
from wherry.store.registry_upload import Upload, Uploader, UploadRules

ACCEPT = ", ".join((INDEX, MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST))
_NEXT = re.compile(r'<([^>]+)>\s*;.*rel="?next"?')
_TAGS_LIMIT = 16 << 20
_PAGES = 1000
_STORED = (201, 200, 202)
DEFAULT_RULES = UploadRules()


class RegistryStore:
    """A `BlobStore` over one repository. Share it among threads. `push` asks for the right to write from the start."""

    def __init__(
        self, session: RegistrySession, repository: str, *, push: bool = False, rules: UploadRules = DEFAULT_RULES
    ) -> None:
        self.session = session
        self.repository = repository
        self._base = f"{session.base}/v2/{repository}"
        self._scopes = (f"repository:{repository}:{'pull,push' if push else 'pull'}",)
        self._uploader = Uploader(session, self._base, self._scopes, rules)

    @property
    def registry(self) -> str:
        return self.session.registry

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}"

    # -- blobs

    def has(self, digest: Digest) -> bool:
        call = self._call("HEAD", f"/blobs/{digest}")
        exchange = self.session.exchange(call, (200, 404, 403, 405))
        discard(exchange.response)
        if exchange.response.status in (403, 405):
            if same_origin(exchange.url, self.session.base):
                raise self.session.refusal(call, exchange)
            return True  # sent on to a storage host that signs for GET only: it would not have been, were it not there
        return exchange.response.status == 200

    def open(self, digest: Digest) -> BinaryIO:
        return self.open_sized(digest, None)

    def open_sized(self, digest: Digest, size: int | None) -> BinaryIO:
        """As `open`, for a blob whose size is known: one more byte is a `TrustError`. The digest is verified at the end."""
        reader = self.reader(digest, size)
        reader.connect()
        return cast(BinaryIO, io.BufferedReader(reader, 1 << 17))

    def reader(self, digest: Digest, size: int | None, *, offset: int = 0, hasher: object = None) -> BlobReader:
        """A raw reader that starts at `offset`; `hasher` has seen the bytes before it."""
        call = self._call("GET", f"/blobs/{digest}")
        return _ExplainedReader(self.session, call, digest, size=size, offset=offset, hasher=hasher)  # type: ignore[arg-type]

    def put(self, chunks: Iterable[bytes], digest: Digest, size: int) -> None:
        self._uploader.send_once(chunks, digest, size, _no_report)

    def upload(self, upload: Upload) -> None:
        """Send a blob that can be read again: repeated and, when big, resumed."""
        self._uploader.send(upload)

    def mount(self, digest: Digest, repository: str) -> bool:
        """Take a blob over from another repository of this registry; False when that is not possible."""
        return self._uploader.mount(digest, repository)

    # -- manifests and tags

    def find_manifest(self, name: Digest | str) -> Descriptor | None:
        """What a digest or tag means here; None when there is nothing of that name."""
        response = self.session.request(self._call("HEAD", f"/manifests/{name}", {"Accept": ACCEPT}), (200, 404))
        discard(response)
        if response.status == 404:
            return None
        said, size = response.headers.get("Docker-Content-Digest", ""), response.headers.get("Content-Length", "")
        if not said.startswith("sha256:") or not size.isdigit():
            return self._describe(*self._fetch_manifest(name))
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
        return Descriptor(media_type=kind, digest=Digest.parse(said), size=int(size))

    def read_manifest(self, name: Digest | str) -> tuple[Descriptor, bytes]:
        """A manifest or index, by digest or tag; verified, and described by what it is."""
        raw, kind = self._fetch_manifest(name)
        return self._describe(raw, kind), raw

    def put_manifest(self, raw: bytes, media_type: str, tag: str | None = None, *, only_new: bool = False) -> bool:
        """Store a manifest by its digest or under a tag. With `only_new` the tag must not exist (``If-None-Match: *``);
        False when the registry says that it does, or that tags never change."""
        digest = Digest.of(raw)
        if len(raw) > MAX_DOCUMENT:
            raise FormatError(f"a manifest of {len(raw)} bytes; registries take {MAX_DOCUMENT}", where=str(digest))
        headers = {"Content-Type": media_type, **({"If-None-Match": "*"} if only_new else {})}
        call = self._call("PUT", f"/manifests/{tag or digest}", headers, raw)
        try:
            response = self._insist(call)
        except Refused as error:
            if only_new and (error.status in (409, 412) or "IMMUTABLE" in str(error).upper()):
                return False
            raise
        said = response.headers.get("Docker-Content-Digest", "")
        discard(response)
        if said.startswith("sha256:") and said != str(digest):
            raise TrustError(f"the registry stored {said[:80]} where {digest} was sent", where=str(self))
        return True

    def put_referrer(self, raw: bytes, media_type: str) -> bool:
        """Store a manifest that has a subject; False when the registry does not know what a subject is."""
        call = self._call("PUT", f"/manifests/{Digest.of(raw)}", {"Content-Type": media_type}, raw)
        response = self._insist(call)
        knows = bool(response.headers.get("OCI-Subject"))
        discard(response)
        return knows

    def read_referrers(self, subject: Digest) -> tuple[bytes, ...] | None:
        """Indexes, a page each, of what refers to a manifest (unverified: they have no digest); None where none are kept."""
        pages: list[bytes] = []
        url = f"{self._base}/referrers/{subject}"
        for _ in range(_PAGES):
            call = Call(method="GET", url=url, scopes=self._scopes, headers={"Accept": INDEX})
            try:
                response = self.session.request(call, (200, 404))
            except Refused as error:
                if error.status not in (400, 405, 501):
                    raise
                return None
            if response.status == 404:
                discard(response)
                return None
            pages.append(read_body(response, MAX_DOCUMENT, url))
            following = self._next_page(response.headers.get("Link", ""), url)
            if following is None:
                break
            url = following
        return tuple(pages)

    def delete_manifest(self, digest: Digest) -> bool:
        """Remove a manifest and its tags; False when the registry does not do that. Not repeated: a registry that fails
        halfway may have lost the manifest and kept its tags, so a `TransferError` leaves that to the caller."""
        call = self._call("DELETE", f"/manifests/{digest}")
        try:
            discard(self.session.request(replace(call, repeat=False), (202, 200, 204, 404)))
        except Refused as error:
            if error.wait is not None:
                raise
            return False
        return True

    def tags(self) -> tuple[str, ...]:
        """Every tag; none for a repository that does not exist yet."""
        found: list[str] = []
        url = f"{self._base}/tags/list"
        for _ in range(_PAGES):
            response = self.session.request(Call(method="GET", url=url, scopes=self._scopes), (200, 404))
            if response.status == 404:
                discard(response)
                break
            names = parse_json_list(read_body(response, _TAGS_LIMIT, url), "tags", place(url))
            found += names
            following = self._next_page(response.headers.get("Link", ""), url)
            if following is None:
                break
            url = following
        return tuple(dict.fromkeys(found))

    def resolve(self, reference: Reference, platform: Platform | None = None) -> tuple[Descriptor, bytes]:
        """The manifest or index that a reference means; with `platform` the manifest for it, out of an index."""
        descriptor, raw = self.read_manifest(reference.digest or reference.tag or "latest")
        document = parse_any_manifest(raw, where=str(reference))
        if platform is None or not isinstance(document, Index):
            return descriptor, raw
        chosen = choose_platform(document, platform, str(reference))
        return self.read_manifest(chosen.digest)

    # -- inside

    def _next_page(self, link: str, url: str) -> str | None:
        """Where a list goes on, by its ``Link`` header."""
        following = _NEXT.match(link)
        if not following:
            return None
        target = urljoin(url, following[1])
        self.session.transport.check_url(target, origin=url)
        return target if target != url else None

    def _insist(self, call: Call) -> Response:
        """Send a manifest. docker's registry takes its links for damaged while another push of the same blobs writes
        them, and blames our digest; that passes."""
        patience = self.session.transport.patience
        for attempt in range(1, patience.attempts):
            try:
                return self.session.request(call, _STORED)
            except BytesRefused:
                self.session.pause(patience.first_wait * attempt)
        return self.session.request(call, _STORED)

    def _fetch_manifest(self, name: Digest | str) -> tuple[bytes, str]:
        call = self._call("GET", f"/manifests/{name}", {"Accept": ACCEPT})
        response = self.session.request(call, (200, 404))
        if response.status == 404:
            discard(response)
            glue = "@" if isinstance(name, Digest) else ":"
            raise StoreError(f"no image {self}{glue}{name}", where=self.registry, hint="look at the name and the tag")
        raw = read_body(response, MAX_DOCUMENT, call.url)
        expected = str(name) if isinstance(name, Digest) else response.headers.get("Docker-Content-Digest", "")
        if expected.startswith("sha256:") and str(Digest.of(raw)) != expected:
            raise TrustError(f"manifest {expected[:80]}: the registry sent other bytes", where=place(call.url))
        return raw, response.headers.get("Content-Type", "")

    def _describe(self, raw: bytes, media_type: str) -> Descriptor:
        digest = Digest.of(raw)
        try:
            kind = parse_any_manifest(raw, where=f"{self}@{digest}").media_type
        except FormatError as error:
            if "signatures" in raw[:MAX_DOCUMENT].decode("utf-8", "replace"):
                raise FormatError("a manifest of schema 1, as docker wrote before 2016", where=error.where) from None
            told = show_text(media_type)
            raise FormatError(f"{error.what} (the registry calls it {told!r})", where=error.where) from error
        return Descriptor(media_type=kind, digest=digest, size=len(raw))

    def _call(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Call:
        return Call(
            method=method,
            url=f"{self._base}{path}",
            scopes=self._scopes,
            headers=headers or {},
            body=(lambda: body) if body is not None else None,
        )


class _ExplainedReader(BlobReader):
    """A blob reader that tells a missing blob from other refusals."""

    def _connect(self) -> None:
        try:
            super()._connect()
        except Refused as error:
            if error.status != 404:
                raise
            raise StoreError(f"no blob {self._digest} there", where=error.where) from None


def _no_report(sent: int) -> None:
    """Whoever puts a stream knows how far it is."""


def choose_platform(index: Index, platform: Platform, where: str) -> Descriptor:
    """The manifest for a platform; a `StoreError` that says which there are when it is not among them."""
    found = [one for one in index.manifests if one.platform == platform]
    if not found and not platform.variant:
        same = (platform.os, platform.architecture)
        found = [one for one in index.manifests if one.platform and (one.platform.os, one.platform.architecture) == same]
    if not found:
        have = sorted({str(one.platform) for one in index.manifests if one.platform and one.platform.os != "unknown"})
        raise StoreError(f"no image for {platform}", where=where, hint=f"there are: {', '.join(have) or 'none'}")
    return found[0]


def parse_json_list(raw: bytes, key: str, where: str) -> list[str]:
    """A list of strings in a JSON object; null and absence are the empty list."""
    try:
        members = parse_json(raw, where).get(key) or []
    except FormatError as error:
        raise TransferError(error.what, where=where) from error
    if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
        raise TransferError(f"{key!r} is not a list of names", where=where)
    return members
