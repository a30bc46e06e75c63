"""One download, as a process of its own: ``python -m bench.batch_download SUBJECT CONNECTIONS FILE``; prints seconds and digest.

The endpoint stands in AZURE_STORAGE_ENDPOINT, the account's well-known name and key beside it. Time is that of the download alone,
without the start of Python and of the library.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from wherry.formats.object_address import parse_address
from wherry.store.object_download import Traffic, download_object
from wherry.store.object_sources import ObjectSources
from wherry.store.part_file import PartFile

BLOB = "data/large.bin"


def main() -> None:
    subject, connections, path = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    download = {"wherry": _prepare_wherry, "azure-storage-blob": _prepare_sdk, "adlfs": _prepare_adlfs}[subject](connections, path)
    start = time.perf_counter()
    download()
    seconds = time.perf_counter() - start
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    print(json.dumps({"seconds": seconds, "sha256": sha256}))


def _prepare_wherry(connections: int, path: Path) -> Callable[[], None]:
    """With the digest, and durable, as wherry does it always."""
    source = ObjectSources(os.environ).open(parse_address(f"az://{BLOB}"))

    def download() -> None:
        facts = source.describe()
        assert facts is not None
        part = PartFile(path, source.address, facts)
        download_object(source, facts, part, Traffic(connections))
        part.close()

    return download


def _prepare_sdk(connections: int, path: Path) -> Callable[[], None]:
    from azure.storage.blob import BlobClient

    container, _, name = BLOB.partition("/")
    client = BlobClient(os.environ["AZURE_STORAGE_ENDPOINT"], container, name, credential=os.environ["AZURE_STORAGE_ACCOUNT_KEY"])

    def download() -> None:
        with path.open("wb") as file:
            client.download_blob(max_concurrency=connections).readinto(file)

    return download


def _prepare_adlfs(connections: int, path: Path) -> Callable[[], None]:
    from adlfs import AzureBlobFileSystem

    name, key = os.environ["AZURE_STORAGE_ACCOUNT_NAME"], os.environ["AZURE_STORAGE_ACCOUNT_KEY"]
    where = f"DefaultEndpointsProtocol=http;AccountName={name};AccountKey={key}"
    files = AzureBlobFileSystem(connection_string=f"{where};BlobEndpoint={os.environ['AZURE_STORAGE_ENDPOINT']};")

    def download() -> None:
        files.get_file(BLOB, str(path), max_concurrency=connections)

    return download


if __name__ == "__main__":
    main()
