"""Sweeps' workers on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.run.sweep_backend_contract import SweepBackendContract
from wherry.run.backends.local import LocalBackend
from wherry.run.port import SweepBackend


class TestLocalWorkers(SweepBackendContract):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "jobs/sweeps"

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Callable[[], SweepBackend]:
        return lambda: LocalBackend({**os.environ, "WHERRY_JOBS": str(tmp_path / "jobs")})
