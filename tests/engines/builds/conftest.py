"""An index on loopback and a project that asks it, anew for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.engines.builds.place import Place
from tests.simulators.python_index import PythonIndex


@pytest.fixture
def index() -> Iterator[PythonIndex]:
    require_tool("bwrap")
    with PythonIndex() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, index: PythonIndex) -> Place:
    return Place(tmp_path / "here", index)
