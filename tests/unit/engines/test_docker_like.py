"""What docker and podman are told, and what is made of their answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.images import layer_bytes, put_image
from tests.unit.engines.fakes import Fake
from wherry.engines.docker import DockerEngine
from wherry.engines.podman import PodmanEngine
from wherry.engines.port import EngineImage, Mount, MountKind, PublishedPort, RunSpec
from wherry.errors import EngineError, UsageError
from wherry.run.launch import pick_runnable
from wherry.store.disk import DiskStore


@pytest.fixture
def image(tmp_path: Path) -> EngineImage:
    store = DiskStore(tmp_path / "store")
    put_image(store, "tiny:latest", [layer_bytes([])], entrypoint=["/go"])
    return pick_runnable(store, "tiny")[1]


@pytest.fixture
def docker(tmp_path: Path) -> Fake:
    return Fake.make(tmp_path / "bin", "docker")


def test_run_says_everything(docker: Fake, image: EngineImage) -> None:
    spec = RunSpec(
        image=image,
        name="wherry-1",
        command=("python", "-m", "app", "--rm"),
        env=(("A", "1"), ("B", "x y")),
        mounts=(
            Mount(kind=MountKind.BIND, source="/data", target="/in", read_only=True),
            Mount(kind=MountKind.VOLUME, source="models", target="/m"),
            Mount(kind=MountKind.TEMPORARY, target="/scratch"),
        ),
        ports=(PublishedPort(container_port=80, host_port=8080),),
        workdir="/w",
        user="5:6",
        network="host",
        gpus="all",
        read_only=True,
        terminal=True,
    )
    docker.answer(("run", "", "", 3))
    assert DockerEngine(docker.env).run(spec) == 3
    argv = docker.argvs()[-1]
    assert argv == [
        *("run", "--name", "wherry-1", "--pull", "never", "--rm", "--interactive", "--tty", "--read-only", "--gpus", "all"),
        *("--network", "host", "--workdir", "/w", "--user", "5:6", "--entrypoint", "python"),
        *("--env", "A=1", "--env", "B=x y", "--volume", "/data:/in:ro", "--volume", "models:/m", "--tmpfs", "/scratch"),
        *("--publish", "8080:80", str(image.image_id), "-m", "app", "--rm"),
    ]
    assert docker.calls()[-1]["env"]["MARK"] == "kept"


def test_without_a_command_the_entrypoint_is_left_alone(docker: Fake, image: EngineImage) -> None:
    DockerEngine(docker.env).run(RunSpec(image=image, name="n"))
    assert docker.argvs()[-1] == ["run", "--name", "n", "--pull", "never", "--rm", "--interactive", str(image.image_id)]


@pytest.mark.parametrize("way", ["run", "launch", "start"])
def test_secrets_stand_on_no_command_line(docker: Fake, image: EngineImage, way: str) -> None:
    spec = RunSpec(image=image, name="n", env=(("A", "1"),), secrets=(("KEY", "s3cret"),))
    done = getattr(DockerEngine(docker.env), way)(spec)
    if way == "launch":
        done.process.communicate(timeout=30)
    argv = docker.argvs()[-1]
    assert argv[argv.index("A=1") + 1 :][:2] == ["--env", "KEY"]
    assert not [word for word in argv if "s3cret" in word]
    assert docker.calls()[-1]["env"]["KEY"] == "s3cret"


def test_what_this_shell_has_is_passed_on_by_name(docker: Fake, image: EngineImage) -> None:
    env = {**docker.env, "TOKEN": "s3cret", "MODE": "shell"}
    DockerEngine(env).run(RunSpec(image=image, name="n", env=(("TOKEN", "s3cret"), ("MODE", "mine"), ("HOME", "/tmp"))))
    argv = docker.argvs()[-1]
    assert [argv[at + 1] for at, word in enumerate(argv) if word == "--env"] == ["TOKEN", "MODE=mine", "HOME=/tmp"]
    assert docker.calls()[-1]["env"]["TOKEN"] == "s3cret"


@pytest.mark.parametrize("name", ["PATH", "DOCKER_HOST", "https_proxy"])
def test_secrets_that_would_steer_the_client_are_refused(docker: Fake, image: EngineImage, name: str) -> None:
    with pytest.raises(UsageError, match=name):
        DockerEngine(docker.env).run(RunSpec(image=image, name="n", secrets=((name, "x"),)))


def test_detached(docker: Fake, image: EngineImage) -> None:
    docker.answer(("run --detach", "abc123\n", "", 0))
    assert DockerEngine(docker.env).start(RunSpec(image=image, name="n", interactive=False)) == "abc123"


def test_detached_failure_is_short(docker: Fake, image: EngineImage) -> None:
    told = "docker: Error response from daemon: port is taken.\nSee 'docker run --help'.\n"
    docker.answer(("run --detach", "", told, 125))
    with pytest.raises(EngineError) as caught:
        DockerEngine(docker.env).start(RunSpec(image=image, name="n"))
    assert caught.value.what == "docker did not start the container: Error response from daemon: port is taken."


def test_load_feeds_the_archive(docker: Fake, image: EngineImage) -> None:
    docker.answer(("load", "", "", 0), reads=["load"])
    DockerEngine(docker.env).load((b"x" * 70000 for _ in range(10)), image)
    assert docker.calls()[0] == {"argv": ["load"], "env": docker.calls()[0]["env"], "read": 700000}


def test_load_that_is_refused(docker: Fake, image: EngineImage) -> None:
    docker.answer(("load", "", "some warning\nopen /x: no space left on device\n", 1))
    with pytest.raises(EngineError, match="no space left on device"):
        DockerEngine(docker.env).load((b"x" * 70000 for _ in range(100)), image)


def test_load_that_gave_another_image(docker: Fake, image: EngineImage) -> None:
    docker.answer(("load", "", "", 0), ("image inspect", "", "No such image", 1), reads=["load"])
    with pytest.raises(EngineError, match="does not have image"):
        DockerEngine(docker.env).load([b"x"], image)


def test_chunks_that_fail_never_look_like_a_whole_archive(docker: Fake, image: EngineImage) -> None:
    docker.answer(("load", "", "", 0), reads=["load"])

    def chunks() -> Iterator[bytes]:
        yield b"x"
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="went away"):
        DockerEngine(docker.env).load(chunks(), image)
    assert docker.calls() == []  # killed before it saw an end


def inspected(image: EngineImage, **changed: object) -> str:
    config = {"Env": list(image.config.env), "Entrypoint": ["/go"], "User": "10001:10001", "WorkingDir": "/home/app", **changed}
    layers = [str(diff_id) for diff_id in image.config.diff_ids]
    return json.dumps([{"Id": "sha256:" + "0" * 64, "RootFS": {"Layers": layers}, "Config": config}])


def test_an_engine_with_other_ids_is_asked_by_name_and_content(docker: Fake, image: EngineImage) -> None:
    docker.answer((str(image.image_id), "", "No such image", 1), ("image inspect tiny:latest", inspected(image), "", 0))
    assert DockerEngine(docker.env).has(image)
    DockerEngine(docker.env).run(RunSpec(image=image, name="n"))
    assert docker.argvs()[-1][-1] == "tiny:latest"


def test_a_name_that_moved_is_not_our_image(docker: Fake, image: EngineImage) -> None:
    moved = inspected(image, Env=["PATH=/other"])
    docker.answer((str(image.image_id), "", "No such image", 1), ("image inspect tiny:latest", moved, "", 0))
    assert not DockerEngine(docker.env).has(image)
    with pytest.raises(EngineError, match="does not have image"):
        DockerEngine(docker.env).run(RunSpec(image=image, name="n"))


def test_stop_forgives_what_is_gone(docker: Fake) -> None:
    docker.answer(("stop", "", "Error response from daemon: No such container: n\n", 1))
    DockerEngine(docker.env).stop("n", 2)
    docker.answer(("stop", "", "permission denied\n", 1))
    with pytest.raises(EngineError, match="permission denied"):
        DockerEngine(docker.env).stop("n", 2)


def test_docker_probe(docker: Fake, tmp_path: Path) -> None:
    docker.answer(("version", "26.1.5\n", "", 0))
    assert DockerEngine(docker.env).probe().version == "26.1.5"
    docker.answer(("version", "\n", "Cannot connect to the Docker daemon at unix:///x. Is it running?\n", 1))
    info = DockerEngine(docker.env).probe()
    assert not info.usable
    assert info.reason.startswith("Cannot connect")
    assert "DOCKER_HOST" in info.hint
    assert DockerEngine({"PATH": str(tmp_path)}).probe().reason == "docker is not installed"


def test_podman_probe_and_gpus(tmp_path: Path, image: EngineImage) -> None:
    podman = Fake.make(tmp_path / "bin", "podman")
    podman.answer(("info", "", 'time="2024-01-01T00:00:00Z" level=error msg="mount storage: not permitted"\n', 125))
    assert PodmanEngine(podman.env).probe().reason == "mount storage: not permitted"
    podman.answer(("info", "4.3.1\n", "", 0))
    assert PodmanEngine(podman.env).probe().version == "4.3.1"
    PodmanEngine(podman.env).run(RunSpec(image=image, name="n", gpus="all"))
    argv = podman.argvs()[-1]
    assert argv[argv.index("--device") + 1] == "nvidia.com/gpu=all"
