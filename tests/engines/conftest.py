"""The engines, once a session, and a tiny image that all of them can run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.engines.azure_place import azure_env, azure_place
from tests.engines.daemons import Daemon, run_containerd, run_docker, run_podman
from tests.engines.newer_docker import run_newer_docker

__all__ = ["azure_env", "azure_place"]


@pytest.fixture(scope="session")
def podman_engine() -> Iterator[Daemon]:
    with run_podman() as daemon:
        yield daemon


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Daemon]:
    with run_docker() as daemon:
        yield daemon


@pytest.fixture(scope="session")
def containerd_engine() -> Iterator[Daemon]:
    with run_containerd() as daemon:
        yield daemon


@pytest.fixture(scope="session")
def newer_docker_engine() -> Iterator[Daemon]:
    with run_newer_docker(containerd_store=False) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def newer_docker_containerd_store_engine() -> Iterator[Daemon]:
    with run_newer_docker(containerd_store=True) as daemon:
        yield daemon


@pytest.fixture
def wait_for() -> Callable[[Callable[[], bool]], bool]:
    """Wait until something happens, within a minute."""

    def wait(happens: Callable[[], bool]) -> bool:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if happens():
                return True
            time.sleep(0.1)
        return False

    return wait
