"""An operator's way with Azure IoT Edge: build, push to a private registry, export, deploy; then a new model, in two lines.

The device is a real docker that does what edgeAgent does with a manifest: it joins the create options, logs in with what
the manifest says, pulls by digest, and creates the container by docker's API, with not a word of its own.
"""

from __future__ import annotations

import difflib
import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.conftest import SHARED_DATA
from tests.engines.daemons import Daemon, run_docker
from tests.engines.registry_fixture import PASSWORD, USER, RealRegistry, run_registry
from tests.flow.conftest import PROGRAM, Seed, Wherry, locked_project

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.xdist_group("iotedge")]
NAME = "anomaly"
AGENT = str(PROGRAM.with_name("wherry-agent"))
MAIN = """
import os, pathlib
state = pathlib.Path("/state/runs")
state.write_text(str(runs := int(state.read_text()) + 1 if state.exists() else 1))
print(os.environ["LEVEL"], os.environ["with.dot"], pathlib.Path("model.bin").stat().st_size, runs, os.getuid(), flush=True)
"""
# As root: a volume that is not a folder of the image belongs to root, with any engine.
TOML = 'name = "anomaly"\nuser = "0:0"\nentrypoint = ["python", "main.py"]\nvolumes = ["/state"]\nmodels = ["model.bin"]\n'


@dataclass(frozen=True, kw_only=True)
class Device:
    """Knows docker, a manifest, and nothing else."""

    docker: Daemon

    def deploy(self, manifest: dict[str, Any]) -> tuple[str, str]:
        """Run the module as told until it ends; gives what it printed and what the pull said."""
        desired = manifest["modulesContent"]["$edgeAgent"]["properties.desired"]
        for login in desired["runtime"]["settings"]["registryCredentials"].values():
            words = ("docker", "login", "--username", login["username"], "--password-stdin", login["address"])
            done = self.docker.call(*words, stdin=login["password"].encode())
            assert done.returncode == 0, done.stderr
        module = desired["modules"][NAME]
        image = module["settings"]["image"]
        pulled = b""
        if module.get("imagePullPolicy") != "never":
            done = self.docker.call("docker", "pull", image)
            assert done.returncode == 0, done.stderr
            pulled = done.stdout
        pieces = sorted(key for key in module["settings"] if key.startswith("createOptions"))
        options = json.loads("".join(module["settings"][key] for key in pieces))
        env = [f"{key}={member['value']}" for key, member in module.get("env", {}).items()]
        body = {**options, "Image": image, "Env": [*options.get("Env", ()), *env]}
        self.docker.call("docker", "rm", "--force", NAME)
        self._post(f"/containers/create?name={NAME}", body)
        self._post(f"/containers/{NAME}/start", {})
        self._post(f"/containers/{NAME}/wait", {})
        logs = self.docker.call("docker", "logs", NAME)
        assert not logs.stderr, logs.stderr.decode()
        return logs.stdout.decode(), pulled.decode()

    def inspect(self) -> dict[str, Any]:
        return dict(json.loads(self.docker.call("docker", "inspect", NAME).stdout)[0])

    def _post(self, path: str, body: dict[str, Any]) -> None:
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(self.docker.socket))
        connection.request("POST", f"/v1.41{path}", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        assert answer.status < 400, (path, said)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with run_registry(tmp_path_factory.mktemp("registry"), login=True) as registry:
        yield registry


@pytest.fixture(scope="module")
def device(registry: RealRegistry) -> Iterator[Device]:
    with run_docker((registry.host,)) as docker:
        yield Device(docker=docker)


@pytest.fixture
def operator(wherry: Wherry, registry: RealRegistry, tmp_path: Path) -> Wherry:
    """Logged in at the registry."""
    login = {"auths": {registry.host: {"username": USER, "password": PASSWORD}}}
    (tmp_path / "auth.json").write_text(json.dumps(login))
    return wherry.with_env(REGISTRY_AUTH_FILE=str(tmp_path / "auth.json"))


def fill_in(text: str) -> dict[str, Any]:
    """What ``envsubst`` does on the way to Azure."""
    document = json.loads(text)
    (login,) = document["modulesContent"]["$edgeAgent"]["properties.desired"]["runtime"]["settings"]["registryCredentials"].values()
    return dict(json.loads(text.replace(login["username"], USER).replace(login["password"], PASSWORD)))


def validate(document: dict[str, Any]) -> None:
    schema = SHARED_DATA / "iotedge/schemastore-azure-iot-edge-deployment-2.0.json"
    if schema.is_file():
        jsonschema.validate(document, json.loads(schema.read_text()))


def test_from_a_project_to_a_module_and_to_its_next_model(
    operator: Wherry, seed: Seed, registry: RealRegistry, device: Device, tmp_path: Path
) -> None:
    files: dict[str, str | bytes] = {"main.py": MAIN, "wherry.toml": TOML, "model.bin": b"1" * 6000}
    project = locked_project(seed, tmp_path / "project", files)
    deployment = tmp_path / "deployment.json"  # beside the project: in it, it would be a part of the image

    operator.build(project)
    image = operator.ok("push", f"{registry.host}/vans/anomaly", cwd=project).strip()
    flags = (
        "-e",
        "LEVEL=info",
        "-e",
        "with.dot=é",
        "--network",
        "host",
        "--memory",
        "256m",
        "--cpus",
        "0.5",
        "--startup-order",
        "5",
        "--read-only",
    )
    (tmp_path / "labels.json").write_text(json.dumps({"Labels": {f"label-{number}": "x" * 30 for number in range(20)}}))
    operator.ok("export", "iotedge", image, *flags, "--create-options", "../labels.json", "-o", deployment, cwd=project)
    first = deployment.read_text()
    assert PASSWORD not in first
    validate(json.loads(first))
    printed, _ = device.deploy(fill_in(first))
    assert printed.split() == ["info", "é", "6000", "1", "0"]
    seen = device.inspect()
    assert (seen["HostConfig"]["Memory"], seen["HostConfig"]["NanoCpus"]) == (256 << 20, 500_000_000)
    assert seen["HostConfig"]["Binds"] == ["anomaly-state:/state"]
    assert seen["HostConfig"]["ReadonlyRootfs"] is True
    assert seen["HostConfig"]["NetworkMode"] == "host"
    assert len(seen["Config"]["Labels"]) >= 20

    (project / "model.bin").write_bytes(b"2" * 6001)
    layers = len(operator.build(project)["images"][0]["layers"])
    image = operator.ok("push", f"{registry.host}/vans/anomaly", cwd=project).strip()
    operator.ok("export", "iotedge", image, "--into", deployment, "-o", deployment, cwd=project)
    second = deployment.read_text()
    changed = [line[1:].strip() for line in difflib.ndiff(first.splitlines(), second.splitlines()) if line[0] == "+"]
    assert [line.partition(":")[0] for line in changed] == ['"version"', '"image"']
    printed, pulled = device.deploy(fill_in(second))
    assert printed.split() == ["info", "é", "6001", "2", "0"], "the volume that the image declares outlived the exchange"
    assert pulled.count("Already exists") == layers - 1


def test_images_that_the_agent_brings_and_iot_edge_runs(operator: Wherry, seed: Seed, device: Device, tmp_path: Path) -> None:
    """A stick with a parcel, a device whose engine is docker, and a deployment that pulls nothing."""
    files: dict[str, str | bytes] = {"main.py": MAIN, "wherry.toml": TOML, "model.bin": bytes(6000)}
    project, fleet, keys = locked_project(seed, tmp_path / "project", files), tmp_path / "fleet", tmp_path / "keys"
    operator.ok("channel", "keys", "init", fleet, "--keys", keys, "--no-passphrase", cwd=project)
    (tmp_path / "agent.toml").write_text(
        'engine = "docker"\nstate = "state"\n[container]\nname = "brought"\nstart = false\n'
        f'[channel]\nurl = "{fleet.as_uri()}"\nroot = "fleet/metadata/1.root.json"\n'
    )
    former = "full"
    for number, model in enumerate((bytes(6000), bytes(5999) + b"1")):
        (project / "model.bin").write_bytes(model)
        operator.build(project)
        operator.ok("release", "anomaly", "--channel", fleet, "--keys", keys, cwd=project)
        parcel = fleet / "parcels" / "linux-amd64" / former
        assert number == 0 or parcel.stat().st_size < 1500
        agent = (AGENT, "--config", str(tmp_path / "agent.toml"), "apply", str(parcel))
        done = device.docker.call(*agent)
        assert done.returncode == 0, done.stderr.decode()
        words = ("--channel", fleet, "--brought-as", "brought", "--module", NAME, "--network", "host")
        flags = ("-e", "LEVEL=info", "-e", "with.dot=x", "-v", "brought-state:/state")
        document = json.loads(operator.ok("export", "iotedge", *words, *flags, cwd=project))
        validate(document)
        module = document["modulesContent"]["$edgeAgent"]["properties.desired"]["modules"][NAME]
        assert (module["imagePullPolicy"], module["version"]) == ("never", str(number + 1))
        printed, _ = device.deploy(document)
        assert printed.split() == ["info", "x", "6000", str(number + 1), "0"]
        (former,) = {path.name for path in (fleet / "parcels" / "linux-amd64").iterdir()} - {"full", former}


def test_nothing_leaves_when_the_registry_lacks_the_image(operator: Wherry, project: Path, registry: RealRegistry) -> None:
    operator.build(project)
    told = operator.refused("export", "iotedge", "--repository", f"{registry.host}/vans/none", "-o", "d.json", cwd=project, code=13)
    assert f"try: wherry push {registry.host}/vans/none" in told
    assert not (project / "d.json").exists()


def test_a_login_spelt_out_is_one_that_works(operator: Wherry, project: Path, registry: RealRegistry, device: Device) -> None:
    operator.build(project)
    image = operator.ok("push", f"{registry.host}/vans/project", cwd=project).strip()
    words = ("--credentials", "inline", "--network", "host", "--module", NAME)
    document = json.loads(operator.ok("export", "iotedge", image, *words, cwd=project))
    device.docker.call("docker", "logout", registry.host)
    printed, _ = device.deploy(document)
    assert json.loads(printed)["answer"] == 41
