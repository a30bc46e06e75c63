"""The hand-made recipe as one command, on images that buildah built: only two small layers move, and the new model runs."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import cannot_run, require_tool
from tests.engines.daemons import Daemon, run_podman
from tests.engines.images import busybox_entries
from tests.engines.registry_fixture import RealRegistry, real_registry
from tests.simulators.link import LinkSimulator
from wherry.cli.app import app
from wherry.engines.unpack import unpack_layer
from wherry.formats.tar import add_parents, stream_tar

pytestmark = [pytest.mark.engine]
__all__ = ["real_registry"]

BASE = "FROM scratch\nCOPY root /\nENV PATH=/bin\n"
DOCKERFILE = (
    'FROM {base}\nCOPY site /opt/site\nWORKDIR /app\nCOPY models models\nCOPY score.sh score.sh\nCMD ["sh", "/app/score.sh"]\n'
)


class Buildah:
    """buildah with storage of its own."""

    def __init__(self, folder: Path) -> None:
        require_tool("buildah")
        if os.geteuid() != 0:
            cannot_run("buildah needs root here")
        self._storage = ("--root", folder / "root", "--runroot", folder / "run", "--storage-driver", "vfs")
        self._env = {**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(folder)}
        folder.mkdir()

    def build(self, context: Path, name: str, archive: Path, dockerfile: str) -> None:
        (context / "Dockerfile").write_text(dockerfile)
        self._call("bud", "-q", "--layers", "--no-cache", "-t", name, context)
        self._call("push", "-q", name, f"docker-archive:{archive}:{name}:latest")

    def _call(self, *words: object) -> None:
        subprocess.run(["buildah", *self._storage, *words], env=self._env, check=True, capture_output=True, timeout=120)  # type: ignore[list-item]


@pytest.fixture(scope="module")
def link(real_registry: RealRegistry) -> Iterator[LinkSimulator]:
    host, port = real_registry.host.split(":")
    with LinkSimulator((host, int(port))) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def podman(link: LinkSimulator) -> Iterator[Daemon]:
    with run_podman((f"127.0.0.1:{link.port}",)) as daemon:
        yield daemon


def wherry(*words: object) -> int:
    """A command, in this process; its exit code."""
    return app(args=list(map(str, words)), standalone_mode=False, prog_name="wherry") or 0


def lay_out(context: Path) -> None:
    """A root with a shell, 3 MB that are nobody's business, a model and what scores by it."""
    unpack_layer(stream_tar(add_parents(busybox_entries())), context / "root", "root")
    (context / "site").mkdir()
    (context / "site/packages.bin").write_bytes(random.Random(1).randbytes(3_000_000))
    (context / "models").mkdir()
    (context / "models/model.txt").write_text("the first model\n")
    (context / "score.sh").write_text("cat /app/models/model.txt\n")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``base.tar``; ``old.tar`` on it; ``new.tar``, of which every layer is another one; ``refreshed.tar``, a newer base."""
    folder = tmp_path_factory.mktemp("built")
    context, buildah = folder / "context", Buildah(folder / "buildah")
    (context / "root").mkdir(parents=True)
    lay_out(context)
    buildah.build(context, "base", folder / "base.tar", BASE)
    buildah.build(context, "iot", folder / "old.tar", DOCKERFILE.format(base="base"))
    (context / "models/model.txt").write_text("the second model\n")
    (context / "score.sh").write_text("echo scored by; cat /app/models/model.txt\n")
    os.utime(context / "site/packages.bin", (1, 1))
    buildah.build(context, "iot", folder / "new.tar", DOCKERFILE.format(base="base"))
    (context / "root/etc/refreshed").write_text("yes\n")
    buildah.build(context, "base", folder / "refreshed.tar", BASE + "ENV REFRESHED=yes\n")
    return folder


def test_two_small_layers_move_and_the_new_model_runs(
    built: Path, real_registry: RealRegistry, link: LinkSimulator, podman: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--from-image", built / "old.tar", "--take", "models", "--take", "/app/score.sh", "-t", "iot:2")
    assert wherry("image", "rebase", built / "new.tar", *words) == 0
    assert "2 of 6 layers are its own" in capsys.readouterr().err
    assert wherry("image", "load", built / "old.tar") == 0
    for name, tag in (("iot:latest", "1"), ("iot:2", "2")):
        assert wherry("push", f"{real_registry.host}/iot:{tag}", "--image", name) == 0
    sizes, outputs = [], []
    for tag in ("1", "2"):
        link.reset_counts()
        pulled = podman.call("podman", "pull", "--quiet", f"127.0.0.1:{link.port}/iot:{tag}")
        assert pulled.returncode == 0, pulled.stderr
        sizes.append(link.down)
        ran = podman.call("podman", "run", "--rm", "--network=none", f"127.0.0.1:{link.port}/iot:{tag}")
        outputs.append(ran.stdout.decode())
    assert outputs == ["the first model\n", "scored by\nthe second model\n"]
    assert sizes[0] > 3_000_000
    assert sizes[1] < 12_000  # 5,516 when this was written: two layers of 0.4 kB, manifest, config and headers


def test_what_buildah_built_stands_on_a_refreshed_base(built: Path, podman: Daemon, tmp_path: Path) -> None:
    words = ("--onto", built / "refreshed.tar", "--from", built / "base.tar", "-t", "iot:refreshed")
    assert wherry("image", "rebase", built / "old.tar", *words) == 0
    assert wherry("image", "save", "iot:refreshed", "-o", tmp_path / "result.tar") == 0
    assert podman.call("podman", "load", "-i", str(tmp_path / "result.tar")).returncode == 0
    script = "cat /etc/refreshed; echo $REFRESHED; sh /app/score.sh"
    ran = podman.call("podman", "run", "--rm", "--network=none", "iot:refreshed", "sh", "-c", script)
    assert ran.stdout.decode() == "yes\nyes\nthe first model\n", ran.stderr
