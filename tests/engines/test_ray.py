"""Workers on a real Ray of two nodes: what every backend of sweeps keeps, and what goes wrong with clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines.daemons import private_folder
from tests.engines.ray_cluster import RayCluster, run_ray
from tests.unit.run.sweep_backend_contract import SweepBackendContract
from wherry.run.backends.ray import RayBackend
from wherry.run.port import SweepBackend

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("ray")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with private_folder("ray") as folder, run_ray(folder) as running:
        yield running


@pytest.fixture(scope="module")
def shared(cluster: RayCluster) -> Iterator[RayBackend]:
    """One connection for many tests: it takes seconds."""
    backend = RayBackend(cluster.environment, python=cluster.python)
    yield backend
    backend.down()


class TestRay(SweepBackendContract):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "sweeps"

    @pytest.fixture
    def backend(self, shared: RayBackend) -> Iterator[Callable[[], SweepBackend]]:
        yield lambda: shared
        for resource in shared.list_resources():
            shared.release(resource)
        assert shared.list_resources() == ()
