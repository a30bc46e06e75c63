"""Nothing that a sweep leaves tells its credentials: state, logs, records, process lists, images, errors. Grepped, all of them.

The store is Azure's emulator. Planted are the account's key, and a signature that stands for it in a second sweep.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote

import pytest
from backports import zstd

from tests.conftest import require_tool
from tests.engines.azure_services import STORAGE_ACCOUNT, STORAGE_KEY, Azurite, run_azurite
from tests.flow.conftest import Wherry, write_project

pytestmark = pytest.mark.engine
BAD_KEY = "cGxhbnRlZC1iYWQta2V5"
TRAIN = """\
import os, pathlib, sys, time
import tinyone
text = pathlib.Path(os.environ["WHERRY_INPUTS"], "numbers").read_text()
print("read", text, file=sys.stderr)
pathlib.Path(os.environ["WHERRY_OUTPUTS"], "model").write_text(text)
time.sleep(0.5)
"""
SWEEP = """
name = "hushed"
[sweeps.hush]
command = "train.py {i}"
grid = { i = [0, 1, 2] }
state = "az://sweeps/hushed"
inputs = [{ from = "az://sweeps/data/numbers", to = "numbers" }]
"""


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    blob = pytest.importorskip("azure.storage.blob")
    with run_azurite(tmp_path_factory.mktemp("azurite")) as running:
        with blob.BlobServiceClient(running.url, credential=STORAGE_KEY) as service:
            service.create_container("sweeps").upload_blob("data/numbers", b"1 2 3")
        yield running


@pytest.fixture
def mine(wherry: Wherry, azurite: Azurite, tmp_path: Path) -> Wherry:
    where = {"AZURE_STORAGE_ACCOUNT_NAME": STORAGE_ACCOUNT, "AZURE_STORAGE_ENDPOINT": azurite.url}
    return wherry.with_env(WHERRY_JOBS=str(tmp_path / "jobs"), WHERRY_ENGINE="bubblewrap", **where)


@pytest.fixture
def yard(seed: Any, tmp_path: Path) -> Path:
    folder = write_project(tmp_path / "yard", {"train.py": TRAIN, "wherry.toml": SWEEP})
    (folder / "wherry.lock").write_bytes((seed.project / "wherry.lock").read_bytes())
    return folder


def sign_container() -> str:
    from azure.storage.blob import generate_container_sas

    until = datetime.now(UTC) + timedelta(hours=1)
    return str(generate_container_sas(STORAGE_ACCOUNT, "sweeps", account_key=STORAGE_KEY, permission="racwdl", expiry=until))


def spellings(*secrets: str) -> tuple[bytes, ...]:
    return tuple({text.encode() for secret in secrets for text in (secret, quote(secret, safe=""), unquote(secret))})


@contextmanager
def watched_processes() -> Iterator[dict[str, int]]:
    """Command lines that were seen meanwhile, and how often."""
    seen: dict[str, int] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = place.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                except OSError:
                    continue
                seen[line] = seen.get(line, 0) + 1

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def read_state(azurite: Azurite) -> dict[str, bytes]:
    from azure.storage.blob import ContainerClient

    with ContainerClient(azurite.url, "sweeps", credential=STORAGE_KEY) as container:
        return {name: container.download_blob(name).readall() for name in container.list_blob_names()}


def read_files(*roots: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below, and what is in it where it is packed."""
    for root in roots:
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                yield str(path), data
                if data[:2] == b"\x1f\x8b":
                    yield f"{path} (gzip)", gzip.decompress(data)
                elif data[:4] == b"\x28\xb5\x2f\xfd":
                    yield f"{path} (zstd)", zstd.decompress(data)


def find_told(secrets: tuple[bytes, ...], *found: Mapping[str, bytes]) -> list[str]:
    return [name for files in found for name, data in files.items() if any(secret in data for secret in secrets)]


@pytest.mark.parametrize("target", ["local", "container"])
def test_nothing_tells_the_credentials(mine: Wherry, yard: Path, azurite: Azurite, tmp_path: Path, target: str) -> None:
    require_tool("bwrap")
    signature = sign_container()
    secrets = spellings(STORAGE_KEY) if target == "local" else spellings(signature, parse_qs(signature)["sig"][0])
    own = {"AZURE_STORAGE_ACCOUNT_KEY": STORAGE_KEY} if target == "local" else {"AZURE_STORAGE_SAS_TOKEN": signature}
    with watched_processes() as seen:
        done = mine.with_env(**own).run("sweep", "run", "hush", "--on", target, cwd=yard, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr
    state = read_state(azurite)
    told = mine.with_env(**own).ok("sweep", "results", "--json", cwd=yard) + mine.with_env(**own).ok("sweep", "logs", cwd=yard)
    assert sum(name.endswith("outputs/model") for name in state) >= 3
    assert b"az://sweeps/data/numbers" in b"".join(data for name, data in state.items() if "_DONE" in name)
    assert any("sweep_worker" in line for line in seen)
    assert any("train.py" in line for line in seen)
    said = {"said": (done.stdout + done.stderr + told).encode(), "ps": "\n".join(seen).encode()}
    kept = dict(read_files(tmp_path / "jobs", tmp_path / "yard", mine.store, mine.cache / "inputs"))
    assert find_told(secrets, state, said, kept) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"AZURE_STORAGE_ACCOUNT_KEY": BAD_KEY}, "no access"),
        ({"AZURE_STORAGE_SAS_TOKEN": f"sv=2024-01-01&se=2020-01-01&sr=c&sp=rl&sig={quote(BAD_KEY, safe='')}"}, "no access"),
        ({"AZURE_STORAGE_ACCOUNT_KEY": f"no base64: {BAD_KEY}"}, ""),
    ],
    ids=["key", "signature", "form"],
)
def test_errors_do_not_tell_them_either(mine: Wherry, yard: Path, wrong: dict[str, str], says: str) -> None:
    done = mine.with_env(**wrong).run("sweep", "ls", "--state", "az://sweeps/hushed", cwd=yard, timeout=60)
    assert done.returncode not in (0, 1), done.stdout + done.stderr
    assert says in done.stderr
    assert find_told(spellings(BAD_KEY, *wrong.values()), {"said": (done.stdout + done.stderr).encode()}) == []


def test_a_store_that_is_away_is_waited_for_without_telling_them(mine: Wherry, yard: Path) -> None:
    away = mine.with_env(AZURE_STORAGE_ACCOUNT_KEY=STORAGE_KEY, AZURE_STORAGE_ENDPOINT="http://127.0.0.1:9/nobody")
    process = away.start("sweep", "ls", "--state", "az://sweeps/hushed", cwd=yard)
    assert process.stderr is not None
    said = process.stderr.readline()  # when it begins to wait
    process.kill()
    out, err = process.communicate()
    assert "trying again" in said
    assert find_told(spellings(STORAGE_KEY), {"said": (said + out + err).encode()}) == []


def test_a_worker_that_has_no_access_says_so_without_them(mine: Wherry, yard: Path, tmp_path: Path) -> None:
    """The state is a folder; only the input is where the key is wrong."""
    text = (yard / "wherry.toml").read_text().replace("az://sweeps/hushed", (tmp_path / "state").as_uri())
    (yard / "wherry.toml").write_text(text)
    done = mine.with_env(AZURE_STORAGE_ACCOUNT_KEY=BAD_KEY).run("sweep", "run", "hush", "--on", "local", cwd=yard, timeout=170)
    assert done.returncode == 18, done.stdout + done.stderr
    assert "no access" in done.stderr
    kept = dict(read_files(tmp_path / "jobs", tmp_path / "state"))
    assert find_told(spellings(BAD_KEY), {"said": (done.stdout + done.stderr).encode(), **kept}) == []
    assert not any("_DONE" in name for name in kept)
