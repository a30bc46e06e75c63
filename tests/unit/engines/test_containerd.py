"""What ctr is told, and how an image is recognised that ctr knows by name only."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engines.images import layer_bytes, put_image
from tests.unit.engines.fakes import Fake
from wherry.engines.containerd import ContainerdEngine
from wherry.engines.port import EngineImage, Mount, MountKind, PublishedPort, RunSpec
from wherry.errors import EngineError, UsageError
from wherry.run.launch import pick_runnable
from wherry.store.disk import DiskStore

NAME = "docker.io/library/tiny:latest"
MANIFEST = "sha256:" + "1" * 64
CHECKED = f"REF TYPE DIGEST STATUS SIZE UNPACKED\n{NAME} application/x {MANIFEST} {{}} (2/2) 1 KiB/1 KiB true\n"


@pytest.fixture
def image(tmp_path: Path) -> EngineImage:
    store = DiskStore(tmp_path / "store")
    put_image(store, "tiny:latest", [layer_bytes([])], entrypoint=["/go"])
    return pick_runnable(store, "tiny")[1]


@pytest.fixture
def ctr(tmp_path: Path) -> Fake:
    return Fake.make(tmp_path / "bin", "ctr")


def engine(ctr: Fake) -> ContainerdEngine:
    return ContainerdEngine(ctr.env, ctr.folder / "cache")


def answer(ctr: Fake, image: EngineImage, *more: tuple[str, str, str, int]) -> None:
    manifest = json.dumps({"config": {"digest": str(image.image_id)}})
    ctr.answer(("images check", CHECKED.format("complete"), "", 0), (f"content get {MANIFEST}", manifest, "", 0), *more)


def test_has_follows_the_name_to_the_config(ctr: Fake, image: EngineImage) -> None:
    answer(ctr, image)
    assert engine(ctr).has(image)
    other = json.dumps({"config": {"digest": "sha256:" + "2" * 64}})
    ctr.answer(("images check", CHECKED.format("complete"), "", 0), ("content get", other, "", 0))
    assert not engine(ctr).has(image)


def test_has_through_an_index(ctr: Fake, image: EngineImage) -> None:
    inner = "sha256:" + "3" * 64
    ctr.answer(
        ("images check", CHECKED.format("complete"), "", 0),
        (f"content get {MANIFEST}", json.dumps({"manifests": [{"digest": inner}]}), "", 0),
        (f"content get {inner}", json.dumps({"config": {"digest": str(image.image_id)}}), "", 0),
    )
    assert engine(ctr).has(image)


def test_a_broken_record_is_not_an_image(ctr: Fake, image: EngineImage) -> None:
    ctr.answer(("images check", CHECKED.format("incomplete"), "", 0))
    assert not engine(ctr).has(image)


def test_detached_run(ctr: Fake, image: EngineImage) -> None:
    answer(ctr, image)
    spec = RunSpec(
        image=image,
        name="wherry-1",
        command=("python", "--rm"),
        env=(("A", "1"),),
        mounts=(Mount(kind=MountKind.BIND, source="/data", target="/in", read_only=True),),
        ports=(PublishedPort(container_port=80),),
        workdir="/w",
        interactive=False,
    )
    assert engine(ctr).start(spec) == "wherry-1"
    assert ctr.argvs()[-1] == [
        *("run", "--platform", str(image.config.platform), "--detach", "--net-host", "--cwd", "/w", "--env", "A=1"),
        *("--mount", "type=bind,src=/data,dst=/in,options=rbind:ro", NAME, "wherry-1", "python", "--rm"),
    ]


def test_no_network(ctr: Fake, image: EngineImage) -> None:
    answer(ctr, image)
    engine(ctr).start(RunSpec(image=image, name="n", network="none", interactive=False))
    assert "--net-host" not in ctr.argvs()[-1]


def test_refusals(ctr: Fake, image: EngineImage) -> None:
    answer(ctr, image, ("run --help", "--env value\n", "", 0))
    spec = RunSpec(image=image, name="n", interactive=False)
    for wrong, kind in (
        (replace(spec, network="other"), EngineError),
        (replace(spec, ports=(PublishedPort(container_port=80, host_port=81),)), EngineError),
        (replace(spec, user="5"), EngineError),
        (replace(spec, mounts=(Mount(kind=MountKind.VOLUME, source="models", target="/m"),)), UsageError),
        (replace(spec, mounts=(Mount(kind=MountKind.BIND, source="/a,b", target="/m"),)), UsageError),
    ):
        with pytest.raises(kind):
            engine(ctr).start(wrong)
    assert not any(argv[0] == "run" and argv[1] != "--help" for argv in ctr.argvs())


def test_user_where_ctr_knows_it(ctr: Fake, image: EngineImage) -> None:
    answer(ctr, image, ("run --help", "   --user value   run as\n", "", 0))
    engine(ctr).start(RunSpec(image=image, name="n", user="5:6", interactive=False))
    argv = ctr.argvs()[-1]
    assert argv[argv.index("--user") + 1] == "5:6"


def test_probe(ctr: Fake) -> None:
    ctr.answer(("version", "Client:\n  Version:  1.6.20\nServer:\n  Version:  1.7.1\n  UUID: x\n", "", 0))
    assert engine(ctr).probe().version == "1.7.1"
    ctr.answer(("version", "", "ctr: failed to dial: connection refused\n", 1))
    info = engine(ctr).probe()
    assert not info.usable
    assert info.reason == "failed to dial: connection refused"
