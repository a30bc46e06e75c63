"""Conda's packages over a base that somebody published: its Python is not asked for, its layers stay as they are.

The base is text that tells what a lock asks of a base, the interpreter a stand-in: nothing but loopback is needed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.conda_channel.samples import write_samples

from tests.flow.conftest import BOTH, Wherry, _environment, layers_of, write_project
from tests.simulators.bases import publish_base
from tests.simulators.python_index import PythonIndex
from tests.simulators.registry import RegistrySimulator

pytest.importorskip("rattler")

ENVIRONMENT = """\
channels: [{channel}]
dependencies:
  - python=3.11
  - hello=1.0
  - pip: [tinyone==1.0]
"""


@pytest.fixture
def registry() -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        yield simulator


@pytest.fixture
def wherry(index: PythonIndex, tmp_path: Path) -> Wherry:
    return Wherry(store=tmp_path / "store", cache=tmp_path / "cache", env=_environment(tmp_path / "home", index))


@pytest.fixture
def project(registry: RegistrySimulator, tmp_path: Path) -> Path:
    base = publish_base(registry, "library/pybase", "3.12")
    channel = write_samples(tmp_path / "channel").folder.as_uri()
    files = {"wherry.toml": f'base = "{base}"\nbytecode = "none"\n', "environment.yml": ENVIRONMENT.format(channel=channel)}
    project = write_project(tmp_path / "project", files)
    (project / "requirements.txt").unlink()
    return project


def test_the_base_stays_and_conda_brings_python(wherry: Wherry, project: Path) -> None:
    made = wherry.build(project, *BOTH)
    for locked in tomllib.loads((project / "wherry.lock").read_text())["platform"]:
        assert locked["interpreter"] == {"source": "conda", "version": "3.11.2", "path": "/opt/conda/bin/python3.11"}
        layers = layers_of(made, locked["platform"])
        assert [layer["diff_id"] for layer in layers[:2]] == locked["base"]["diff_ids"]
        assert [layer["cause"] for layer in layers[2:]] == ["python 3.11.2", "records", "tinyone 1.0", "code"]


def test_every_host_makes_the_same_image_and_a_rebuild_asks_nobody(
    wherry: Wherry, project: Path, registry: RegistrySimulator, tmp_path: Path
) -> None:
    first = wherry.build(project)
    other = Wherry(store=tmp_path / "other-store", cache=tmp_path / "other-cache", env=wherry.env)
    assert other.build(project) == first
    (project / "main.py").write_text("print(2)\n")
    registry.forget()
    assert wherry.build(project)["index"] != first["index"]
    assert registry.bytes_out == 0
