"""Push and pull with a real registry, and real clients beside us."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.engines.registry_fixture import PASSWORD, USER, RealRegistry, guarded_registry, real_registry, run_registry
from tests.unit.store.tiny import AMD64, ARM64, assert_valid, put_image, put_index
from wherry.errors import StoreError, TransferError, TrustError
from wherry.formats.oci_json import render_index
from wherry.model.digest import Digest
from wherry.model.oci import INDEX
from wherry.model.reference import Reference
from wherry.publish.push import Way, plan_push, push_image
from wherry.publish.versions import assign_version
from wherry.sources.images import BaseImages, fetch_image
from wherry.sources.registries import RegistryAccess, access_registries
from wherry.store.disk import DiskStore
from wherry.store.registry_upload import Upload, UploadRules

pytestmark = pytest.mark.engine
__all__ = ["guarded_registry", "real_registry"]


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "store")


@pytest.fixture
def access(tmp_path: Path) -> Iterator[RegistryAccess]:
    opened = access_registries({}, cache=tmp_path / "cache")
    yield opened
    opened.close()


def run(*argv: object, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wherry(*argv: object, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from wherry.cli.front import main; main()", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | env, timeout=120)


def test_there_and_back(access: RegistryAccess, store: DiskStore, real_registry: RealRegistry, tmp_path: Path) -> None:
    image, destination = put_index(store), Reference(real_registry.host, "back/tiny", "1")
    plan = plan_push(store, image)
    result = push_image(access, store, plan, destination)
    assert {blob.way for blob in result.blobs} == {Way.SENT}
    assert {blob.way for blob in push_image(access, store, plan, destination).blobs} == {Way.THERE}
    other = DiskStore(tmp_path / "other")
    got = fetch_image(access, other, result.reference)
    assert got.digest == image.digest
    other.tag("tiny:1", got)
    assert_valid(other)
    assert BaseImages(access).pin_base(destination, ARM64).config.platform == ARM64


def test_mounted_from_another_repository(access: RegistryAccess, store: DiskStore, real_registry: RealRegistry) -> None:
    plan = plan_push(store, put_image(store))
    push_image(access, store, plan, Reference(real_registry.host, "mount/one", "1"))
    result = push_image(access, store, plan, Reference(real_registry.host, "mount/two", "1"))
    assert {blob.way for blob in result.blobs} == {Way.MOUNTED}


def test_what_is_not_there(access: RegistryAccess, real_registry: RealRegistry) -> None:
    repository = access.open(Reference(real_registry.host, "none/at/all"))
    with pytest.raises(StoreError):
        repository.resolve(Reference(real_registry.host, "none/at/all", "1"))
    with pytest.raises(StoreError):
        repository.open(Digest.of(b"nothing"))
    assert repository.tags() == ()


def test_skopeo_reads_what_we_push_and_we_pull_what_it_pushes(
    access: RegistryAccess, store: DiskStore, real_registry: RealRegistry, tmp_path: Path
) -> None:
    require_tool("skopeo")
    image = put_index(store)
    ours = Reference(real_registry.host, "skopeo/tiny", "1")
    push_image(access, store, plan_push(store, image), ours)
    seen = json.loads(run("skopeo", "inspect", "--tls-verify=false", "--override-arch", "amd64", f"docker://{ours}"))
    assert len(seen["Layers"]) == 3
    theirs = f"{real_registry.host}/skopeo/copy:1"
    flags = ("--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false")
    run("skopeo", "copy", *flags, f"docker://{ours}", f"docker://{theirs}")
    assert fetch_image(access, DiskStore(tmp_path / "other"), Reference.parse(theirs)).digest == image.digest
    # skopeo turns it into docker's own kind of manifest
    docker = f"{real_registry.host}/skopeo/docker:1"
    run("skopeo", "copy", "--format", "v2s2", *flags[2:], "--override-arch", "amd64", f"docker://{ours}", f"docker://{docker}")
    pulled = DiskStore(tmp_path / "docker")
    pulled.tag("docker:1", fetch_image(access, pulled, Reference.parse(docker), (AMD64,)))
    assert_valid(pulled)


def test_a_login(guarded_registry: RealRegistry, store: DiskStore, tmp_path: Path) -> None:
    image, destination = put_index(store), Reference(guarded_registry.host, "secret/tiny", "1")
    nobody = access_registries({})
    with pytest.raises(TransferError, match="docker login"):
        push_image(nobody, store, plan_push(store, image), destination)
    kept = {"auths": {guarded_registry.host: {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}}}
    (tmp_path / "auth.json").write_text(json.dumps(kept))
    somebody = access_registries({"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")})
    push_image(somebody, store, plan_push(store, image), destination)
    assert fetch_image(somebody, DiskStore(tmp_path / "other"), destination).digest == image.digest
    nobody.close()
    somebody.close()


def test_in_pieces_and_damaged(real_registry: RealRegistry, access: RegistryAccess) -> None:
    data = os.urandom(1 << 20)
    pieces = RegistryAccess(
        transport=access.transport, credentials=access.credentials, rules=UploadRules(chunked_above=1, chunk=300_000)
    )
    for rules in (access, pieces):
        repository = rules.open(Reference(real_registry.host, "pieces/blob"), push=True)
        wrong = Upload(digest=Digest.of(data), size=len(data), open=lambda: io.BytesIO(data[:-1] + b"?"), report=lambda sent: None)
        with pytest.raises(TrustError):
            repository.upload(wrong)
        assert not repository.has(Digest.of(data))
    repository.upload(Upload(digest=Digest.of(data), size=len(data), open=lambda: io.BytesIO(data), report=lambda sent: None))
    with repository.open(Digest.of(data)) as file:
        assert file.read() == data
    with repository.reader(Digest.of(data), len(data), offset=len(data) - 5, hasher=_seen(data[:-5])) as rest:
        assert rest.read() == data[-5:]


def test_base_layers_stream_from_one_registry_to_another(
    real_registry: RealRegistry, access: RegistryAccess, store: DiskStore, tmp_path: Path
) -> None:
    from tests.unit.publish.test_push import BASE, put_on_base

    base = Reference(real_registry.host, "library/base", "1")
    access.open(base, push=True).put((BASE,), Digest.of(BASE), len(BASE))
    image = put_on_base(store, str(base))
    with run_registry(tmp_path / "second") as second:
        result = push_image(access, store, plan_push(store, image), Reference(second.host, "team/model", "1"))
        assert result.blobs[0].way is Way.STREAMED
    here = push_image(access, store, plan_push(store, image), Reference(real_registry.host, "team/model", "1"))
    assert here.blobs[0].way is Way.MOUNTED


@pytest.mark.parametrize("pushers", [2, 4])
def test_racing_pushers_never_share_a_number(real_registry: RealRegistry, pushers: int) -> None:
    name = f"race/of{pushers}"
    got: dict[int, str] = {}
    start = threading.Barrier(pushers)

    def push(number: int) -> None:
        opened = access_registries({})
        repository = opened.open(Reference(real_registry.host, name), push=True)
        start.wait()
        for release in range(2):
            raw = render_index([], {"number": f"{number}.{release}"})
            repository.put_manifest(raw, INDEX)
            got[number * 10 + release] = assign_version(repository, raw, INDEX)
        opened.close()

    threads = [threading.Thread(target=push, args=(number,)) for number in range(pushers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == len(set(got.values())) == 2 * pushers
    opened = access_registries({})
    repository = opened.open(Reference(real_registry.host, name))
    for number, tag in got.items():
        raw = render_index([], {"number": f"{number // 10}.{number % 10}"})
        assert repository.read_manifest(tag)[1] == raw
    assert set(repository.tags()) == set(got.values())
    opened.close()


def test_the_command(real_registry: RealRegistry, tmp_path: Path) -> None:
    env = {"WHERRY_STORE": str(tmp_path / "store"), "WHERRY_CACHE": str(tmp_path / "cache")}
    image = put_index(DiskStore(tmp_path / "store"))
    name = f"{real_registry.host}/command/tiny"
    dry = wherry("push", name, "--image", "tiny", "--dry-run", env=env)
    assert (dry.returncode, dry.stdout) == (0, ""), dry.stderr
    for _ in range(2):
        done = wherry("push", name, "--image", "tiny", env=env)
        assert (done.returncode, done.stdout) == (0, f"{name}@{image.digest}\n"), done.stderr
    told = json.loads(wherry("push", f"{name}:x", "--image", "tiny", "--json", env=env).stdout)
    assert (told["tag"], told["digest"], {blob["way"] for blob in told["blobs"]}) == ("x", str(image.digest), {"there"})
    fresh = {"WHERRY_STORE": str(tmp_path / "other"), "WHERRY_CACHE": str(tmp_path / "cache2")}
    done = wherry("image", "pull", f"{name}:1", "--platform", "all", env=fresh)
    assert (done.returncode, done.stdout) == (0, f"{image.digest}\n"), done.stderr
    assert_valid(DiskStore(tmp_path / "other"))
    missing = wherry("image", "pull", f"{name}:404", env=fresh)
    assert missing.returncode == StoreError.exit_code
    assert missing.stdout == ""


def _seen(data: bytes) -> object:
    import hashlib

    return hashlib.sha256(data)
