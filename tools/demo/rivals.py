"""The same updates as a registry brings them: Debian's docker-registry with TLS, and real clients behind a link that counts.

Pushed first, into the registry without TLS: wherry's images, the one-layer images, and what the recipe of many articles makes,

    FROM new AS model
    FROM old
    COPY --from=model /app/models /app/models

built by buildah of the one-layer images. Then each is pulled by a client that has the former one: `docker pull` into a private
daemon where that starts, else `skopeo copy` into an OCI layout. What is missing here is not measured; the reason stands instead.

wherry's images are pulled by both: docker 20.10 fetches all layers above a changed one again, as it knows layers by what lies below
them; skopeo fetches the blobs that it lacks, which is what podman does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.engines.daemons import Daemon, private_folder, run_docker
from tests.simulators.certificates import Certificates
from tests.simulators.link import LinkSimulator
from tools.demo.fleet import NOT_HERE, read_total
from tools.demo.registry import NotRun, find_port, require, run_registry
from tools.demo.steps import DEMO, Build, Demo

_RECIPE = """\
FROM {host}/one-layer:2 AS model
FROM {host}/one-layer:1
COPY --from=model /app/models /app/models
"""
PACKAGES_MOVED = "the recipe copies the model; packages have to come with their layer"


@dataclass(frozen=True, kw_only=True)
class Pull:
    """`moved` are the bytes of the client's connections, TLS included, both ways; None with the reason in `note`."""

    moved: int | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Rivals:
    """What one update moves by other ways."""

    docker: Pull
    skopeo: Pull
    one_layer: Pull
    recipe: Pull


class Puller(Protocol):
    name: str

    def pull(self, reference: str) -> None: ...


def measure_rivals(demo: Demo, builds: Sequence[Build], certificates: Certificates) -> tuple[str, list[Rivals]]:
    """`builds` are releases 1, 2 and 3. Which client pulled, and what releases 2 and 3 moved."""
    port = find_port()
    try:
        require("docker-registry", "skopeo")
        with run_registry(DEMO / "registry", port):
            recipe = _push_all(demo, builds, f"127.0.0.1:{port}")
        with run_registry(DEMO / "registry", port, certificates), LinkSimulator(("127.0.0.1", port)) as link:
            return _pull_all(link, recipe)
    except NotRun as error:
        missing = Pull(note=f"not run: {error}")
        return "nothing", [Rivals(docker=missing, skopeo=missing, one_layer=missing, recipe=missing)] * 2


def _pull_all(link: LinkSimulator, recipe: Pull | None) -> tuple[str, list[Rivals]]:
    skopeo = _Skopeo(DEMO / "pulled")
    by_skopeo = _pull_images(skopeo, link)
    try:
        with run_docker() as daemon:
            docker = _Docker(daemon)
            by_docker = _pull_images(docker, link)
            return docker.name, _join(by_docker, by_skopeo, _pull_others(docker, link, recipe))
    except (NotRun, *NOT_HERE) as error:
        print(f"demo: no docker pull: {error}", file=sys.stderr)
        by_docker = [Pull(note=f"not run: {error}")] * 2
    return skopeo.name, _join(by_docker, by_skopeo, _pull_others(skopeo, link, recipe))


def _join(docker: list[Pull], skopeo: list[Pull], others: list[tuple[Pull, Pull]]) -> list[Rivals]:
    ways = zip(docker, skopeo, others, strict=True)
    return [Rivals(docker=first, skopeo=second, one_layer=one, recipe=recipe) for first, second, (one, recipe) in ways]


def _pull_images(puller: Puller, link: LinkSimulator) -> list[Pull]:
    """wherry's, releases 2 and 3, by a client that has release 1."""
    _weigh(puller, link, "wherry:1")
    return [_weigh(puller, link, "wherry:2"), _weigh(puller, link, "wherry:3")]


def _pull_others(puller: Puller, link: LinkSimulator, recipe: Pull | None) -> list[tuple[Pull, Pull]]:
    """For releases 2 and 3 the image of one layer, and that of the recipe."""
    if recipe is None:
        _weigh(puller, link, "one-layer:1")
        recipe = _weigh(puller, link, "one-layer:by-hand")
    return [(_weigh(puller, link, "one-layer:2"), recipe), (_weigh(puller, link, "one-layer:3"), Pull(note=PACKAGES_MOVED))]


def _weigh(puller: Puller, link: LinkSimulator, name: str) -> Pull:
    print(f"$ {puller.name} …/{name}", file=sys.stderr)
    link.reset_counts()
    puller.pull(f"127.0.0.1:{link.port}/{name}")
    return Pull(moved=read_total(link))


def _push_all(demo: Demo, builds: Sequence[Build], host: str) -> Pull | None:
    """Into an empty registry. None, or why there is nothing of the recipe."""
    for number, build in enumerate(builds, 1):
        what = ("--image", build.manifest(demo.host), "--platform", demo.host)
        demo.wherry(f"push release {number}", "push", f"{host}/wherry:{number}", *what)
        single = f"oci:{build.one_layer.layout}:{build.one_layer.tag}"
        call("skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", single, f"docker://{host}/one-layer:{number}")
    try:
        _push_recipe(host)
    except NotRun as error:
        return Pull(note=f"not run: {error}")
    return None


def _push_recipe(host: str) -> None:
    """By buildah with storage of its own. It takes both images from the registry, which then has the former one's layer already."""
    require("buildah")
    if os.geteuid() != 0:
        raise NotRun("buildah's own storage needs root")
    with private_folder("buildah") as folder:
        (folder / "Dockerfile").write_text(_RECIPE.format(host=host))
        storage = ("buildah", "--root", folder / "root", "--runroot", folder / "run", "--storage-driver", "overlay")
        here = ("--tls-verify=false",)
        call(*storage, "bud", "-q", *here, "--isolation", "chroot", "-t", "localhost/by-hand", folder)
        call(*storage, "push", "-q", *here, "localhost/by-hand", f"docker://{host}/one-layer:by-hand")
        call(*storage, "rmi", "--all", "--force")


class _Docker:
    name = "docker pull"

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def pull(self, reference: str) -> None:
        # A registry on loopback is taken with any certificate.
        done = self._daemon.call("docker", "pull", "--quiet", reference)
        if done.returncode != 0:
            raise NotRun(f"docker pull: {done.stderr.decode(errors='replace').strip()}")


class _Skopeo:
    """What an engine's pull fetches, without unpacking it."""

    name = "skopeo copy"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)

    def pull(self, reference: str) -> None:
        source, place = f"docker://{reference}", f"oci:{self._folder}:{reference.rpartition('/')[2].replace(':', '-')}"
        call("skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", source, place)


def call(*words: str | Path) -> None:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        raise NotRun(f"{words[0]}: {done.stderr.decode(errors='replace').strip()[-500:]}")
