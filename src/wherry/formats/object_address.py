"""Addresses of objects: ``az://CONTAINER/KEY``, ``s3://``, ``gs://``, ``file:///PATH``, ``https://``; a folder's ends in ``/``.

Refuses whatever may be a credential: a user, a password, a query, a fragment. An address is written into states, records and
errors, and a signature in it would be, too. Opens nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_BUCKETS = ("az", "s3", "gs")
_HOW = {"az": "AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_ACCOUNT_KEY", "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"}
_HOW["gs"] = "GOOGLE_APPLICATION_CREDENTIALS"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class AddressError(ValueError):
    """Why a text is no address, and what to write instead; it never quotes what may be a credential."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectAddress:
    """`place` is a bucket, a container or a host with its port, empty for a file; `key` is what it is named there."""

    scheme: str
    place: str
    key: str

    @property
    def is_folder(self) -> bool:
        return not self.key or self.key.endswith("/")

    @property
    def root(self) -> str:
        """The address of the store."""
        return f"{self.scheme}://{self.place}"

    def __str__(self) -> str:
        return f"{self.root}/{self.key}"


def parse_address(text: str) -> ObjectAddress:
    """Read an address; `AddressError` where it is none, or holds what may be a credential."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise AddressError("not an address", "az://CONTAINER/PATH, s3://, gs://, file:///PATH or https://") from None
    if parts.username or parts.password or "@" in parts.netloc or parts.query or parts.fragment or "?" in text:
        own = _HOW.get(parts.scheme) or (_HOW["az"] if "blob." in parts.netloc else None)
        hint = f"az://CONTAINER/PATH, or s3:// or gs://, and the credential in {own or 'the environment or a file'} where tasks run"
        raise AddressError("a key or signature does not belong into an address", f"{hint}, or the machine's own identity")
    if parts.scheme in _BUCKETS and parts.hostname:
        return ObjectAddress(scheme=parts.scheme, place=parts.netloc, key=parts.path.removeprefix("/"))
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return ObjectAddress(scheme="file", place="", key=unquote(parts.path[1:]))
    if parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)):
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return ObjectAddress(scheme=parts.scheme, place=f"{host}:{port}" if port else host, key=parts.path.removeprefix("/"))
    raise AddressError("no inputs come from there", "az://CONTAINER/PATH, s3://, gs://, file:///PATH or https://")


def is_plain_path(path: str) -> bool:
    """Whether a relative path stays below the folder that it is looked for in: names alone, with ``/`` between."""
    return bool(path) and "\0" not in path and all(part not in ("", ".", "..") for part in path.split("/"))
