"""Images of every kind, built again from what is attached to them: conda's, wheels that were built, a managed Python, other bases.

The machine that builds again has a cache and a store that are empty, and neither index, channel, mirror nor base to ask.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tools.conda_channel.samples import write_samples

from tests.conftest import require_tool
from tests.flow.conftest import Seed, Wherry, write_project
from tests.flow.test_builds import MANAGED
from tests.flow.test_reference_base import publish_real_base
from tests.flow.test_sources import cut_off, push, rebuild
from tests.simulators.managed_python import archive_of_records, list_downloads
from tests.simulators.registry import RegistrySimulator
from tests.simulators.shipyard import make_sdist

pytestmark = [pytest.mark.network, pytest.mark.engine]


@pytest.fixture
def registry() -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        simulator.behaviour.referrers = True
        yield simulator


def carry(wherry: Wherry, project: Path, registry: RegistrySimulator, tmp_path: Path) -> tuple[set[str], dict[str, Any]]:
    """Build, push with the sources, take all of the project away, build again: the kinds of the files, and the proof."""
    built = wherry.build(project)
    reference = f"{registry.host}/team/carried:1"
    told = push(wherry, project, reference)["sources"]
    raw, _ = registry.repository("team/carried").manifests[told["artifacts"][0]]
    kinds = {layer["annotations"]["dev.wherry.source.kind"] for layer in json.loads(raw)["layers"][1:]}
    shutil.rmtree(project)
    bare = tmp_path / "bare"
    bare.mkdir()
    (proof,) = rebuild(cut_off(wherry, tmp_path), bare, reference)["images"]
    assert proof["equal"], proof["differences"]
    assert proof["image_id"]["found"] == built["images"][0]["config"]
    return kinds, proof


def test_records_of_conda_and_a_wheel_built_over_them(
    seed: Seed, wherry: Wherry, tmp_path: Path, registry: RegistrySimulator, conda_records: Callable[[str], list[Path]]
) -> None:
    pytest.importorskip("rattler")
    require_tool("bwrap")
    channel = write_samples(tmp_path / "channel", python=False)
    for archive in conda_records("linux-64"):
        channel.add_archive(archive)
    channel.write_index()
    seed.index.add(make_sdist("capstan", "1.0", requires=("tinyone",)))
    files = {
        "environment.yml": f"channels:\n  - {channel.folder.as_uri()}\ndependencies:\n  - python=3.11\n  - hello=1.0\n"
        "  - clobber-b\n  - pip:\n    - capstan\n",
        "wherry.toml": 'platforms = ["linux/amd64"]\nallow-build = ["capstan"]\n',
    }
    project = write_project(tmp_path / "project", files)
    (project / "requirements.txt").unlink()
    kinds, proof = carry(wherry, project, registry, tmp_path)
    assert kinds == {"deb", "record", "wheel", "archive"}
    assert {"python", "records", "wheels"} <= {layer["name"] for layer in proof["layers"] if layer["built"]}


def test_a_managed_python(
    wherry: Wherry, tmp_path: Path, registry: RegistrySimulator, conda_records: Callable[[str], list[Path]]
) -> None:
    archives = {("3.11.2", "linux/amd64"): archive_of_records(tmp_path / MANAGED, conda_records("linux-64"))}
    there = wherry.with_env(UV_PYTHON_DOWNLOADS_JSON_URL=list_downloads(tmp_path, archives))
    files = {"wherry.toml": 'python = "3.11"\ninterpreter = "managed"\nbytecode = "none"\nplatforms = ["linux/amd64"]\n'}
    kinds, proof = carry(there, write_project(tmp_path / "project", files), registry, tmp_path)
    assert kinds == {"deb", "python", "wheel"}
    assert {"base", "python", "wheels"} == {layer["name"] for layer in proof["layers"] if layer["built"]}


def test_a_base_that_somebody_published(seed: Seed, wherry: Wherry, tmp_path: Path, registry: RegistrySimulator) -> None:
    """Its registry is gone when the image is built again; its layers are the image's own."""
    with RegistrySimulator() as theirs:
        text = f'base = "{publish_real_base(seed, theirs)}"\nplatforms = ["linux/amd64"]\n'
        project = write_project(tmp_path / "project", {"wherry.toml": text})
        wherry.build(project)
        reference = f"{registry.host}/team/based:1"
        push(wherry, project, reference)
    bare = tmp_path / "bare"
    bare.mkdir()
    (proof,) = rebuild(cut_off(wherry, tmp_path), bare, reference)["images"]
    assert proof["equal"], proof["differences"]
    assert [layer["kind"] for layer in proof["layers"]][:2] == ["foreign", "foreign"]
    assert any(layer["kind"] == "bytecode" for layer in proof["layers"] if layer["built"])
