"""Objects in S3, Azure Blob or Google's store, by obstore (extra `sweep`).

Credentials and endpoints are found by obstore where each cloud's own tools look: variables (``AWS_…``, ``AZURE_…``, ``GOOGLE_…``),
files, the machine's or workload's identity. None is ever in an address. Nothing is tried again here (`objects_patient.py` does).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wherry.errors import StoreError, TransferError, UsageError
from wherry.store.objects import PAGE, Held, Listed, check_key

_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "GOOGLE_BASE_URL")
_LOOPBACK = re.compile(r"http://(?:127\.0\.0\.1|localhost|\[::1\])(?:[:/].*)?")
_QUERY = re.compile(r"\?[^\s\"']*")
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,80})</Code>")
_DUMP = "\n\nDebug source"  # what it appends of its insides
_ACCESS = "credentials as for the cloud's own tools: variables, a file, or the machine's identity"
_LONGEST = 300
_STALL = "60s"  # in which something must come
_PIECE = 1 << 20
_PART, _MOST_PARTS = 8 << 20, 9000  # of an upload; S3 takes ten thousand parts


class RemoteObjects:
    """An `ObjectStore` in a bucket or container; what stands after it in the address comes before each key."""

    def __init__(self, address: str, env: Mapping[str, str]) -> None:
        self.url = address.rstrip("/")
        self._obstore, self._exceptions = _load()
        self._missing = (self._exceptions.NotFoundError, FileNotFoundError)  # it raises both
        plain = any(_LOOPBACK.fullmatch(env.get(name, "")) for name in _ENDPOINTS)
        client = {"connect_timeout": "10s", "read_timeout": _STALL, "timeout": "120s", "allow_http": plain}
        with self._explained(""):
            try:
                self._store = self._obstore.store.from_url(self.url, client_options=client, retry_config={"max_retries": 0})
            except self._exceptions.BaseError as error:  # nothing was asked of anybody yet
                hint = "the account, as for the cloud's own tools: AZURE_STORAGE_ACCOUNT_NAME, AWS_REGION"
                raise UsageError(_shorten(error), where=self.url, hint=hint) from None

    def get(self, key: str) -> Held | None:
        with self._explained(check_key(key)):
            try:
                found = self._obstore.get(self._store, key)
            except self._missing:
                return None
            return Held(bytes(found.bytes()), str(found.meta["e_tag"]))

    def size(self, key: str) -> int | None:
        with self._explained(check_key(key)):
            try:
                return int(self._obstore.head(self._store, key)["size"])
            except self._missing:
                return None

    def read(self, key: str, offset: int, length: int) -> bytes:
        with self._explained(check_key(key)):
            return bytes(self._obstore.get_range(self._store, key, start=offset, length=length))

    def put(self, key: str, source: bytes | Path) -> None:
        with self._explained(check_key(key)):
            chunk = max(_PART, source.stat().st_size // _MOST_PARTS) if isinstance(source, Path) else _PART
            self._obstore.put(self._store, key, source, chunk_size=chunk, max_concurrency=4)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        with self._explained(check_key(key)):
            try:
                self._obstore.put(self._store, key, data, mode="create")
            except (self._exceptions.AlreadyExistsError, self._exceptions.PreconditionError):
                if self.size(key) is None:  # S3 answers 409 to those that come at once, also when none of them succeeds
                    raise TransferError("others put it at once", where=key) from None
                return False
            return True

    def put_if_match(self, key: str, data: bytes, version: str) -> bool:
        with self._explained(check_key(key)):
            try:
                self._obstore.put(self._store, key, data, mode={"e_tag": version})
            except (self._exceptions.PreconditionError, self._exceptions.AlreadyExistsError, *self._missing):
                return False
            return True

    def list(self, prefix: str) -> Iterator[tuple[Listed, ...]]:
        with self._explained(prefix):
            for page in self._obstore.list(self._store, prefix or None, chunk_size=PAGE):
                yield tuple(Listed(one["path"], one["size"]) for one in page)

    def folders(self, prefix: str) -> tuple[str, ...]:
        with self._explained(prefix):
            found = self._obstore.list_with_delimiter(self._store, prefix or None)["common_prefixes"]
        return tuple(sorted(path.rstrip("/").rpartition("/")[2] for path in found))

    def delete(self, key: str) -> None:
        with self._explained(check_key(key)):
            try:
                self._obstore.delete(self._store, key)
            except self._missing:
                return

    def describe(self, key: str) -> tuple[int, str | None] | None:
        """Size and version of an object that others put here, under whatever key; None where there is none."""
        with self._explained(key):
            try:
                found = self._obstore.head(self._store, key)
            except self._missing:
                return None
            return int(found["size"]), found["e_tag"]

    def stream(self, key: str, offset: int, length: int, version: str | None) -> Iterator[bytes]:
        """A range of an object in pieces, of this version alone: another one, or none any more, is a `StoreError`."""
        options = {"range": (offset, offset + length), **({"if_match": version} if version else {})}
        with self._explained(key):
            try:
                yield from self._obstore.get(self._store, key, options=options).stream(min_chunk_size=_PIECE)
            except (self._exceptions.PreconditionError, *self._missing):
                hint = "leave it as it is while tasks run, and say its sha256"
                raise StoreError("it changed while it was downloaded", where=f"{self.url}/{key}", hint=hint) from None

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        """Errors of obstore's as ours. What they quote of addresses is cut at the query, which may be a signature."""
        errors, where = self._exceptions, f"{self.url}/{key}".rstrip("/")
        try:
            yield
        except self._missing as error:
            raise StoreError(f"it is not there: {_shorten(error)}", where=where, hint="does the bucket exist?") from None
        except (errors.PermissionDeniedError, errors.UnauthenticatedError) as error:
            raise StoreError(f"no access: {_shorten(error)}", where=where, hint=_ACCESS) from None
        except (errors.InvalidPathError, errors.NotSupportedError, errors.UnknownConfigurationKeyError, ValueError) as error:
            raise UsageError(_shorten(error), where=where) from None
        except errors.BaseError as error:
            self._refuse_status(error, where)
            raise TransferError(_shorten(error), where=where, hint="is the store reachable from here?") from None

    @staticmethod
    def _refuse_status(error: Exception, where: str) -> None:
        """What would be the same again is not for patience. Of lists and deletions obstore tells the status in words alone."""
        said = _STATUS.search(str(error).partition(_DUMP)[0])
        if said and said[1] in ("401", "403"):
            raise StoreError(f"no access: {_shorten(error)}", where=where, hint=_ACCESS) from None
        if said and said[1] in ("400", "404", "405"):
            raise StoreError(_shorten(error), where=where, hint="does the bucket exist?") from None


def _load() -> tuple[Any, Any]:
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        raise UsageError("object stores need obstore", hint="pip install 'wherry[sweep]'") from error
    return obstore, obstore.exceptions


def _shorten(error: Exception) -> str:
    """The first lines of what it says, without the dump of its insides."""
    said, _, body = str(error).partition(_DUMP)[0].partition("<?xml")
    code = _CODE.search(body)
    text = _QUERY.sub("?…", " ".join(said.split())) + (f" {code[1]}" if code else "")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
