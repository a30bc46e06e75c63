"""What is asked for `wherry check --host`, with servers and engines that are simulated."""

from __future__ import annotations

import base64
import json
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.simulators.registry import PASSWORD, USER, RegistrySimulator
from wherry.check.host import Server
from wherry.check.host_machine import ThisMachine, describe_index, describe_registry
from wherry.engines.network_probe import Target
from wherry.errors import TransferError


def machine(tmp_path: Path, registry: RegistrySimulator, password: str = PASSWORD) -> ThisMachine:
    login = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": login}}}))
    return ThisMachine(env={"DOCKER_CONFIG": str(tmp_path)})


@pytest.mark.parametrize("way", ["basic", "bearer"])
def test_a_registry_and_the_login_that_is_kept_for_it(tmp_path: Path, way: str) -> None:
    with RegistrySimulator() as registry:
        server = describe_registry(registry.host, {})
        answer = ThisMachine(env={}).ask_server(server)
        assert answer.date is not None
        assert abs((answer.date - datetime.now(UTC)).total_seconds()) < 60
        assert not answer.wants_login
        setattr(registry.behaviour, way, True)
        assert ThisMachine(env={}).ask_server(server).wants_login
        assert not ThisMachine(env={}).try_login(server)
        assert machine(tmp_path, registry).try_login(server)
        with pytest.raises(TransferError, match="login"):
            machine(tmp_path, registry, "wrong").try_login(server)


def test_an_index_gets_the_login_that_stands_in_its_address() -> None:
    with RegistrySimulator() as registry:
        registry.behaviour.basic = True
        named = describe_index(f"http://{USER}:{PASSWORD}@{registry.host}/v2/", {})
        assert PASSWORD not in named.subject
        assert not ThisMachine(env={}).ask_server(named).wants_login
        assert ThisMachine(env={}).ask_server(describe_index(f"http://{registry.host}/v2/", {})).wants_login


def test_nobody_listens_and_a_server_that_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(TransferError):
        ThisMachine(env={}).ask_server(describe_registry(f"127.0.0.1:{port}", {}))
    with RegistrySimulator() as registry:
        registry.fail(503, method="GET", path="/v2/")
        with pytest.raises(TransferError, match="answers 503"):
            ThisMachine(env={}).ask_server(describe_registry(registry.host, {}))


def test_where_containers_have_to_get() -> None:
    assert describe_registry("ghcr.io", {}).target == Target(host="ghcr.io", port=443)
    by_proxy = describe_registry("ghcr.io", {"HTTPS_PROXY": "http://user:secret@proxy.test:3128"})
    assert by_proxy == Server(name="ghcr.io", url="https://ghcr.io/v2/", target=Target(host="proxy.test", port=3128))
    local = describe_registry("127.0.0.1:5000", {"HTTP_PROXY": "http://proxy.test:3128"})
    assert (local.is_local, local.target.is_name) == (True, False)
    assert describe_index("http://index.test/simple", {}).target.port == 80


def test_an_engine_that_is_not_installed() -> None:
    info = ThisMachine(env={"PATH": "/nowhere"}).probe_engine("podman")
    assert (info.usable, info.reason) == (False, "podman is not installed")
