"""Images that `wherry build` made, in real engines: pulled from a real registry, loaded from an archive, arm64 emulated."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import cannot_run, require_tool
from tests.engines.daemons import Daemon, run_containerd, run_docker, run_podman
from tests.engines.registry_fixture import RealRegistry, real_registry
from tests.flow.conftest import BOTH, Seed, Wherry, index, locked_project, seed, write_project

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.xdist_group("engines")]
__all__ = ["index", "real_registry", "seed"]

ENGINES = ("podman", "docker", "containerd")
MAIN = """
import json, os, pickle, sys, tinyone
model = pickle.load(open("model.pkl", "rb"))
print(json.dumps({
    "machine": os.uname().machine, "python": sys.version.split()[0], "one": tinyone.VERSION, "file": tinyone.__file__,
    "user": os.getuid(), "answer": sum(model) * int(os.environ["FACTOR"]), "cached": os.path.exists(tinyone.__cached__),
}))
"""
PICKLED = b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01K\x02K\x04e."  # pickle.dumps([1, 2, 4])


@dataclass(frozen=True, kw_only=True)
class Published:
    """A project's image for both platforms, in a store and in a registry; `reference` is by digest."""

    wherry: Wherry
    project: Path
    result: Mapping[str, Any]
    reference: str
    tag: str

    def config(self, platform: str) -> str:
        return str(next(image["config"] for image in self.result["images"] if image["platform"] == platform))


@pytest.fixture(scope="session")
def published(seed: Seed, real_registry: RealRegistry, tmp_path_factory: pytest.TempPathFactory) -> Published:
    files = {"main.py": MAIN, "model.pkl": PICKLED, "wherry.toml": 'name = "sailor"\nenv = { FACTOR = "6" }\n'}
    project = locked_project(seed, tmp_path_factory.mktemp("published") / "sailor", files)
    result = seed.wherry.build(project, *BOTH)
    tag = f"{real_registry.host}/fleet/sailor:1.0"
    printed = seed.wherry.ok("push", tag, cwd=project)
    reference = printed.strip()
    assert reference == f"{real_registry.host}/fleet/sailor@{result['index']}"  # the digest reference alone
    return Published(wherry=seed.wherry, project=project, result=result, reference=reference, tag=tag)


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest, real_registry: RealRegistry) -> Iterator[Daemon]:
    starts: dict[str, Callable[[], Any]] = {
        "podman": lambda: run_podman((real_registry.host,)),
        "docker": lambda: run_docker((real_registry.host,)),
        "containerd": run_containerd,
    }
    with starts[request.param]() as daemon:
        yield daemon


def told(done: subprocess.CompletedProcess[bytes]) -> str:
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def run_in(daemon: Daemon, image: str, *command: str) -> str:
    """The entrypoint, or a command, on a read-only root, as the image's own user, without a network."""
    if daemon.name == "containerd":
        return told(daemon.call("ctr", "run", "--rm", "--read-only", image, f"c{abs(hash((image, command))):x}", *command))
    words = ("--entrypoint", command[0], image, *command[1:]) if command else (image,)
    return told(daemon.call(daemon.name, "run", "--rm", "--read-only", "--network", "none", *words))


def check_answer(text: str, machine: str = "x86_64") -> None:
    answer = json.loads(text)
    assert answer["machine"] == machine
    assert (answer["one"], answer["answer"], answer["user"]) == ("1.0", 42, 10001)
    assert answer["python"].startswith("3.11.")
    assert answer["file"].startswith("/opt/env/")
    assert answer["cached"] is True  # with bytecode, and on a read-only root


def test_pulled_from_a_registry(engine: Daemon, published: Published) -> None:
    if engine.name == "containerd":
        told(engine.call("ctr", "images", "pull", "--plain-http", "--platform", "linux/amd64", published.tag))
    else:
        told(engine.call(engine.name, "pull", published.tag))
    check_answer(run_in(engine, published.tag))
    if engine.name != "containerd":
        found = json.loads(told(engine.call(engine.name, "image", "inspect", published.tag)))[0]
        assert found["Id"].removeprefix("sha256:") == published.config("linux/amd64").removeprefix("sha256:")


def test_loaded_from_an_archive(engine: Daemon, published: Published, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    published.wherry.ok("image", "save", "sailor", "--platform", "linux/amd64", "-o", archive, cwd=published.project)
    if engine.name == "containerd":
        printed = told(engine.call("ctr", "images", "import", str(archive)))
        name = next(word for word in printed.split() if "sailor" in word)
    else:
        name = told(engine.call(engine.name, "load", "-i", str(archive))).strip().rpartition(" ")[2]
    assert "sailor" in name
    check_answer(run_in(engine, name))


def test_wherry_runs_it_there(engine: Daemon, published: Published) -> None:
    """`wherry run --on ENGINE`, without a word more; stdin, stdout and the exit code are the program's."""
    there = replace(published.wherry, env={**published.wherry.env, **without_places(engine.env)})
    words = ("run", "--on", engine.name, "--network", "host" if engine.name == "docker" else "none")
    check_answer(there.ok(*words, cwd=published.project))
    done = there.run(*words, "--", "python", "-c", "import sys; sys.exit(len(input()))", cwd=published.project, input="abc\n")
    assert done.returncode == 3, done.stderr


def without_places(env: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in env.items() if key.startswith(("CONTAINER", "DOCKER_"))}


# -- strangers' tools


def test_skopeo_reads_what_was_pushed(published: Published, tmp_path: Path) -> None:
    require_tool("skopeo")
    raw = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{published.reference}"], capture_output=True, check=True
    ).stdout
    blob = published.wherry.store / "blobs/sha256" / str(published.result["index"]).removeprefix("sha256:")
    assert raw == blob.read_bytes()
    for architecture in ("amd64", "arm64"):
        shown = subprocess.run(
            ["skopeo", "--override-arch", architecture, "inspect", "--tls-verify=false", f"docker://{published.tag}"],
            capture_output=True,
            check=True,
        ).stdout
        assert json.loads(shown)["Architecture"] == architecture
    copy = ["skopeo", "copy", "--all", "--preserve-digests", "--src-tls-verify=false"]
    subprocess.run([*copy, f"docker://{published.tag}", f"oci:{tmp_path}/copy:1"], capture_output=True, check=True)
    entries = json.loads((tmp_path / "copy/index.json").read_bytes())["manifests"]
    assert [entry["digest"] for entry in entries] == [published.result["index"]]


def unpack(published: Published, platform: str, folder: Path) -> Path:
    """The root tree, by umoci."""
    require_tool("umoci", "skopeo")
    architecture = platform.partition("/")[2]
    copy = ["skopeo", "--override-arch", architecture, "copy", "--src-tls-verify=false"]
    subprocess.run([*copy, f"docker://{published.tag}", f"oci:{folder}/layout:1"], capture_output=True, check=True)
    argv = ["umoci", "unpack", "--rootless", "--image", f"{folder}/layout:1", folder / "bundle"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "level=error" not in done.stderr
    return folder / "bundle"


def test_umoci_unpacks_it_and_the_bundle_is_what_was_declared(published: Published, tmp_path: Path) -> None:
    bundle = unpack(published, "linux/amd64", tmp_path)
    process = json.loads((bundle / "config.json").read_bytes())["process"]
    assert process["args"] == ["python", "main.py"]
    assert process["cwd"] == "/app"
    assert "FACTOR=6" in process["env"]
    for path in ("app/main.py", "app/model.pkl", "etc/passwd", "usr/bin/python3.11", "etc/ssl/certs/ca-certificates.crt"):
        assert (bundle / "rootfs" / path).is_file(), path
    assert not (bundle / "rootfs/bin/sh").exists()
    assert list((bundle / "rootfs/var/lib/dpkg/status.d").iterdir())


def test_the_arm64_image_runs_under_qemu(published: Published, tmp_path: Path) -> None:
    require_tool("qemu-aarch64-static", "proot")
    bundle = unpack(published, "linux/arm64", tmp_path)
    process = json.loads((bundle / "config.json").read_bytes())["process"]
    env = dict(variable.split("=", 1) for variable in process["env"])
    argv = ["proot", "-q", "qemu-aarch64-static", "-r", bundle / "rootfs", "-b", "/proc", "-b", "/dev", "-w", process["cwd"]]
    done = subprocess.run([*argv, *process["args"]], env=env, capture_output=True, text=True, check=False, timeout=240)
    if done.returncode != 0 and "ptrace" in done.stderr:
        cannot_run(f"proot may not trace here: {done.stderr[-400:]}")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    check_answer(json.dumps({**answer, "user": 10001}), machine="aarch64")  # proot changes no user


# -- the real thing


TRAIN = """
import pickle, sys
from sklearn.linear_model import LinearRegression
pickle.dump(LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]), open(sys.argv[1], "wb"))
"""
PREDICT = 'import pickle\nprint(round(float(pickle.load(open("model.pkl", "rb")).predict([[10.0]])[0]), 6))\n'


def test_a_trained_model_predicts(seed: Seed, tmp_path: Path) -> None:
    """numpy and scikit-learn from this machine's indexes; trained in the image, the model a layer, predicted there."""
    require_tool("bwrap")
    files = {"main.py": PREDICT, "train.py": TRAIN, "requirements.txt": "scikit-learn\nnumpy\n", "wherry.toml": 'name = "real"\n'}
    project = write_project(tmp_path / "real", files)
    configured = {key: value for key, value in seed.wherry.env.items() if not key.startswith("UV_")}
    wherry = replace(seed.wherry, env={**configured, **pip_variables()})
    wherry.ok("build", cwd=project)
    (project / "out").mkdir(mode=0o777)
    (project / "out").chmod(0o777)
    wherry.ok("run", "--on", "bubblewrap", "-v", "./out:/out", "--", "python", "train.py", "/out/model.pkl", cwd=project)
    (project / "out/model.pkl").rename(project / "model.pkl")
    before = wherry.build(project)
    assert [layer["cause"] for layer in before["images"][0]["layers"]][-1] == "model.pkl"
    assert wherry.ok("run", "--on", "bubblewrap", cwd=project).strip() == "21.0"


def pip_variables() -> dict[str, str]:
    import os

    return {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "UV_"))}
