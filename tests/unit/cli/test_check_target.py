"""What the target of a check has, told by options and by the declaration: a driver's CUDA, Windows' DLLs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.simulators.bases import publish_base, tar_of
from tests.simulators.registry import RegistrySimulator
from tests.simulators.wheels import make_wheel
from tests.unit.check.trees import Files, distribution, system
from tests.unit.formats.portables import make_pe
from wherry.check import gpu
from wherry.cli.check import register
from wherry.errors import CheckError, FormatError, UsageError
from wherry.formats.oci_json import render_config
from wherry.model.digest import DiffId
from wherry.model.platform import Platform
from wherry.store.archive import load_archive
from wherry.store.disk import DiskStore
from wherry.store.places import store_path

AMD64 = Platform("linux", "amd64")
WINDOWS = Platform("windows", "amd64")
SYSTEM32 = {f"Files/Windows/System32/{name}": b"" for name in ("KERNEL32.dll", "Odd.dll", "drivers/disk.sys")}


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return app


@pytest.fixture
def registry() -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        yield simulator


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    library = make_pe(["kernel32.dll", "odd.dll", "user32.dll"], exports=["PyInit__c"])
    return make_wheel(tmp_path, "x", "1.0", {"x/_c.pyd": library}, tag="cp311-cp311-win_amd64")


def subjects(app: typer.Typer, *words: str | Path) -> list[str]:
    done = CliRunner().invoke(app, ["check", "--json", *map(str, words)], catch_exceptions=False)
    assert done.exit_code in (0, CheckError.exit_code), done.output
    (report,) = json.loads(done.stdout)["reports"]
    return [finding["subject"] for finding in report["findings"]]


def save_image(path: Path, platform: Platform, name: str, *layers: Files) -> Path:
    """As `docker save` writes an image."""
    tars = [tar_of(files) for files in layers]
    diff_ids = [DiffId(hashlib.sha256(tar).hexdigest()) for tar in tars]
    config = render_config(platform=platform, created="2020-01-01T00:00:00Z", diff_ids=diff_ids)
    members = {f"{number}.tar": tar for number, tar in enumerate(tars)}
    manifest = json.dumps([{"Config": "c.json", "RepoTags": [name], "Layers": list(members)}]).encode()
    path.write_bytes(tar_of({"c.json": config, **members, "manifest.json": manifest}))
    return path


def test_more_dlls_by_a_list(app: typer.Typer, wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "dlls.txt").write_text("ODD.DLL\n")
    assert subjects(app, wheel) == ["odd.dll"]
    assert subjects(app, wheel, "--dlls", tmp_path / "dlls.txt") == []


def test_a_saved_image_of_windows_says_what_it_has(app: typer.Typer, wheel: Path, tmp_path: Path) -> None:
    archive = save_image(tmp_path / "nano.tar", WINDOWS, "nano:1", SYSTEM32)
    assert subjects(app, wheel, "--dlls", archive) == ["user32.dll"]
    (tmp_path / "dlls.txt").write_text("user32.dll\n")
    assert subjects(app, wheel, "--dlls", archive, "--dlls", tmp_path / "dlls.txt") == []


def test_an_image_of_windows_in_a_registry(app: typer.Typer, wheel: Path, registry: RegistrySimulator) -> None:
    name = publish_base(registry, "nano", "1", {WINDOWS: [SYSTEM32]})
    assert subjects(app, wheel, "--dlls", name) == ["user32.dll"]


def test_places_that_tell_of_no_dll(app: typer.Typer, wheel: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not here"):
        subjects(app, wheel, "--dlls", "nowhere")
    with pytest.raises(FormatError, match="no image of Windows"):
        subjects(app, wheel, "--dlls", save_image(tmp_path / "other.tar", WINDOWS, "other:1", {"Files/x": b""}))


def test_anybodys_image_and_the_driver_that_it_will_meet(app: typer.Typer, registry: RegistrySimulator) -> None:
    layers = [system(), distribution("torch", "2.9.0+cu130", {"torch/__init__.py": b""})]
    name = publish_base(registry, "gpu", "1", {AMD64: layers})
    assert "CUDA 13.0" not in subjects(app, name)
    assert "CUDA 13.0" in subjects(app, name, "--cuda", "12.4")
    with pytest.raises(UsageError, match="not a version of CUDA"):
        subjects(app, name, "--cuda", "cu124")


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ('driver = "550.54"\n', ["CUDA 13.0"]),
        ('cuda = "13.0"\n', []),
        ("", ["GPU"]),
    ],
)
def test_what_a_project_declares(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toml: str, told: list[str]
) -> None:
    monkeypatch.setattr(gpu, "_WORTH", 1000)
    layer = distribution("torch", "2.9.0+cu130", {"torch/lib/big.bin": bytes(2000)})
    archive = save_image(tmp_path / "a.tar", AMD64, "seer:latest", system(), layer)
    with archive.open("rb") as file:
        load_archive(DiskStore(store_path(os.environ)), file, where="a.tar")
    project = tmp_path / "seer"
    project.mkdir()
    (project / "wherry.toml").write_text(f'name = "seer"\nbase = "debian:bookworm"\n{toml}')
    assert [subject for subject in subjects(app, project) if subject in ("CUDA 13.0", "GPU")] == told


def test_an_environment_of_this_machine_and_a_root(app: typer.Typer, tmp_path: Path) -> None:
    record = "env/lib/python3.11/site-packages/torch-2.9.0+cu130.dist-info/METADATA"
    for path in (record, "root/" + record, "root/usr/x", "root/etc/x"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("Name: torch\nVersion: 2.9.0+cu130\n")
    for place in ("env", "root"):
        assert "CUDA 13.0" in subjects(app, tmp_path / place, "--cuda", "12.4")
        assert "CUDA 13.0" not in subjects(app, tmp_path / place)
