"""Create options from an image and docker's flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wherry.deliver.edge_options import EdgeOptions, derive_create_options, parse_cpus, parse_memory, split_env
from wherry.errors import UsageError
from wherry.formats.oci_json import parse_config, render_config
from wherry.model.oci import ImageConfig
from wherry.model.platform import Platform
from wherry.model.release import Health
from wherry.run.grammar import parse_mount, parse_port


def make_config(**members: Any) -> ImageConfig:
    return parse_config(render_config(platform=Platform("linux", "arm64"), created="", diff_ids=(), **members))


def derive(config: ImageConfig | None = None, health: Health | None = None, **members: Any) -> dict[str, Any]:
    return derive_create_options("anomaly", config or make_config(), EdgeOptions(**members), health)


def test_what_the_image_says_is_not_said_again() -> None:
    assert derive(make_config(entrypoint=("python", "main.py"), env=("A=1",), user="10001", workdir="/app")) == {}


def test_ports() -> None:
    ports = tuple(map(parse_port, ("8080:80", "127.0.0.1:53:53/udp", "[::1]:8081:80", "9000")))
    assert derive(make_config(ports=("80", "53/udp")), ports=ports) == {
        "ExposedPorts": {"9000/tcp": {}},
        "HostConfig": {
            "PortBindings": {
                "80/tcp": [{"HostPort": "8080"}, {"HostIp": "::1", "HostPort": "8081"}],
                "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "53"}],
                "9000/tcp": [{"HostPort": ""}],
            }
        },
    }


def test_mounts_and_the_volumes_of_the_image() -> None:
    mounts = tuple(parse_mount(text, Path("/"), {}) for text in ("/srv/in:/in:ro", "state:/state", "/scratch"))
    config = make_config(volumes=("/state", "/var/lib/it's here"), env=("PYTHONPYCACHEPREFIX=/var/cache/python/0123",))
    assert derive(config, mounts=mounts)["HostConfig"] == {
        "Binds": [
            *("/srv/in:/in:ro", "state:/state"),
            *("anomaly-var-lib-it-s-here:/var/lib/it's here", "anomaly-var-cache-python:/var/cache/python"),
        ],
        "Tmpfs": {"/scratch": ""},
    }


def test_limits_and_the_rest() -> None:
    options = derive(
        memory=parse_memory("256m"),
        cpus=parse_cpus("0.5"),
        gpus="all",
        network="host",
        user="0",
        workdir="/app",
        read_only=True,
        env=(("A", "1"), ("with.dot", "é")),
        extra={"HostConfig": {"Memory": 1, "Devices": [{"PathOnHost": "/dev/video0"}]}},
    )
    assert options == {
        "User": "0",
        "WorkingDir": "/app",
        "Env": ["with.dot=é"],
        "NetworkingConfig": {"EndpointsConfig": {"host": {}}},
        "HostConfig": {
            "NetworkMode": "host",
            "ReadonlyRootfs": True,
            "Memory": 1,
            "NanoCpus": 500_000_000,
            "DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}],
            "Devices": [{"PathOnHost": "/dev/video0"}],
        },
    }
    assert derive(gpus="2")["HostConfig"]["DeviceRequests"][0]["Count"] == 2


def test_a_health_command_becomes_the_containers() -> None:
    health = Health(command=("python", "-m", "check"), within=60)
    assert derive(health=health)["Healthcheck"] == {
        "Test": ["CMD", "python", "-m", "check"],
        "Interval": 30 * 10**9,
        "Timeout": 30 * 10**9,
        "StartPeriod": 60 * 10**9,
        "Retries": 3,
    }
    assert derive(health=Health(log="ready")) == {}


def test_variables_that_a_twin_cannot_hold() -> None:
    fits, rest = split_env((("A", "1"), ("b.c", "2"), ("$D", "3"), ("LONG", "x" * 5000)))
    assert (fits, [key for key, _ in rest]) == ((("A", "1"),), ["b.c", "$D", "LONG"])


@pytest.mark.parametrize(("text", "size"), [("256m", 256 << 20), ("1G", 1 << 30), ("6291456", 6 << 20), ("20000kb", 20000 << 10)])
def test_memory(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "1m", "-5m", "256 m", "1.5g", "lots"])
def test_no_memory(text: str) -> None:
    with pytest.raises(UsageError, match="--memory"):
        parse_memory(text)


@pytest.mark.parametrize("text", ["", "0", "0.001", "-1", "NaN", "Infinity", "1e99", "two"])
def test_no_processors(text: str) -> None:
    with pytest.raises(UsageError, match="--cpus"):
        parse_cpus(text)


def test_no_gpus() -> None:
    with pytest.raises(UsageError, match="--gpus"):
        derive(gpus="some")
