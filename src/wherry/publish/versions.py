"""The next version number as a tag, with nobody's number taken (docs/adr/0004-next-version.md).

Versions are tags that are whole numbers. Each pusher announces itself with a claim, a tag of its own, and learns from a
second write of it whether the registry honours ``If-None-Match: *`` (or has tags that never change): there the first to
write a number has it. Elsewhere a pusher takes a number only if, after its claim, it sees no other claim on it: of two
that announce and then look, at least one sees the other. That rests on tag listings that show what was written before.
Numbers may be skipped, never given twice; a claim is removed afterwards where the registry can. No tag that somebody may
be reading is ever written again: registries do not promise that this is atomic.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import BytesIO

from wherry.errors import TransferError
from wherry.formats.oci_json import render_manifest
from wherry.model.digest import Digest
from wherry.model.oci import MANIFEST, Descriptor
from wherry.store.registry import RegistryStore
from wherry.store.registry_upload import Upload

_VERSION = re.compile(r"0|[1-9][0-9]{0,17}")
_CLAIM = re.compile(r"_claim\.([0-9]+)\.([0-9a-f]+)")
_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_CLAIM_TYPE = "application/vnd.dev.wherry.claim.v1+json"
_ATTEMPTS = 60
_LOOKS = 5

Nonce = Callable[[], str]


def _ignore(_sent: int) -> None:
    """Two bytes need no progress."""


def _random_nonce() -> str:
    return secrets.token_hex(8)


def assign_version(repository: RegistryStore, raw: bytes, media_type: str, nonce: Nonce = _random_nonce) -> str:
    """Give a manifest that is there already the next number as its tag. If the newest number is this image, it keeps it."""
    tags = repository.tags()
    newest = max(read_versions(tags), default=0)
    if newest:
        found = repository.find_manifest(str(newest))
        if found and found.digest == Digest.of(raw):
            return str(newest)
    return _Claimant(repository, raw, media_type, nonce).take(newest + 1)


def read_versions(tags: Iterable[str]) -> list[int]:
    """The tags that are version numbers."""
    return [int(tag) for tag in tags if _VERSION.fullmatch(tag)]


def _write_first(repository: RegistryStore, raw: bytes, media_type: str, number: int) -> str:
    for _ in range(_ATTEMPTS):
        if repository.put_manifest(raw, media_type, str(number), only_new=True) or _has(repository, number, raw):
            return str(number)
        number = max(number, *read_versions(repository.tags())) + 1
    raise _no_number(repository)


class _Claimant:
    """One pusher among others that may want the same number."""

    def __init__(self, repository: RegistryStore, raw: bytes, media_type: str, nonce: Nonce) -> None:
        self._repository = repository
        self._raw = raw
        self._media_type = media_type
        self._nonce = nonce
        self._exclusive: bool | None = None  # whether the registry refuses to write a tag anew; None: not known yet

    def take(self, number: int) -> str:
        empty = Upload(digest=Digest.of(_EMPTY), size=len(_EMPTY), open=lambda: BytesIO(_EMPTY), report=_ignore)
        if not self._repository.has(empty.digest):
            self._repository.upload(empty)
        for _ in range(_ATTEMPTS):
            taken, number = self._try(number)
            if taken:
                return str(number)
            if self._exclusive:
                return _write_first(self._repository, self._raw, self._media_type, number)
        raise _no_number(self._repository)

    def _try(self, number: int) -> tuple[bool, int]:
        """Claim a number; gives whether it is ours, and it or the one to try next."""
        nonce = self._nonce()
        claim, tag = _render_claim(number, nonce), f"_claim.{number}.{nonce}"
        self._repository.put_manifest(claim, MANIFEST, tag)
        try:
            if self._exclusive is None:
                self._exclusive = not self._repository.put_manifest(claim, MANIFEST, tag, only_new=True)
            if self._exclusive:
                return False, number
            rank = self._wait_alone(number, nonce)
            if rank is None and self._repository.find_manifest(str(number)) is None and self._write(number):
                return True, number
        finally:
            self._withdraw(claim, tag)
        versions = read_versions(self._repository.tags())
        return False, max(number + (rank or 1), max(versions, default=0) + 1)

    def _wait_alone(self, number: int, nonce: str) -> int | None:
        """None once no other claim on the number is seen; else our rank among the claims, when it is time to give way.

        The first by nonce waits for the others to give way, so that seldom a number is skipped.
        """
        pause = self._repository.session.transport.patience.first_wait
        rank = 0
        for look in range(_LOOKS):
            tags = self._repository.tags()
            rivals = _read_rivals(tags, number) - {nonce}
            if not rivals:
                return None
            rank = sum(rival < nonce for rival in rivals)
            if rank or str(number) in tags:
                return rank
            self._repository.session.pause(pause * 2**look)
        return rank

    def _write(self, number: int) -> bool:
        self._repository.put_manifest(self._raw, self._media_type, str(number), only_new=True)
        return _has(self._repository, number, self._raw)  # also when the answer to a write that counted was lost

    def _withdraw(self, claim: bytes, tag: str) -> None:
        """Remove the claim. One that stays costs its number only if that was not taken."""
        for _ in range(_LOOKS):
            try:
                self._repository.delete_manifest(Digest.of(claim))
                return
            except TransferError:  # docker's registry may lose the manifest and keep the tag: make it whole, and again
                with suppress(TransferError):
                    self._repository.put_manifest(claim, MANIFEST, tag)


def _read_rivals(tags: Iterable[str], number: int) -> set[str]:
    found = (_CLAIM.fullmatch(tag) for tag in tags)
    return {match[2] for match in found if match and int(match[1]) == number}


def _render_claim(number: int, nonce: str) -> bytes:
    empty = Descriptor(media_type=_EMPTY_TYPE, digest=Digest.of(_EMPTY), size=len(_EMPTY))
    about = {"dev.wherry.claim.version": str(number), "dev.wherry.claim.nonce": nonce}
    return render_manifest(config=empty, layers=(empty,), annotations=about, artifact_type=_CLAIM_TYPE)


def _has(repository: RegistryStore, number: int, raw: bytes) -> bool:
    found = repository.find_manifest(str(number))
    return found is not None and found.digest == Digest.of(raw)


def _no_number(repository: RegistryStore) -> TransferError:
    return TransferError(f"no free version number at {repository}: too many push at once", hint="push to a tag of your own")
