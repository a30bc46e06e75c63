"""Bringing one blob into a repository (distribution-spec 1.1, "Pushing blobs").

Asked first is whether it is there (HEAD), then whether it can be mounted from another repository of the same registry;
only then bytes go out. What can be read again goes as one PUT when small; when big, in PATCH requests, and an
interrupted one goes on where the registry says, or from the start where it does not say. Bytes are hashed on their way,
and the last of them is sent only when the whole is right, so a damaged blob is never finished.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlencode, urljoin

from wherry.errors import TransferError, TrustError
from wherry.formats.urls import place
from wherry.model.digest import Digest
from wherry.store.http import Response, discard
from wherry.store.registry_http import Interrupted
from wherry.store.registry_session import BytesRefused, Call, Refused, RegistrySession

CHUNKED_ABOVE = 128 << 20
CHUNK = 64 << 20
_BLOCK = 1 << 17
_NO_SUCH_WAY = {400, 404, 405, 411, 413, 415, 416, 501}  # how registries say that they do not take PATCH, or not that one

Report = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A blob to bring. `open` gives its bytes from the start, each time; `report` is told how many of them are out.
    What is not `seekable` goes as one PUT, whatever its size."""

    digest: Digest
    size: int
    open: Callable[[], BinaryIO]
    report: Report
    seekable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRules:
    """From which size on blobs are sent in pieces, and of what size, in bytes."""

    chunked_above: int = CHUNKED_ABOVE
    chunk: int = CHUNK


class Uploader:
    """Uploads into the repository whose API is at `base`, such as ``https://ghcr.io/v2/you/model``."""

    def __init__(self, session: RegistrySession, base: str, scopes: tuple[str, ...], rules: UploadRules) -> None:
        self._session = session
        self._base = base
        self._scopes = scopes
        self._rules = rules

    def mount(self, digest: Digest, repository: str) -> bool:
        """Let the registry take the blob from another of its repositories; False when it does not."""
        query = urlencode({"mount": str(digest), "from": repository})
        scopes = (*self._scopes, f"repository:{repository}:pull")
        call = Call(method="POST", url=f"{self._base}/blobs/uploads/?{query}", scopes=scopes, headers={"Content-Length": "0"})
        try:
            response = self._session.request(call, (201, 202))
        except Refused:
            return False  # no right to read there, or no mounting at all: then bytes are sent
        location = self._location(response, call.url) if response.status == 202 else None
        discard(response)
        if location:  # the session that was opened instead is not used: its scopes may differ
            self._abandon(location)
        return response.status == 201

    def send(self, upload: Upload) -> None:
        """Send a blob that can be read again, as often as the registry's patience and ours last."""
        if upload.seekable and upload.size > self._rules.chunked_above and self._send_chunked(upload):
            return
        patience = self._session.transport.patience
        for attempt in range(1, patience.attempts + 1):
            try:
                with upload.open() as file:
                    self.send_once(_blocks(file), upload.digest, upload.size, upload.report)
                return
            except (Interrupted, Refused, BytesRefused) as error:
                asked = error.wait if isinstance(error, Refused) else 0.0
                if attempt == patience.attempts or asked is None or asked > patience.longest_wait:
                    raise
                if isinstance(error, BytesRefused) and attempt > 2:
                    raise
            self._session.pause(max(asked, min(patience.first_wait * 2 ** (attempt - 1), patience.longest_wait)))
            if self._is_there(upload.digest):  # somebody else brought it, or the answer was lost on its way
                return

    def send_once(self, chunks: Iterable[bytes], digest: Digest, size: int, report: Report) -> None:
        """Send bytes that come only once, as one PUT."""
        location = self._begin()
        body = _checked(chunks, digest, size, hashlib.sha256(), 0, size, report, self._session.check_stop)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        url = _with_digest(location, digest)
        call = Call(method="PUT", url=url, scopes=self._scopes, headers=headers, body=lambda: body, repeat=False)
        try:
            self._finish(self._session.request(call, (201, 204)), digest)
        except BytesRefused:
            # What went out was right. docker's registry says this when two bring the same blob at the same time.
            if not self._is_there(digest):
                raise
        except TrustError:
            self._abandon(location)
            raise

    def _send_chunked(self, upload: Upload) -> bool:
        """Send in pieces; False when the registry does not take pieces, and nothing is lost but time."""
        location, offset = self._begin(), 0
        failures = 0
        patience = self._session.transport.patience
        while offset < upload.size:
            try:
                location, offset = self._send_piece(upload, location, offset)
                failures = 0
            except Refused as error:
                if error.status in _NO_SUCH_WAY:
                    self._abandon(location)
                    return False
                raise
            except Interrupted:
                failures += 1
                if failures >= patience.attempts:
                    raise
                self._session.pause(min(patience.first_wait * 2 ** (failures - 1), patience.longest_wait))
                resumed = self._ask_offset(location)
                if resumed is None:
                    self._abandon(location)
                    location, offset = self._begin(), 0
                else:
                    location, offset = resumed
        url = _with_digest(location, upload.digest)
        call = Call(method="PUT", url=url, scopes=self._scopes, headers={"Content-Length": "0"})
        self._finish(self._session.request(call, (201, 204)), upload.digest)
        return True

    def _send_piece(self, upload: Upload, location: str, offset: int) -> tuple[str, int]:
        end = min(offset + self._rules.chunk, upload.size)
        with upload.open() as file:
            hasher = hashlib.sha256()
            if end == upload.size:  # the last piece: the whole is verified before its last bytes go out
                _hash_up_to(file, offset, hasher)
            else:
                file.seek(offset)
            body = _checked(_blocks(file), upload.digest, upload.size, hasher, offset, end, upload.report, self._session.check_stop)
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(end - offset),
                "Content-Range": f"{offset}-{end - 1}",
            }
            call = Call(method="PATCH", url=location, scopes=self._scopes, headers=headers, body=lambda: body, repeat=False)
            try:
                response = self._session.request(call, (202, 201, 204))
            except Refused as error:
                if error.wait is not None and error.wait <= self._session.transport.patience.longest_wait:
                    self._session.pause(error.wait)
                    raise Interrupted(error.what, where=error.where, hint=error.hint) from None
                raise
        following = self._location(response, location)
        arrived = _arrived(response)
        discard(response)
        return following, end if arrived is None else arrived

    def _ask_offset(self, location: str) -> tuple[str, int] | None:
        call = Call(method="GET", url=location, scopes=self._scopes)
        try:
            response = self._session.request(call, (204, 202, 200))
        except TransferError:
            return None
        following, arrived = self._location(response, location), _arrived(response)
        discard(response)
        return None if arrived is None else (following, arrived)

    def _is_there(self, digest: Digest) -> bool:
        response = self._session.request(Call(method="HEAD", url=f"{self._base}/blobs/{digest}", scopes=self._scopes), (200, 404))
        discard(response)
        return response.status == 200

    def _begin(self) -> str:
        url = f"{self._base}/blobs/uploads/"
        response = self._session.request(Call(method="POST", url=url, scopes=self._scopes, headers={"Content-Length": "0"}), (202,))
        location = self._location(response, url)
        discard(response)
        return location

    def _location(self, response: Response, url: str) -> str:
        location = response.headers.get("Location")
        if not location:
            raise TransferError("the registry opened an upload without saying where", where=place(url))
        target = urljoin(url, location)
        self._session.transport.check_url(target, origin=url)
        return target

    def _finish(self, response: Response, digest: Digest) -> None:
        said = response.headers.get("Docker-Content-Digest")
        discard(response)
        if said and said.startswith("sha256:") and said != str(digest):
            raise TrustError(f"the registry stored {said[:80]} where {digest} was sent", where=self._base)

    def _abandon(self, location: str) -> None:
        """Tell the registry that no more will come; it may not care."""
        try:
            call = Call(method="DELETE", url=location, scopes=self._scopes, repeat=False)
            discard(self._session.request(call, (204, 202, 200, 404)))
        except (TransferError, TrustError):
            pass


def _checked(
    chunks: Iterable[bytes],
    digest: Digest,
    size: int,
    hasher: hashlib._Hash,
    start: int,
    end: int,
    report: Report,
    check_stop: Callable[[], None],
) -> Iterator[bytes]:
    """The bytes from `start` to `end`, the last of them held back until the whole, if it ends here, is verified."""
    sent, held = start, b""
    for chunk in chunks:
        check_stop()
        piece = bytes(chunk[: end - sent - len(held)]) if end < size else bytes(chunk)
        hasher.update(piece)
        if sent + len(held) + len(piece) > size:
            raise TrustError(f"blob {digest} is longer than the {size} bytes announced")
        if held:
            yield held
            sent += len(held)
            report(sent)
        held = piece
        if end < size and sent + len(held) >= end:
            break
    got = sent + len(held)
    if got < end or (end == size and hasher.hexdigest() != digest.hex):
        raise TrustError(f"blob {digest}: got {got} of {size} bytes, sha256:{hasher.hexdigest()}", hint="build or pull it again")
    if held:
        yield held
    report(end)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _hash_up_to(file: BinaryIO, offset: int, hasher: hashlib._Hash) -> None:
    while offset and (block := file.read(min(_BLOCK, offset))):
        hasher.update(block)
        offset -= len(block)


def _arrived(response: Response) -> int | None:
    """How many bytes the registry has, from its ``Range: 0-N``; None when it does not say."""
    first, dash, last = response.headers.get("Range", "").removeprefix("bytes=").partition("-")
    if first != "0" or not dash or not last.isdigit():
        return None
    return int(last) + 1 if int(last) else 0  # "0-0" is how an empty upload is told


def _with_digest(location: str, digest: Digest) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"
