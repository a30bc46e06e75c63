"""Opens an object store by its address: a folder, ``file://``, ``s3://``, ``az://``, ``gs://``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from wherry.errors import UsageError
from wherry.store.objects import ObjectStore
from wherry.store.objects_folder import FolderObjects
from wherry.store.objects_patient import PatientObjects
from wherry.store.objects_remote import RemoteObjects

_REMOTE = ("s3", "az", "gs")


def open_objects(address: str, env: Mapping[str, str], say: Callable[[str], None] = lambda _text: None) -> ObjectStore:
    """The store at `address`. `env` is where endpoints are read; a remote one is patient, and says what it waits for."""
    parts = urlsplit(address)
    if parts.username or parts.password or parts.query:
        what = "a credential does not belong into an address"
        raise UsageError(what, where=f"{parts.scheme}://{parts.hostname}", hint="variables or files, as for the cloud's own tools")
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return FolderObjects(Path(unquote(parts.path)))
    if not parts.scheme:
        return FolderObjects(Path(address))
    if parts.scheme in _REMOTE and parts.hostname:
        return PatientObjects(RemoteObjects(address, env), say)
    raise UsageError(f"no object store has addresses like {parts.scheme}://", hint="a folder, s3://BUCKET/PREFIX, az:// or gs://")
