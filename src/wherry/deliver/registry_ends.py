"""Reads the documents of an image from its registry, for a difference. Apart, because an HTTP client is slow to import."""

from __future__ import annotations

from collections.abc import Mapping

from wherry.deliver.ends import FetchDocument, ImageEnd, read_registry_ends
from wherry.errors import FormatError
from wherry.formats.oci_json import MAX_DOCUMENT
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.sources.credentials import keep_credentials
from wherry.store.registry import RegistryStore
from wherry.store.registry_http import Transport
from wherry.store.registry_session import RegistrySession


def fetch_registry_ends(reference: Reference, env: Mapping[str, str], platform: Platform | None = None) -> tuple[ImageEnd, ...]:
    """The image that a reference means, all platforms or one, with the logins and proxies that `env` leads to."""
    session = RegistrySession(reference.registry, reference.repository, Transport(env), keep_credentials(env))
    store = RegistryStore(session, reference.repository)
    return read_registry_ends(reference, lambda each: store.resolve(each)[1], _blob_fetcher(store), platform)


def _blob_fetcher(store: RegistryStore) -> FetchDocument:
    def fetch_blob(reference: Reference) -> bytes:
        assert reference.digest is not None  # noqa: S101 - a config is always asked for by digest
        with store.open(reference.digest) as blob:
            raw = blob.read(MAX_DOCUMENT + 1)
            if len(raw) > MAX_DOCUMENT:
                raise FormatError(f"a config of more than {MAX_DOCUMENT} bytes", where=str(reference))
            # The reader verifies the digest when it meets the end.
            blob.read(1)
            return raw

    return fetch_blob
