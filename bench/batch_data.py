"""The bench `batch-data`: one large blob of Azurite, sixteen connections of 20 MB/s each against one, beside what others do.

Each download is a process of its own; the sides take turns.

Azurite and the proxy share the processors with who is measured, so the figures say more about each other than about a network.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.engines.azure_services import STORAGE_ACCOUNT, STORAGE_KEY, Azurite, run_azurite

from bench.batch_download import BLOB
from bench.cases import measure_cases
from bench.harness import NotMeasured, Run, run_process
from bench.results import Figure, Results, Target, figure, ratio

CASES = ("capped-16-to-1",)
TITLES = {"capped-16-to-1": "200 MB over 16 connections of 20 MB/s each, against one"}
TARGETS = {
    "capped-16-to-1": (Target(metric="ratio", limit=4, at_least=True), Target(metric="peak_mb", limit=200)),
}
_SIZE = 200_000_000
_CAP = 20_000_000
_MANY = 16
_ROUNDS = 3
_RIVALS = ("azure-storage-blob", "adlfs")


def run(work: Path, source: Path, results: Results, cases: tuple[str, ...]) -> None:
    """Measure the cases with the wherry that this Python has."""
    del source
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)

    def measure(case: str) -> Iterator[Figure]:
        with run_azurite(work / "azurite") as azurite, _run_proxy(azurite) as endpoint:
            yield from _measure(case, work, _put_blob(azurite), endpoint)

    measure_cases("batch-data", cases, TITLES, TARGETS, results, measure)
    shutil.rmtree(work)


def _measure(case: str, work: Path, sha256: str, endpoint: str) -> Iterator[Figure]:
    env = {**os.environ, "AZURE_STORAGE_ACCOUNT_NAME": STORAGE_ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": STORAGE_KEY}
    env["AZURE_STORAGE_ENDPOINT"] = endpoint
    sides = [("wherry", 1), ("wherry", _MANY), *((rival, _MANY) for rival in _RIVALS)]
    taken: dict[tuple[str, int], list[tuple[float, Run]]] = {side: [] for side in sides}
    for _ in range(_ROUNDS):
        for subject, connections in sides:
            path = work / "large.bin"
            words = [sys.executable, "-m", "bench.batch_download", subject, str(connections), str(path)]
            done = run_process(words, env=env, memory=True)
            told = json.loads(done.output)
            if told["sha256"] != sha256:
                raise NotMeasured(f"{subject} gave other bytes")
            taken[subject, connections].append((told["seconds"], done))
            for left in work.glob("large.bin*"):
                left.unlink()
    for (subject, connections), runs in taken.items():
        named = f"{subject}, {connections} connection{'s' if connections > 1 else ''}"
        yield figure(case, named, "mb_s", [_SIZE / 1e6 / seconds for seconds, _ in runs], "MB/s")
        yield figure(case, named, "peak_mb", [one.peak / 1e6 for _, one in runs], "MB")
    many = taken["wherry", _MANY]
    yield ratio(case, "ratio", [seconds for seconds, _ in taken["wherry", 1]], [seconds for seconds, _ in many])
    yield figure(case, "wherry", "peak_mb", [one.peak / 1e6 for _, one in many], "MB")


def _put_blob(azurite: Azurite) -> str:
    from azure.storage.blob import BlobServiceClient

    container, _, name = BLOB.partition("/")
    data = random.Random(1).randbytes(_SIZE)
    with BlobServiceClient(azurite.url, credential=STORAGE_KEY) as service:
        service.create_container(container).upload_blob(name, data)
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _run_proxy(azurite: Azurite) -> Iterator[str]:
    """The blob service's address by way of the proxy."""
    port = str(urlsplit(azurite.url).port)
    words = [sys.executable, "-m", "bench.capped_proxy", port, str(_CAP)]
    proxy = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert proxy.stdout is not None
    try:
        yield azurite.url.replace(port, proxy.stdout.readline().strip())
    finally:
        proxy.terminate()
        proxy.wait()
        proxy.stdout.close()
