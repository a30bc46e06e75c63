"""The same updates as a registry brings them: Debian's docker-registry with TLS, and real clients behind a link that counts.

Pushed first, into the registry without TLS: wherry's images, the one-layer images, and what the recipe of many articles makes,

    FROM new AS model
    FROM old
    COPY --from=model /app/models /app/models

built by buildah of the one-layer images. Then each is pulled by a client that has the former one: `docker pull` into a private
daemon where that starts, else `skopeo copy` into an OCI layout. What is missing here is not measured; the reason stands instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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

    pull: Pull
    one_layer: Pull
    recipe: Pull


class Puller(Protocol):
    name: str

    def pull(self, reference: str) -> None: ...


def measure_rivals(demo: Demo, builds: Sequence[Build], certificates: Certificates) -> tuple[str, list[Rivals]]:
    """`builds` are releases 1, 2 and 3. Which client pulled, and what releases 2 and 3 moved."""
    port, reasons = find_port(), []
    try:
        require("docker-registry", "skopeo")
        with run_registry(DEMO / "registry", port):
            recipe = _push_all(demo, builds, f"127.0.0.1:{port}")
    except NotRun as error:
        return "nothing", [_not_run(str(error))] * 2
    with run_registry(DEMO / "registry", port, certificates), LinkSimulator(("127.0.0.1", port)) as link:
        for opening in (_open_docker, _open_skopeo):
            try:
                with opening() as puller:
                    return puller.name, _pull_all(puller, link, recipe)
            except (NotRun, *NOT_HERE) as error:
                print(f"demo: {error}", file=sys.stderr)
                reasons.append(str(error))
    return "nothing", [_not_run("; ".join(reasons))] * 2


def _not_run(reason: str) -> Rivals:
    missing = Pull(note=f"not run: {reason}")
    return Rivals(pull=missing, one_layer=missing, recipe=missing)


def _pull_all(puller: Puller, link: LinkSimulator, recipe: Pull | None) -> list[Rivals]:
    def weigh(name: str) -> Pull:
        print(f"$ {puller.name} …/{name}", file=sys.stderr)
        link.reset_counts()
        puller.pull(f"127.0.0.1:{link.port}/{name}")
        return Pull(moved=read_total(link))

    weigh("wherry:1")
    pulls = [weigh("wherry:2"), weigh("wherry:3")]
    if recipe is None:
        weigh("one-layer:1")
        recipe = weigh("one-layer:by-hand")
    single = [weigh("one-layer:2"), weigh("one-layer:3")]
    ways = zip(pulls, single, (recipe, Pull(note=PACKAGES_MOVED)), strict=True)
    return [Rivals(pull=pull, one_layer=one, recipe=hand) for pull, one, hand in ways]


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


@contextmanager
def _open_docker() -> Iterator[Puller]:
    with run_docker() as daemon:
        yield _Docker(daemon)


@contextmanager
def _open_skopeo() -> Iterator[Puller]:
    yield _Skopeo(DEMO / "pulled")


def call(*words: str | Path) -> None:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        raise NotRun(f"{words[0]}: {done.stderr.decode(errors='replace').strip()[-500:]}")
