"""Inputs of sweeps out of Azure's storage, its emulator: over links that break, after a kill, of blobs that change."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.engines.azure_services import STORAGE_ACCOUNT, STORAGE_KEY, Azurite, run_azurite
from tests.simulators.link import LinkSimulator
from tests.unit.run.backend_contract import wait_until
from tests.unit.store.shelf import QUICK
from wherry.errors import StoreError, TransferError
from wherry.formats.object_address import parse_address
from wherry.store import objects_remote
from wherry.store.input_cache import InputCache
from wherry.store.object_download import ObjectSource, Traffic
from wherry.store.object_sources import ObjectSources
from wherry.store.part_file import RANGE

pytestmark = pytest.mark.engine
SIZE = 5 * RANGE + 12_345
AT_ONCE = 2
ADDRESS = "az://data/some folder/large.bin"
# One download in a process of its own: argv is the cache. It prints what came over the network.
FETCH = f"""
import json, os, sys
from pathlib import Path
from wherry.formats.object_address import parse_address
from wherry.store.input_cache import InputCache
from wherry.store.object_download import Traffic
from wherry.store.object_sources import ObjectSources
cache = InputCache(Path(sys.argv[1]), Traffic({AT_ONCE}))
with cache.open_views("w") as view:
    found = cache.fetch(ObjectSources(os.environ).open(parse_address("{ADDRESS}")), view / "x")
    print(json.dumps([found.sha256, found.moved, (view / "x").stat().st_size]))
"""


@pytest.fixture(scope="module")
def data() -> bytes:
    return random.Random(3).randbytes(SIZE)


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> Iterator[Azurite]:
    blob = pytest.importorskip("azure.storage.blob")
    with run_azurite(tmp_path_factory.mktemp("azurite")) as running:
        with blob.BlobServiceClient(running.url, credential=STORAGE_KEY) as service:
            container = service.create_container("data")
            container.upload_blob("some folder/large.bin", data)
            container.upload_blob("many/a", b"a")
            container.upload_blob("many/sub/b c", b"b")
        yield running


@pytest.fixture
def link(azurite: Azurite) -> Iterator[LinkSimulator]:
    with LinkSimulator(("127.0.0.1", urlsplit(azurite.url).port or 0)) as running:
        yield running


@pytest.fixture
def env(link: LinkSimulator, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Where obstore finds the emulator, over the link."""
    found = {"AZURE_STORAGE_ACCOUNT_NAME": STORAGE_ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": STORAGE_KEY}
    found["AZURE_STORAGE_ENDPOINT"] = f"http://127.0.0.1:{link.port}/{STORAGE_ACCOUNT}"
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **found}


def open_source(env: Mapping[str, str], address: str = ADDRESS) -> ObjectSource:
    return ObjectSources(env).open(parse_address(address))


def test_it_comes_whole_over_a_link_that_breaks(env: Mapping[str, str], link: LinkSimulator, data: bytes, tmp_path: Path) -> None:
    link.weather.cut_after, link.weather.cuts = 3_000_000, 6
    cache = InputCache(tmp_path, Traffic(4))
    with cache.open_views("w") as view:
        found = cache.fetch(open_source(env), view / "x")
        assert found is not None
        assert (found.sha256, found.size) == (hashlib.sha256(data).hexdigest(), SIZE)
        assert (view / "x").read_bytes() == data
    assert link.down < SIZE * 1.5


def test_a_connection_that_stalls_is_given_up(
    env: Mapping[str, str], link: LinkSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects_remote, "_STALL", "1s")
    link.weather.stall_after, link.weather.stalls = 2_000_000, 2
    cache = InputCache(tmp_path, Traffic(4))
    with cache.open_views("w") as view:
        found = cache.fetch(open_source(env), view / "x")
    assert found is not None
    assert found.size == SIZE


def test_a_store_that_is_away_is_given_up_at_last(env: Mapping[str, str], link: LinkSimulator, tmp_path: Path) -> None:
    source = open_source(env)
    link.weather.down = True
    cache = InputCache(tmp_path, Traffic(4, QUICK))
    with cache.open_views("w") as view, pytest.raises(TransferError) as caught:
        cache.fetch(source, view / "x")
    assert STORAGE_KEY not in str(caught.value)


def test_what_was_there_before_a_kill_is_not_moved_again(
    env: Mapping[str, str], link: LinkSimulator, data: bytes, tmp_path: Path
) -> None:
    """Another process waits for the one that is killed, and goes on from there."""
    link.weather.rate = 8_000_000
    words = [sys.executable, "-c", FETCH, str(tmp_path)]
    first = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL)
    assert wait_until(lambda: any(path.read_bytes().count(b"\n") > 1 for path in tmp_path.glob("parts/*.journal")), 60)
    second = subprocess.Popen(words, env=env, stdout=subprocess.PIPE)
    assert wait_until(lambda: any(path.read_bytes().count(b"\n") > 2 for path in tmp_path.glob("parts/*.journal")), 60)
    first.send_signal(signal.SIGKILL)
    first.wait()
    link.weather.rate = 0
    told, _ = second.communicate()
    sha256, moved, size = json.loads(told)
    assert (sha256, size) == (hashlib.sha256(data).hexdigest(), SIZE)
    assert moved <= SIZE - 2 * RANGE
    assert link.down < SIZE + (AT_ONCE + 1) * RANGE  # what was under way came twice, and no more
    assert not list(tmp_path.glob("parts/*"))


def test_a_blob_that_changes_meanwhile(env: Mapping[str, str], azurite: Azurite) -> None:
    from azure.storage.blob import BlobClient

    with BlobClient(azurite.url, "data", "changing", credential=STORAGE_KEY) as blob:
        blob.upload_blob(b"one")
        source = open_source(env, "az://data/changing")
        facts = source.describe()
        assert facts is not None
        assert b"".join(source.stream(0, 3, facts.version)) == b"one"
        blob.upload_blob(b"two", overwrite=True)
        with pytest.raises(StoreError, match="changed"):
            list(source.stream(0, 3, facts.version))
        blob.delete_blob()
        assert source.describe() is None
        with pytest.raises(StoreError, match="changed"):
            list(source.stream(0, 3, facts.version))


def test_a_folder_is_listed(env: Mapping[str, str]) -> None:
    assert sorted(ObjectSources(env).list_folder(parse_address("az://data/many/"))) == ["a", "sub/b c"]


def test_a_large_output_goes_in_parts(env: Mapping[str, str], azurite: Azurite, data: bytes, tmp_path: Path) -> None:
    from azure.storage.blob import BlobClient

    (tmp_path / "model").write_bytes(data)
    store = objects_remote.RemoteObjects("az://data/sweeps", env)
    store.put("model", tmp_path / "model")
    with BlobClient(azurite.url, "data", "sweeps/model", credential=STORAGE_KEY) as blob:
        blocks, uncommitted = blob.get_block_list("all")
        assert hashlib.sha256(blob.download_blob().readall()).digest() == hashlib.sha256(data).digest()
    assert [block.size for block in blocks[:2]] == [8 << 20, 8 << 20]
    assert uncommitted == []


def test_a_key_that_is_wrong_is_not_told(env: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, azurite: Any) -> None:
    del azurite
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "aHVudGVyMg==")
    with pytest.raises(StoreError, match="no access") as caught:
        open_source(env).describe()
    assert "aHVudGVyMg" not in str(caught.value)
