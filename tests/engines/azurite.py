"""Azurite, the emulator of Azure's storage, on a port of its own: one container, and the variables that obstore finds it by."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import require_tool

ACCOUNT = "devstoreaccount1"  # the well-known ones of its documentation
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
PROGRAM = Path(__file__).parents[2] / ".node/node_modules/.bin/azurite-blob"


@dataclass(frozen=True, slots=True, kw_only=True)
class Azurite:
    endpoint: str
    container: str

    @property
    def env(self) -> dict[str, str]:
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": self.endpoint,
        }


@contextmanager
def run_azurite(container: str = "sweeps") -> Iterator[Azurite]:
    """Start it, wait for it, end it."""
    require_tool("node")
    blob = pytest.importorskip("azure.storage.blob")
    if not PROGRAM.is_file():
        pytest.skip("azurite is not installed: make engines")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="azurite-") as folder:
        words = ["--location", folder, "--blobHost", "127.0.0.1", "--blobPort", str(port)]
        process = subprocess.Popen(
            [PROGRAM, *words, "--disableTelemetry", "--skipApiVersionCheck", "--silent"], stdout=subprocess.DEVNULL
        )
        try:
            endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
            _wait(port)
            with blob.BlobServiceClient(endpoint, credential=KEY) as service:
                service.create_container(container)
            yield Azurite(endpoint=endpoint, container=container)
        finally:
            process.terminate()
            process.wait()


def _wait(port: int) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return
