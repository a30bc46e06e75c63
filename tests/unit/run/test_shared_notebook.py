"""An image with JupyterLab that was shared: what `wherry run` fills in, and whose files what starts in it leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.engines.port import EngineImage, Mount, MountKind, PublishedPort, RunSpec
from wherry.formats.oci_json import parse_config, render_config
from wherry.model.oci import NOTEBOOK
from wherry.run import notebook_start
from wherry.run.shared_notebook import complete_notebook
from wherry.store.host import read_host_platform

VOLUMES = ("/work/notebooks", "/work/data")


def make_spec(label: str = "8888", **more: object) -> RunSpec:
    labels = {NOTEBOOK: label} if label else {}
    platform, made = read_host_platform(), "1980-01-01T00:00:00Z"
    raw = render_config(platform=platform, created=made, diff_ids=[], labels=labels, volumes=VOLUMES)
    return RunSpec(image=EngineImage(config=parse_config(raw, where="test")), name="n", **more)  # type: ignore[arg-type]


def test_what_is_left_open_is_filled_in(tmp_path: Path) -> None:
    told: list[str] = []
    spec = complete_notebook(make_spec(), tmp_path, told.append)
    assert spec.ports == (PublishedPort(container_port=8888, host_port=8888, address="127.0.0.1"),)
    assert {mount.target: mount.source for mount in spec.mounts} == {
        "/work/notebooks": f"{tmp_path}/notebooks",
        "/work/data": f"{tmp_path}/data",
    }
    assert (tmp_path / "notebooks").is_dir()
    assert len(told) == 2


def test_what_was_said_counts(tmp_path: Path) -> None:
    own = Mount(kind=MountKind.VOLUME, source="mine", target="/work/notebooks")
    port = PublishedPort(container_port=8888)
    spec = complete_notebook(make_spec(mounts=(own,), ports=(port,)), tmp_path, lambda _text: None)
    assert spec.ports == (port,)
    assert [mount.target for mount in spec.mounts] == ["/work/notebooks", "/work/data"]
    assert not (tmp_path / "notebooks").exists()
    assert complete_notebook(make_spec(network="host"), tmp_path, lambda _text: None).ports == ()


def test_other_images_and_commands_stay_as_they_are(tmp_path: Path) -> None:
    for spec in (make_spec(""), make_spec("no port"), make_spec(command=("python",))):
        assert complete_notebook(spec, tmp_path, lambda _text: None) is spec
    assert not list(tmp_path.iterdir())


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The container's folders, and a project that brings notebooks."""
    for name in ("notebooks", "data"):
        (tmp_path / "work" / name).mkdir(parents=True)
    (tmp_path / "app/notebooks/deep").mkdir(parents=True)
    (tmp_path / "app/notebooks/deep/look.ipynb").write_text("{}")
    monkeypatch.setattr(notebook_start, "WORK", tmp_path / "work")
    monkeypatch.chdir(tmp_path / "app")
    return tmp_path / "work"


def test_empty_volumes_begin_with_the_projects_files(work: Path) -> None:
    (work / "data/own.csv").write_text("mine")
    notebook_start.fill_volumes(0, 0)
    assert (work / "notebooks/deep/look.ipynb").read_text() == "{}"
    (work / "notebooks/deep/look.ipynb").write_text("changed")
    notebook_start.fill_volumes(0, 0)
    assert (work / "notebooks/deep/look.ipynb").read_text() == "changed"
    assert [path.name for path in (work / "data").iterdir()] == ["own.csv"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root finds and gives away what belongs to others")
def test_files_belong_to_whoever_owns_the_notebooks(work: Path) -> None:
    assert notebook_start.find_owner() == (10001, 10001)  # empty, and root's: a fresh volume
    os.chown(work / "notebooks", 1234, 4321)
    assert notebook_start.find_owner() == (1234, 4321)
    notebook_start.fill_volumes(1234, 4321)
    assert {path.stat().st_uid for path in (work / "notebooks").rglob("*")} == {1234}
    os.chown(work / "notebooks", 0, 0)
    assert notebook_start.find_owner() == (0, 0)  # root's, and in use
