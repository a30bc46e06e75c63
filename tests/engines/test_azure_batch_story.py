"""The whole way of a sweep on Azure Batch, by the command line: declared, planned, run, read, and nothing left that costs money.

Asserted against what the service and the storage hold, never against what was said alone; and all of it is searched for secrets.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.engines.azure_place import AzurePlace
from tests.engines.azurite import KEY as STORAGE_KEY
from tests.flow.conftest import Wherry, _environment, usual_wheels, write_project
from tests.simulators.azure_batch import KEY
from tests.simulators.azure_batch_nodes import seconds_of
from tests.simulators.bases import publish_base
from tests.simulators.python_index import PythonIndex
from tests.simulators.registry import PASSWORD, USER, RegistrySimulator
from tests.unit.run.backend_contract import wait_until
from wherry.store.objects_open import open_objects

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("azure")]
STATE = "az://sweeps/story"
TRAIN = """import os, pathlib, sys
lr = float(sys.argv[1])
print("lr", lr)
with open(os.environ["WHERRY_METRICS"], "a") as file:
    file.write('{"metric": "loss", "value": %g}\\n' % (lr * lr))
(pathlib.Path(os.environ["WHERRY_OUTPUTS"]) / "model.txt").write_text(f"{lr}\\n")
if lr == 3 and os.environ["WHERRY_ATTEMPT"].endswith(".0"):
    sys.exit(75)
sys.exit(5 if lr == 4 else 0)
"""


@pytest.fixture(scope="module")
def registry() -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def wherry(azure_place: AzurePlace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wherry]:
    folder = tmp_path_factory.mktemp("story")
    with PythonIndex() as index:
        index.add(*usual_wheels())
        env = {
            **_environment(folder / "home", index),
            **azure_place.env,
            "REGISTRY_PASSWORD": PASSWORD,
            "WHERRY_JOBS": str(folder / "jobs"),
        }
        yield Wherry(store=folder / "store", cache=folder / "cache", env=env)


@pytest.fixture(scope="module")
def project(azure_place: AzurePlace, registry: RegistrySimulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    toml = f"""
base = "{publish_base(registry, "library/pybase", "3.11")}"
bytecode = "none"

[targets.big]
backend = "azure-batch"
account = "{azure_place.service.url}"
vm-size = "Standard_E32_v5"
image = "{registry.host}/ml/story"
nodes = 1
spot-nodes = 1
price-per-hour = 2.5
registry-user = "{USER}"
registry-password-env = "REGISTRY_PASSWORD"

[sweeps.rates]
command = "train.py {{lr}}"
grid = {{ lr = [1, 2, 3, 4] }}
time = "30m"
cpus = 16
state = "{STATE}"
"""
    folder = write_project(tmp_path_factory.mktemp("project"), {"wherry.toml": toml, "train.py": TRAIN})
    azure_place.folders[f"{registry.host}/ml/story"] = folder
    return folder


def is_ours(process: int) -> bool:
    """Whether this process began it, or one that it began."""
    while process > 1 and process != os.getpid():
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return process == os.getpid()


@contextmanager
def watch_processes() -> Iterator[list[str]]:
    """Command lines of all processes of ours meanwhile, as `ps` shows them to anybody."""
    seen: set[str] = set()
    found: list[str] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    if is_ours(int(place.parent.name)):
                        seen.add(place.read_bytes().decode(errors="replace"))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
        found += sorted(seen)


def read_state(env: dict[str, str], prefix: str = "") -> dict[str, bytes]:
    store = open_objects(STATE, env)
    keys = [one.key for page in store.list(prefix) for one in page]
    return {key: held.data for key in keys if (held := store.get(key)) is not None}


def nothing_stands(place: AzurePlace, env: dict[str, str]) -> bool:
    account = place.service.account
    return not account.pools and not account.jobs and not any(page for page in open_objects(STATE, env).list("tags/"))


def test_the_whole_story(
    wherry: Wherry, project: Path, azure_place: AzurePlace, azure_env: dict[str, str], registry: RegistrySimulator
) -> None:
    account = azure_place.service.account
    account.seen.clear()
    planned = wherry.run("sweep", "rates", "--on", "big", "--dry-run", "--json", cwd=project)
    plan = json.loads(planned.stdout)
    assert (plan["tasks"], plan["workers"], plan["at_once"], plan["hours_at_most"], plan["cost_at_most"]) == (4, 2, 4, 0.5, 2.5)
    assert "1 dedicated and 1 spot nodes of Standard_E32_v5, 64 cores" in plan["notes"][0]
    assert "quota" in plan["notes"][1]
    assert {line.partition(" ")[0] for line in account.seen} == {"GET"}

    account.asked.clear()
    with watch_processes() as shown:
        ran = wherry.run("sweep", "rates", "--on", "big", cwd=project)
    assert ran.returncode == 1, ran.stdout + ran.stderr  # one task is the author's to mend
    assert nothing_stands(azure_place, azure_env)

    table = json.loads(wherry.ok("sweep", "results", "--json", cwd=project))
    rows = [dict(row) if isinstance(row, dict) else dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert [(row["lr"], row["state"], row["loss"]) for row in rows] == [
        (1, "succeeded", 1.0),
        (2, "succeeded", 4.0),
        (3, "succeeded", 9.0),
        (4, "failed", 16.0),
    ]
    state = read_state(azure_env)
    left = {key.partition("/attempts/")[2]: data for key, data in state.items() if "/attempts/" in key}
    assert left["00000/002/1/outputs/model.txt"] == b"3.0\n"
    assert left["00000/003/0/stdout"] == b"lr 4.0\n"
    asked = [json.loads(raw) for raw in account.asked if raw]
    check_request(asked, registry)
    check_secrets(asked, [*state.values(), ran.stdout.encode(), ran.stderr.encode(), planned.stderr.encode()], shown)


def check_request(asked: list[dict[str, Any]], registry: RegistrySimulator) -> None:
    """What was made says whose it is and until when; its image is the one that was pushed, and Batch itself ends it."""
    job = next(body for body in asked if "poolInfo" in body)
    auto = job["poolInfo"]["autoPoolSpecification"]
    for labels in (job["metadata"], auto["pool"]["metadata"]):
        told = {item["name"]: item["value"] for item in labels}
        assert {"wherry-sweep", "wherry-owner", "wherry-expires", "wherry-job"} <= set(told)
    assert (auto["poolLifetimeOption"], auto["keepAlive"]) == ("job", False)
    assert 0 < (seconds_of(job["constraints"]["maxWallClockTime"]) or 0) <= 86400
    assert {"onAllTasksComplete": "terminatejob"} in asked
    (image,) = auto["pool"]["virtualMachineConfiguration"]["containerConfiguration"]["containerImageNames"]
    assert image.partition("@")[2] in {str(digest) for digest in registry.repositories["ml/story"].manifests}


def check_secrets(asked: list[dict[str, Any]], written: list[bytes], shown: list[str]) -> None:
    """Keys are nowhere; a signature is with the files that it is for, and can only write; a password is with its registry."""
    signatures = set()
    for body in asked:
        for task in body.get("value", ()):
            for output in task.pop("outputFiles"):
                query = parse_qs(urlsplit(output["destination"]["container"]["containerUrl"]).query)
                signatures.add(query["sig"][0])
                assert query["sp"] == ["cw"]
        if "poolInfo" in body:
            machine = body["poolInfo"]["autoPoolSpecification"]["pool"]["virtualMachineConfiguration"]
            assert machine["containerConfiguration"].pop("containerRegistries")[0]["password"] == PASSWORD
    assert signatures
    assert shown  # of our own processes at least the driver's; a task may be too quick to be seen
    everything = [json.dumps(asked).encode(), *written, *(line.encode() for line in shown)]
    for secret in (KEY, STORAGE_KEY, PASSWORD, *signatures, "sig="):
        assert not [text[:200] for text in everything if secret.encode() in text]


def test_a_quota_ends_the_sweep_with_a_remedy_and_nothing_stands(
    wherry: Wherry, project: Path, azure_place: AzurePlace, azure_env: dict[str, str]
) -> None:
    azure_place.service.account.behaviour.cores = 0
    done = wherry.run("sweep", "rates", "--on", "big", cwd=project)
    assert done.returncode == 16, done.stdout + done.stderr
    assert "CoreQuotaReached" in done.stderr
    assert "try: a larger quota" in done.stderr
    assert nothing_stands(azure_place, azure_env)


def kill_driver(wherry: Wherry, project: Path, place: AzurePlace) -> str:
    """Begin the sweep and kill whoever drives it, as soon as something that costs stands; gives its ID."""
    driver = wherry.start("sweep", "rates", "--on", "big", cwd=project, start_new_session=True)
    assert wait_until(lambda: any(place.service.account.tasks.values()))
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    assert place.service.account.pools
    return wherry.ok("sweep", "ls", cwd=project).splitlines()[1].split()[0]


def test_what_a_killed_driver_left_is_cleared_away(
    wherry: Wherry, project: Path, azure_place: AzurePlace, azure_env: dict[str, str]
) -> None:
    azure_place.service.account.behaviour.never_allocates = True
    sweep = kill_driver(wherry, project, azure_place)
    assert len(wherry.ok("sweep", "gc", sweep, cwd=project).splitlines()) == 2
    assert nothing_stands(azure_place, azure_env)


def test_what_a_killed_driver_began_is_gone_on_with(
    wherry: Wherry, project: Path, azure_place: AzurePlace, azure_env: dict[str, str]
) -> None:
    account = azure_place.service.account
    account.seen.clear()
    account.behaviour.never_allocates = True
    sweep = kill_driver(wherry, project, azure_place)
    account.behaviour.never_allocates = False
    done = json.loads(wherry.run("sweep", "resume", sweep, "--json", cwd=project).stdout)["counts"]
    assert (done["succeeded"], done["failed"]) == (3, 1)
    attempts = {key.rpartition("/attempts/")[2][:11] for key in read_state(azure_env, f"sweeps/{sweep}/attempts/")}
    # No task twice but the one that asked for it.
    assert attempts == {"00000/000/0", "00000/001/0", "00000/002/0", "00000/002/1", "00000/003/0"}
    assert nothing_stands(azure_place, azure_env)


def test_without_azure_s_storage_nothing_is_begun(wherry: Wherry, project: Path, tmp_path: Path) -> None:
    said = wherry.refused("sweep", "rates", "--on", "big", "--state", str(tmp_path), "--dry-run", cwd=project, code=2)
    assert "az://" in said
