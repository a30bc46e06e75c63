"""What a device makes of docker's answers: its stores differ in what an image is called and where its layers lie."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.simulators.devices import make_image
from tests.unit.engines.fakes import Fake
from wherry.engines.base_files import open_base
from wherry.engines.device_docker_like import DeviceDocker
from wherry.engines.port import EngineImage
from wherry.errors import EngineError
from wherry.formats.hybrid import describe_tar
from wherry.formats.oci_json import parse_config, parse_manifest, render_manifest
from wherry.formats.tar import file_entry
from wherry.model.digest import Digest
from wherry.model.oci import CONFIG, LAYER_GZIP, Descriptor

IMAGE = make_image([file_entry("a", b"1")], [file_entry("b", b"2")], entrypoint=["/a"])
SIZES = {diff_id: len(tar) for diff_id, tar in zip(IMAGE.diff_ids, IMAGE.tars, strict=True)}
PUBLISHED = parse_manifest(
    render_manifest(
        config=Descriptor(media_type=CONFIG, digest=IMAGE.image_id, size=len(IMAGE.config)),
        layers=[Descriptor(media_type=LAYER_GZIP, digest=Digest.of(tar[:5]), size=7) for tar in IMAGE.tars],
    )
)


@pytest.fixture
def image() -> EngineImage:
    return EngineImage(config=parse_config(IMAGE.config), name="van:1")


@pytest.fixture
def docker(tmp_path: Path) -> Fake:
    return Fake.make(tmp_path / "bin", "docker")


def show(docker: Fake, **members: object) -> None:
    docker.answer(("--format", str(IMAGE.image_id), "", 0), ("image inspect", json.dumps([members]), "", 0))


def test_the_classic_store_has_tars(docker: Fake, image: EngineImage) -> None:
    show(docker, Id=str(IMAGE.image_id))
    held = DeviceDocker(docker.env).held_layers_as(image, (PUBLISHED,), SIZES)
    assert held == {diff_id: describe_tar(diff_id, size) for diff_id, size in SIZES.items()}


def test_the_containerd_store_has_what_was_pulled(docker: Fake, image: EngineImage) -> None:
    show(docker, Id=str(PUBLISHED.digest))
    held = DeviceDocker(docker.env).held_layers_as(image, (PUBLISHED,), SIZES)
    assert tuple(held.values()) == PUBLISHED.layers


def test_an_image_that_is_not_there(docker: Fake, image: EngineImage) -> None:
    docker.answer(("inspect", "", "No such image", 1))
    assert DeviceDocker(docker.env).held_layers_as(image, (), SIZES) == {}
    with pytest.raises(EngineError):
        DeviceDocker(docker.env).layer_folders(image)


def test_layers_folders(docker: Fake, image: EngineImage, tmp_path: Path) -> None:
    for name, text in (("top", "2"), ("low", "1")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(text)
    data = {"UpperDir": str(tmp_path / "top"), "LowerDir": str(tmp_path / "low"), "MergedDir": "/not/there"}
    show(docker, GraphDriver={"Name": "overlay2", "Data": data})
    engine = DeviceDocker(docker.env)
    assert engine.layer_folders(image) == (tmp_path / "top", tmp_path / "low")
    with open_base(engine, image, tmp_path / "scratch") as base, base.open_file("file") as file:
        assert file.read() == b"2"


@pytest.mark.parametrize("driver", [{"Name": "vfs", "Data": None}, {"Name": "overlay2", "Data": {"UpperDir": "/one"}}, None])
def test_folders_that_say_nothing(docker: Fake, image: EngineImage, driver: object) -> None:
    show(docker, GraphDriver=driver)
    with pytest.raises(EngineError):
        DeviceDocker(docker.env).layer_folders(image)


def test_a_container_that_is_not_ours(docker: Fake) -> None:
    docker.answer(("container inspect", json.dumps([{"State": {"Running": True}, "Config": {"Labels": None}}]), "", 0))
    found = DeviceDocker(docker.env).find_container("van")
    assert found is not None
    assert (found.running, found.image) == (True, None)
    docker.answer(("container inspect", "", "Cannot connect to the Docker daemon", 1))
    with pytest.raises(EngineError, match="Cannot connect"):
        DeviceDocker(docker.env).find_container("van")
    docker.answer(("container inspect", "", "Error: No such container: van", 1))
    assert DeviceDocker(docker.env).find_container("van") is None
