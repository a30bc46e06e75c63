"""What a device does with real engines, unmodified: read an image's files, load an archive without the layers that are there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import cannot_run, require_tool
from tests.engines.images import busybox_entries, layer_bytes
from wherry.engines.base_files import open_base
from wherry.engines.device import IMAGE_LABEL, DeviceEngine
from wherry.engines.device_choice import make_device_engine
from wherry.engines.port import EngineImage, Mount, MountKind, RunSpec
from wherry.engines.sparse import Delivery, load_delivery, probe_sparse
from wherry.errors import EngineError, TrustError
from wherry.formats.oci_json import parse_config, parse_manifest, render_config
from wherry.formats.tar import file_entry
from wherry.model.digest import DiffId
from wherry.store.host import read_host_platform

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engines")]

VAN = f"van-{os.getpid()}"  # runc knows the containers of all engines of a machine by one list
LOOP = b'#!/bin/sh\ntrap "exit 0" TERM\necho started $(cat /srv/model)\nwhile :; do sleep 0.1; done\n'


@dataclass(frozen=True, kw_only=True)
class Made:
    """Two images: of a base and an app with model 1, and the same with model 2 in the place of the last layer."""

    tars: dict[DiffId, bytes]
    one: EngineImage
    two: EngineImage

    def delivery(self, image: EngineImage, new: tuple[DiffId, ...], **more: object) -> Delivery:
        sizes = {diff_id: len(self.tars[diff_id]) for diff_id in image.config.diff_ids}
        contents = {diff_id: (lambda tar=self.tars[diff_id]: iter((tar,))) for diff_id in new}
        return Delivery(image=image, sizes=sizes, new=contents, annotations={}, **{"held": {}, **more})  # type: ignore[arg-type]


def make_image(name: str, layers: list[bytes]) -> EngineImage:
    config = render_config(
        platform=read_host_platform(),
        created="1980-01-01T00:00:00Z",
        diff_ids=[DiffId(hashlib.sha256(layer).hexdigest()) for layer in layers],
        entrypoint=["/srv/loop"],
        env=["PATH=/bin"],
    )
    return EngineImage(config=parse_config(config), name=name)


@pytest.fixture(scope="module")
def made() -> Made:
    base = layer_bytes(busybox_entries())
    code = layer_bytes([file_entry("srv/loop", LOOP, 0o755), file_entry("srv/gone", b"x"), file_entry("srv/model", b"0\n")])
    models = [layer_bytes([file_entry("srv/model", text), file_entry("srv/.wh.gone", b"")]) for text in (b"1\n", b"2\n")]
    tars = {DiffId(hashlib.sha256(tar).hexdigest()): tar for tar in (base, code, *models)}
    one, two = (make_image(f"van:{number}", [base, code, model]) for number, model in enumerate(models, 1))
    return Made(tars=tars, one=one, two=two)


@pytest.fixture(scope="module", params=["bubblewrap", "podman", "docker", "containerd"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DeviceEngine:
    folder = tmp_path_factory.mktemp("device")
    env: dict[str, str] = dict(os.environ)
    if request.param == "bubblewrap":
        require_tool("bwrap", "nsenter")
    else:
        env = dict(request.getfixturevalue(f"{request.param}_engine").env)
    found = make_device_engine(request.param, env, folder)
    info = found.probe()
    if not info.usable:
        cannot_run(f"{request.param}: {info.reason}")
    return found


@pytest.fixture
def loaded(engine: DeviceEngine, made: Made, tmp_path: Path) -> Made:
    if not engine.has(made.one):
        load_delivery(engine, made.delivery(made.one, made.one.config.diff_ids), tmp_path / "scratch", sparse=True)
    return made


def update(engine: DeviceEngine, made: Made, scratch: Path, *, sparse: bool) -> bytes:
    held = engine.held_layers_as(made.one, (), {diff_id: len(tar) for diff_id, tar in made.tars.items()})
    delivery = made.delivery(made.two, made.two.config.diff_ids[-1:], base=made.one, held=held)
    assert delivery.find_lacking() == ()
    return load_delivery(engine, delivery, scratch, sparse=sparse)


def test_only_the_new_layer_is_loaded(engine: DeviceEngine, loaded: Made, tmp_path: Path) -> None:
    assert probe_sparse(engine) or engine.name == "bubblewrap"  # which needs no archive
    for sparse in (True, False):
        manifest = parse_manifest(update(engine, loaded, tmp_path / "scratch", sparse=sparse))
        assert [layer.digest.hex for layer in manifest.layers] == [diff_id.hex for diff_id in loaded.two.config.diff_ids]
        assert engine.has(loaded.two)
        with open_base(engine, loaded.two, tmp_path / "base") as base, base.open_file("srv/model") as file:
            assert file.read() == b"2\n"
        engine.remove_image(loaded.two)
        assert not engine.has(loaded.two)
    assert engine.has(loaded.one)
    assert not (tmp_path / "scratch").exists()


def check_files(base: object) -> None:
    files = {file.path: file.size for file in base.list_files("srv", 10)}  # type: ignore[attr-defined]
    assert files == {"srv/loop": len(LOOP), "srv/model": 2}
    assert [file.path for file in base.list_files("srv/model", 10)] == ["srv/model"]  # type: ignore[attr-defined]
    with base.open_file("srv/model") as file:  # type: ignore[attr-defined]
        assert file.read() == b"1\n"
    for path in ("srv/gone", "srv", "bin/sh", "nowhere"):  # whited out, a folder, a link, nothing
        with pytest.raises(TrustError):
            base.open_file(path)  # type: ignore[attr-defined]


def test_base_files_in_place(engine: DeviceEngine, loaded: Made, tmp_path: Path) -> None:
    with open_base(engine, loaded.one, tmp_path / "base") as base:
        assert not (tmp_path / "base").exists()
        check_files(base)


def test_base_files_out_of_a_saved_archive(
    engine: DeviceEngine, loaded: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine.name == "bubblewrap":
        assert all(folder.is_dir() for folder in engine.layer_folders(loaded.one))  # no archive is ever needed
        return

    def refuse(_image: EngineImage) -> tuple[Path, ...]:
        raise EngineError("in another way than as folders")

    monkeypatch.setattr(engine, "layer_folders", refuse)
    with open_base(engine, loaded.one, tmp_path / "base") as base:
        check_files(base)
    assert not (tmp_path / "base").exists()


def test_containers(engine: DeviceEngine, loaded: Made, tmp_path: Path, wait_for: Callable[[Callable[[], bool]], bool]) -> None:
    (tmp_path / "data").mkdir()
    spec = RunSpec(
        image=loaded.one,
        name=VAN,
        mounts=(Mount(kind=MountKind.BIND, source=str(tmp_path / "data"), target="/data"),),
        network="none",
        remove=False,
        interactive=False,
        labels=((IMAGE_LABEL, str(loaded.one.image_id)),),
    )
    assert engine.find_container(VAN) is None
    engine.start(spec)
    found = engine.find_container(VAN)
    assert found is not None
    assert found.running
    assert found.image == loaded.one.image_id
    assert wait_for(lambda: b"started 1" in engine.read_log(VAN))
    assert engine.execute(VAN, ["sh", "-c", "test $(cat /srv/model) = 1"], 20) == 0
    assert engine.execute(VAN, ["sh", "-c", "exit 3"], 20) == 3
    with pytest.raises(EngineError):
        engine.execute(VAN, ["sh", "-c", "sleep 30"], 1)
    engine.stop(VAN, 5)
    stopped = engine.find_container(VAN)
    assert stopped is None or not stopped.running
    engine.discard(VAN, 5)
    assert engine.find_container(VAN) is None
    engine.discard(VAN, 5)  # gone already
    engine.start(spec)
    engine.discard(VAN, 0)
    assert engine.find_container(VAN) is None
