"""A base that somebody published: pinned, built over without fetching it, pushed beside it, gone or moved.

The bases here are text that tells what a lock asks of a base, so nothing but loopback is needed; those that run are in
the second half, made of the layers that the session built.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require_tool
from tests.flow.conftest import BOTH, Seed, Wherry, _environment, assert_valid_store, layers_of, write_project
from tests.simulators.bases import AMD64, ARM64, base_layers, publish_base, publish_layers, python_files, tar_of
from tests.simulators.python_index import PythonIndex
from tests.simulators.registry import Behaviour, RegistrySimulator
from wherry.formats.untar import read_members

REPOSITORY = "library/pybase"


@pytest.fixture
def registry() -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        yield simulator


@pytest.fixture
def wherry(index: PythonIndex, tmp_path: Path) -> Wherry:
    """An empty store and cache: no base of the session is needed here."""
    return Wherry(store=tmp_path / "store", cache=tmp_path / "cache", env=_environment(tmp_path / "home", index))


def declare(folder: Path, base: str, *lines: str, bytecode: str = "none") -> Path:
    text = "\n".join((f'base = "{base}"', f'bytecode = "{bytecode}"', *lines, ""))
    return write_project(folder, {"wherry.toml": text, "main.py": "import tinyone\n"})


@pytest.fixture
def project(registry: RegistrySimulator, tmp_path: Path) -> Path:
    return declare(tmp_path / "project", publish_base(registry, REPOSITORY, "3.11"))


def blobs_read(registry: RegistrySimulator) -> int:
    """Layers and configs that were downloaded."""
    return registry.count("GET", f"/{REPOSITORY}/blobs/")


def forget_everything(wherry: Wherry, tmp_path: Path, name: str) -> Wherry:
    return replace(wherry, store=tmp_path / f"{name}-store", cache=tmp_path / f"{name}-cache")


# -- lock and build


def test_a_locked_base_is_built_over_without_fetching_its_layers(
    wherry: Wherry, project: Path, registry: RegistrySimulator, tmp_path: Path
) -> None:
    wherry.ok("lock", *BOTH, cwd=project)
    text = (project / "wherry.lock").read_text()
    assert 'source = "base"' in text
    assert "127.0.0.1" not in text
    there = forget_everything(wherry, tmp_path, "other")
    registry.forget()
    made = there.build(project, *BOTH)
    assert blobs_read(registry) == 2  # the two configs
    assert registry.bytes_out < 10_000
    for platform in ("linux/amd64", "linux/arm64"):
        layers = layers_of(made, platform)
        assert [layer["cause"] for layer in layers][2:] == ["python", "tinyone 1.0", "code"]
        assert not (there.store / "blobs/sha256" / layers[0]["digest"].removeprefix("sha256:")).exists()
    assert layers_of(made)[1]["digest"] != layers_of(made, "linux/arm64")[1]["digest"]


def test_every_host_makes_the_same_image(wherry: Wherry, project: Path, tmp_path: Path) -> None:
    first = wherry.build(project, *BOTH)
    assert forget_everything(wherry, tmp_path, "other").build(project, *BOTH) == first


def test_a_rebuild_asks_nobody(wherry: Wherry, project: Path, registry: RegistrySimulator) -> None:
    wherry.build(project)
    (project / "main.py").write_text("import tinyone\nprint(2)\n")
    registry.forget()
    again = wherry.build(project)
    assert registry.seen == []
    assert again == wherry.build(project, "--verify")


def test_offline_with_what_the_store_has_and_without(
    wherry: Wherry, project: Path, registry: RegistrySimulator, tmp_path: Path
) -> None:
    first = wherry.build(project)
    registry.forget()
    assert wherry.build(project, "--offline") == first
    assert registry.seen == []
    there = replace(wherry, store=tmp_path / "other-store")
    assert "not in the store" in there.refused("build", "--offline", cwd=project, code=13)
    (project / "wherry.lock").unlink()
    assert "not in the store" in there.refused("lock", "--offline", cwd=project, code=13)
    assert registry.seen == []


def test_the_lock_pins_a_tag_that_moves(wherry: Wherry, project: Path, registry: RegistrySimulator, tmp_path: Path) -> None:
    first = wherry.build(project)
    old = (project / "wherry.lock").read_text()
    publish_base(registry, REPOSITORY, "3.11", {AMD64: base_layers("3.11.10"), ARM64: base_layers("3.11.10")})
    assert forget_everything(wherry, tmp_path, "other").build(project) == first
    (project / "requirements.txt").write_text("tinyone==1.1\n")
    wherry.ok("lock", cwd=project)
    assert 'version = "3.11.9"' in (project / "wherry.lock").read_text()
    wherry.ok("lock", "--upgrade", cwd=project)
    text = (project / "wherry.lock").read_text()
    assert 'version = "3.11.10"' in text
    assert text != old


def test_another_digest_is_another_base(wherry: Wherry, registry: RegistrySimulator, tmp_path: Path) -> None:
    first = publish_base(registry, REPOSITORY, "3.11")
    pinned = f"{first}@{registry.repository(REPOSITORY).tags['3.11']}"
    project = declare(tmp_path / "p", pinned)
    wherry.ok("lock", cwd=project)
    assert 'version = "3.11.9"' in (project / "wherry.lock").read_text()
    publish_base(registry, REPOSITORY, "3.11", {AMD64: base_layers("3.11.10")})
    declare(project, f"{first}@{registry.repository(REPOSITORY).tags['3.11']}")
    wherry.ok("lock", cwd=project)
    assert 'version = "3.11.10"' in (project / "wherry.lock").read_text()


def test_the_same_base_behind_another_registry_stays_locked(wherry: Wherry, project: Path, tmp_path: Path) -> None:
    wherry.ok("lock", cwd=project)
    before = (project / "wherry.lock").read_text().partition("\n[[")[2]
    with RegistrySimulator() as mirror:
        declare(project, publish_base(mirror, REPOSITORY, "3.11"))
        wherry.ok("lock", cwd=project)
    assert (project / "wherry.lock").read_text().partition("\n[[")[2] == before


# -- what goes wrong


def test_a_platform_that_the_base_does_not_have_is_named(wherry: Wherry, registry: RegistrySimulator, tmp_path: Path) -> None:
    project = declare(tmp_path / "p", publish_base(registry, REPOSITORY, "3.11", {AMD64: base_layers()}))
    said = wherry.refused("lock", *BOTH, cwd=project, code=13)
    assert "linux/arm64" in said
    assert "there are: linux/amd64" in said
    assert not (project / "wherry.lock").exists()


def test_a_base_that_vanished(wherry: Wherry, project: Path, registry: RegistrySimulator, tmp_path: Path) -> None:
    first = wherry.build(project)
    registry.repositories.clear()
    assert wherry.build(project, "--locked") == first  # its documents are here, and its layers are nobody's need
    said = forget_everything(wherry, tmp_path, "other").run("build", cwd=project)
    assert said.returncode in (13, 14)
    assert REPOSITORY in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("behaviour", [Behaviour(wrong_bytes=True), Behaviour(longer_bytes=7)])
def test_wrong_bytes_lock_nothing(wherry: Wherry, project: Path, registry: RegistrySimulator, behaviour: Behaviour) -> None:
    registry.behaviour = behaviour
    wherry.refused("lock", cwd=project, code=15)
    assert not (project / "wherry.lock").exists()
    assert not list((wherry.store / "blobs/sha256").glob("*"))


def test_a_registry_that_wants_a_login(wherry: Wherry, project: Path, registry: RegistrySimulator) -> None:
    registry.behaviour = Behaviour(basic=True)
    said = wherry.run("lock", cwd=project)
    assert said.returncode in (13, 14, 15)
    assert "login" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        (({"lib/ld-musl-x86_64.so.1": b"", **python_files()},), "no GNU C library"),
        ((base_layers()[0],), "no Python"),
        ((*base_layers(), {"usr/local/.wh.bin": b""}), "no Python"),
    ],
    ids=["musl", "no Python", "whited out"],
)
def test_bases_that_will_not_do(wherry: Wherry, registry: RegistrySimulator, tmp_path: Path, layers: Any, told: str) -> None:
    project = declare(tmp_path / "p", publish_base(registry, REPOSITORY, "3.11", {AMD64: layers}))
    assert told in wherry.refused("lock", cwd=project, code=11)


def test_bytecode_that_this_host_cannot_make(wherry: Wherry, registry: RegistrySimulator, tmp_path: Path) -> None:
    base = publish_base(registry, REPOSITORY, "3.11", {ARM64: base_layers()})
    project = declare(tmp_path / "p", base, bytecode="layer")
    said = wherry.refused("build", "--platform", "linux/arm64", cwd=project, code=13)
    assert "bytecode for linux/arm64 needs Python 3.11.9 on this host" in said
    assert "layers-from" in said
    assert_valid_store(wherry.store)


# -- push


@pytest.mark.parametrize("docker", [False, True])
def test_a_push_beside_the_base_mounts_it(wherry: Wherry, registry: RegistrySimulator, tmp_path: Path, docker: bool) -> None:
    project = declare(tmp_path / "p", publish_base(registry, REPOSITORY, "3.11", docker=docker), 'name = "mine"')
    made = wherry.build(project, *BOTH)
    registry.forget()
    wherry.ok("push", f"{registry.host}/team/mine:1", cwd=project)
    own = {layer["digest"]: layer["size"] for platform in ("linux/amd64", "linux/arm64") for layer in layers_of(made, platform)[2:]}
    assert registry.count("GET", "/blobs/") == 0
    assert registry.bytes_in < sum(own.values()) + 20_000
    assert {layer["digest"] for layer in layers_of(made)} <= set(registry.repository("team/mine").blobs)
    assert registry.count("POST", "mount=") >= 4


def test_a_push_elsewhere_streams_the_base(wherry: Wherry, project: Path, registry: RegistrySimulator, tmp_path: Path) -> None:
    wherry.build(project)
    fresh = forget_everything(wherry, tmp_path, "other")
    made = fresh.build(project)
    with RegistrySimulator() as elsewhere:
        fresh.ok("push", f"{elsewhere.host}/team/mine:1", cwd=project)
        digests = [layer["digest"] for layer in layers_of(made)]
        assert set(digests) <= set(elsewhere.repository("team/mine").blobs)
    assert not (fresh.store / "blobs/sha256" / digests[0].removeprefix("sha256:")).exists()


# -- layers of other images


def test_a_vanished_wheel_is_built_from_an_image_that_has_its_layer(
    wherry: Wherry, registry: RegistrySimulator, tmp_path: Path
) -> None:
    base = publish_base(registry, REPOSITORY, "3.11")
    published = f"{registry.host}/team/mine:1"
    project = declare(tmp_path / "p", base, 'name = "mine"', f'layers-from = ["{published}"]')
    first = wherry.build(project)
    wherry.ok("push", published, cwd=project)
    there = forget_everything(wherry, tmp_path, "other")
    with PythonIndex() as empty:
        there = there.with_env(UV_DEFAULT_INDEX=empty.url)
        assert there.build(project) == first
        assert empty.requests == []
        declare(project, base, 'name = "mine"')
        assert "tinyone" in forget_everything(there, tmp_path, "third").refused("build", cwd=project, code=11)


def test_a_lost_cache_is_made_up_from_the_store(wherry: Wherry, project: Path, tmp_path: Path) -> None:
    first = wherry.build(project)
    with PythonIndex() as empty:
        there = replace(wherry, cache=tmp_path / "lost").with_env(UV_DEFAULT_INDEX=empty.url)
        assert there.build(project) == first
        other = there.build(project, "-t", "other:1")
    assert other["index"] == first["index"]


# -- bases that run: the layers that the session built, as if somebody had published them


def session_layers(seed: Seed) -> list[tuple[str, bytes]]:
    """The layers of the seed's image for amd64, each with its diff_id."""

    def read(digest: str) -> bytes:
        return (seed.wherry.store / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()

    for entry in json.loads(read(json.loads((seed.wherry.store / "index.json").read_bytes())["manifests"][0]["digest"]))[
        "manifests"
    ]:
        manifest = json.loads(read(entry["digest"]))
        config = json.loads(read(manifest["config"]["digest"]))
        if config["architecture"] == "amd64":
            pairs = zip(config["rootfs"]["diff_ids"], manifest["layers"], strict=True)
            return [(diff_id, read(layer["digest"])) for diff_id, layer in pairs]
    raise AssertionError("the seed has an image for amd64")


def publish_real_base(
    seed: Seed, registry: RegistrySimulator, count: int = 2, *more: dict[str, bytes], repository: str = REPOSITORY
) -> str:
    """The seed's lowest layers (base, interpreter) and `more` over them, under documents that another tool might write."""
    extra = [(f"sha256:{hashlib.sha256(tar).hexdigest()}", gzip.compress(tar)) for tar in map(tar_of, more)]
    return publish_layers(registry, repository, "3.11", [*session_layers(seed)[:count], *extra])


def as_dpkg_has_it(seed: Seed) -> dict[str, bytes]:
    """The session's package paragraphs in one status file, as in a Debian that dpkg installed."""
    members = (member for _, blob in session_layers(seed)[:2] for member in read_members([gzip.decompress(blob)], "base"))
    found = {member.path: b"".join(member.content) for member in members}
    paragraphs = [found[path] for path in sorted(found) if path.startswith("var/lib/dpkg/status.d/")]
    return {"var/lib/dpkg/.wh.status.d": b"", "var/lib/dpkg/status": b"\n".join(paragraphs)}


@pytest.mark.network
def test_an_image_over_a_real_base_runs_with_bytecode_and_its_layers_are_fetched_then(
    seed: Seed, wherry: Wherry, registry: RegistrySimulator, tmp_path: Path
) -> None:
    require_tool("bwrap")
    project = declare(tmp_path / "p", publish_real_base(seed, registry), bytecode="layer")
    (project / "main.py").write_text("import tinyone, sys\nprint(tinyone.VERSION, tinyone.__cached__.endswith('.pyc'))\n")
    wherry.ok("lock", cwd=project)
    there = forget_everything(wherry, tmp_path, "other")
    made = there.build(project)
    assert [layer["cause"] for layer in layers_of(made)][-3:] == ["tinyone 1.0", "tinyone 1.0", "code"]
    cached = replace(there, store=tmp_path / "third-store")
    registry.forget()
    assert cached.build(project) == made
    assert blobs_read(registry) == 1
    assert cached.ok("run", "--on", "bubblewrap", "--", "python", "main.py", cwd=project).split() == ["1.0", "True"]
    assert blobs_read(registry) == 3


@pytest.mark.network
@pytest.mark.parametrize("kept", ["status.d", "status"])
def test_system_packages_over_a_debian_base(
    seed: Seed, wherry: Wherry, registry: RegistrySimulator, tmp_path: Path, kept: str
) -> None:
    require_tool("bwrap")
    more = [as_dpkg_has_it(seed)] if kept == "status" else []
    project = declare(tmp_path / "p", publish_real_base(seed, registry, 2, *more), 'system-packages = ["hello"]')
    wherry.ok("lock", cwd=project)
    text = (project / "wherry.lock").read_text()
    assert text.count("[[platform.deb]]") == 1
    assert 'release = "debian:bookworm"' in text
    # Another machine has never seen where in the archive the package lies.
    there = forget_everything(wherry, tmp_path, "other")
    made = there.build(project)
    assert blobs_read(registry) == 2 + len(session_layers(seed)[:2]) + len(more)  # to lock: config and layers; to build: the config
    added = next(layer for layer in layers_of(made) if layer["cause"].startswith("hello "))
    blob = (there.store / "blobs/sha256" / added["digest"].removeprefix("sha256:")).read_bytes()
    paths = {member.path for member in read_members([gzip.decompress(blob)], "layer")}
    assert {"usr/bin/hello", "var/lib/dpkg/status.d/hello"} <= paths
    assert not paths & {"bin", "lib", "lib64", "sbin", "etc/passwd", "tmp"}  # the base's own, links most of them
    assert there.ok("run", "--on", "bubblewrap", "--", "hello", cwd=project) == "Hello, world!\n"
    assert there.ok("run", "--on", "bubblewrap", "--", "/bin/hello", cwd=project) == "Hello, world!\n"


@pytest.mark.network
def test_python_out_of_packages_over_a_base_without_one(
    seed: Seed, wherry: Wherry, registry: RegistrySimulator, tmp_path: Path
) -> None:
    require_tool("bwrap")
    base = publish_real_base(seed, registry, 1)
    project = declare(tmp_path / "p", base)
    assert "no Python" in wherry.refused("lock", cwd=project, code=11)
    declare(project, base, 'system-packages = ["python3"]', bytecode="layer")
    (project / "main.py").write_text(
        "import tinyone, json\nprint(tinyone.VERSION, bool(tinyone.__cached__), bool(json.__cached__))\n"
    )
    made = wherry.build(project)
    text = (project / "wherry.lock").read_text()
    assert 'interpreter = { source = "debian", version = "3.11.2", path = "/usr/bin/python3.11" }' in text
    assert [layer["cause"] for layer in layers_of(made)] == [
        "layer 1",
        "base",
        "python",
        "tinyone 1.0",
        "bytecode-python",
        "tinyone 1.0",
        "code",
    ]
    assert wherry.ok("run", "--on", "bubblewrap", "--", "python", "main.py", cwd=project).split() == ["1.0", "True", "True"]
    # The bytecode of the standard library and of the wheels is that of an image on Debian's packages alone.
    ours = [layer["diff_id"] for layer in layers_of(made)]
    assert {ours[4], ours[5]} <= {diff_id for diff_id, _ in session_layers(seed)}
