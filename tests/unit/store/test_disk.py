from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import jsonschema
import pytest

from tests.unit.store.contract import DATA, DIGEST, BlobStoreContract
from tests.unit.store.tiny import ARM64, assert_valid, blob_names, put_image, put_index
from wherry.errors import StoreError, TrustError, UsageError
from wherry.formats.oci_json import parse_config, parse_index, parse_manifest
from wherry.model.digest import Digest
from wherry.store.disk import DiskStore
from wherry.store.port import BlobStore
from wherry.store.posix import explain_os_errors


class TestDiskStore(BlobStoreContract):
    def new_store(self, place: Path) -> BlobStore:
        return DiskStore(place / "a" / "store")


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "store")


def ingest(store: DiskStore) -> list[Path]:
    return list((store.root / "ingest").iterdir())


def test_reading_makes_nothing(store: DiskStore) -> None:
    assert store.names() == {}
    assert not store.has(DIGEST)
    with pytest.raises(StoreError):
        store.resolve("nothing")
    assert not store.root.exists()


def test_a_blob_of_unknown_digest(store: DiskStore) -> None:
    with store.begin() as writer:
        writer.write(DATA[:9])
        writer.write(DATA[9:])
        assert writer.commit() == DIGEST
    assert writer.size == len(DATA)
    assert store.path(DIGEST).read_bytes() == DATA
    assert ingest(store) == []


def test_leaving_without_commit_removes_the_temporary_file(store: DiskStore) -> None:
    def interrupted() -> None:
        with store.begin() as writer:
            writer.write(DATA)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ingest(store) == []
    assert blob_names(store) == set()


def test_a_blob_cut_short_by_others_is_healed_by_writing_it_again(store: DiskStore) -> None:
    store.put((DATA,), DIGEST, len(DATA))
    store.path(DIGEST).write_bytes(DATA[:10])
    store.put((DATA,), DIGEST, len(DATA))
    assert store.read_bytes(DIGEST) == DATA


def test_read_bytes_verifies_and_is_bounded(store: DiskStore) -> None:
    store.put((DATA,), DIGEST, len(DATA))
    with pytest.raises(StoreError, match="more than 10 bytes"):
        store.read_bytes(DIGEST, limit=10)
    store.path(DIGEST).write_bytes(DATA[:-1] + b"X")
    with pytest.raises(TrustError, match="damaged"):
        store.read_bytes(DIGEST)


def test_names_are_replaced_listed_and_forgotten(store: DiskStore) -> None:
    first, second = put_image(store), put_image(store, ARM64)
    store.tag("b:1", first)
    store.tag("a:1", first)
    store.tag("b:1", second)
    assert {name: found.digest for name, found in store.names().items()} == {"a:1": first.digest, "b:1": second.digest}
    assert list(store.names()) == ["a:1", "b:1"]
    store.untag("a:1")
    assert list(store.names()) == ["b:1"]
    with pytest.raises(StoreError, match="no image 'a:1'"):
        store.untag("a:1")


@pytest.mark.parametrize("name", ["", "-x", "a b", "a\n", "../x", "x" * 300])
def test_names_that_are_none(store: DiskStore, name: str) -> None:
    with pytest.raises(UsageError):
        store.tag(name, put_image(store))


def test_only_what_is_here_can_be_named(store: DiskStore) -> None:
    descriptor = put_image(store)
    store.path(descriptor.digest).unlink()
    with pytest.raises(StoreError, match="no blob"):
        store.tag("a:1", descriptor)
    assert store.names() == {}


def test_what_other_tools_wrote_into_the_index_survives(store: DiskStore) -> None:
    put_index(store)
    path = store.root / "index.json"
    document = json.loads(path.read_text())
    document["x-foreign"] = {"kept": True}
    document["manifests"][0]["x-more"] = 1
    path.write_text(json.dumps(document))
    store.tag("other:1", put_image(store))
    after = json.loads(path.read_text())
    assert after["x-foreign"] == {"kept": True}
    assert after["manifests"][0]["x-more"] == 1


def test_resolve_takes_names_digests_and_image_ids(store: DiskStore) -> None:
    index = put_index(store)
    inner = put_image(store, ARM64)
    config = parse_manifest(store.read_bytes(inner.digest)).config
    assert store.resolve("tiny").digest == index.digest
    assert store.resolve("tiny:latest").digest == index.digest
    assert store.resolve(str(index.digest)).digest == index.digest
    assert store.resolve(index.digest.hex[:8]).digest == index.digest
    assert store.resolve(f"sha256:{inner.digest.hex[:12]}").platform == ARM64
    assert store.resolve(config.digest.hex[:12]).digest == inner.digest
    for unknown in ("tin", "tiny:1", index.digest.hex[:7], "0" * 64):
        with pytest.raises(StoreError, match="no image"):
            store.resolve(unknown)


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"manifests": 3}', b'{"manifests": [3]}', b'{"manifests": [{"digest": "md5:1"}]}']
)
def test_a_damaged_index_is_named_with_a_remedy(store: DiskStore, damage: bytes) -> None:
    put_index(store)
    (store.root / "index.json").write_bytes(damage)
    for act in (store.names, lambda: store.tag("a:1", put_image(store)), lambda: store.resolve("a")):
        with pytest.raises(StoreError, match=r"damaged[^$]*try: move") as caught:
            act()
        assert str(store.root / "index.json") in str(caught.value)
    assert (store.root / "index.json").read_bytes() == damage


def test_a_store_in_a_place_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        DiskStore(tmp_path / "file" / "store").begin()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOTDIR])
def test_a_folder_that_cannot_be_written_comes_with_what_to_try(number: int) -> None:
    with pytest.raises(StoreError, match=r"try: .*folder"), explain_os_errors(Path("x")):
        raise OSError(number, os.strerror(number))


def test_a_full_disk_says_what_helps_there() -> None:
    with pytest.raises(StoreError, match="try: make room"), explain_os_errors(Path("x"), full="make room"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_and_leaves_nothing(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put((DATA,), DIGEST, len(DATA))

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"the disk is full[^$]*try: wherry image prune"):
        store.put_bytes(b"more")
    with pytest.raises(StoreError, match="the disk is full"):
        store.tag("a:1", put_image_quietly(store, monkeypatch))
    assert ingest(store) == []
    assert store.names() == {}


def put_image_quietly(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> object:
    full = os.fsync
    monkeypatch.undo()
    descriptor = put_image(store)
    monkeypatch.setattr(os, "fsync", full)
    return descriptor


def test_a_really_full_disk(tmp_path: Path) -> None:
    """A file system of 1 MB, in a mount namespace of the test's own."""
    script = """
        import sys
        from pathlib import Path
        from wherry.errors import StoreError
        from wherry.store.disk import DiskStore
        store = DiskStore(Path(sys.argv[1]) / "store")
        store.put_bytes(b"small")
        try:
            with store.begin() as writer:
                for number in range(64):
                    writer.write(bytes([number]) * 65536)
                writer.commit()
        except StoreError as error:
            assert "the disk is full" in str(error), error
        else:
            raise SystemExit("it fitted")
        assert not list((store.root / "ingest").iterdir())
        store.put_bytes(b"fits again")
        print("fine")
    """
    command = f'mount -t tmpfs -o size=1m none "{tmp_path}" && exec "{sys.executable}" -c "$SCRIPT" "{tmp_path}"'
    env = {**os.environ, "SCRIPT": textwrap.dedent(script)}
    done = subprocess.run(["unshare", "-m", "sh", "-c", command], env=env, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespaces here: {done.stderr.strip()}")
    assert done.stdout == "fine\n", done.stderr


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.unit.store.tiny import put_index
from wherry.store.disk import DiskStore
from wherry.store.posix import explain_os_errors
store = DiskStore(Path(sys.argv[1]))
print("ready", flush=True)
number = 0
while True:
    number += 1
    with store.begin() as writer:
        for _ in range(20):
            writer.write((str(number) + sys.argv[2]).encode() * 20000)
        writer.commit()
    put_index(store, f"tiny:{sys.argv[2]}")
"""
ROOT = str(Path(__file__).parents[3])


def start_writer(store: DiskStore, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(store.root), name, ROOT]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.parametrize("killer", [signal.SIGKILL, signal.SIGINT])
def test_killed_at_any_moment_the_store_stays_valid(store: DiskStore, killer: signal.Signals) -> None:
    for turn in range(8):
        with start_writer(store, "a") as process:
            time.sleep(0.003 * turn)
            process.send_signal(killer)
            process.wait()
        if store.root.joinpath("oci-layout").exists():
            assert_valid(store)
    put_index(store)
    for left in ingest(store):
        os.utime(left, (0, 0))
    put_index(store, "tiny:2")
    assert ingest(store) == []
    assert_valid(store)


def test_many_processes_write_and_name_at_once(store: DiskStore) -> None:
    processes = [start_writer(store, name) for name in "abcd"]
    time.sleep(0.5)
    for process in processes:
        process.kill()
        process.communicate()
    assert set(store.names()) <= {f"tiny:{name}" for name in "abcd"}
    assert_valid(store)


def test_no_name_is_lost_when_many_name_at_once(store: DiskStore) -> None:
    descriptor = put_image(store)
    threads = [
        threading.Thread(target=lambda name=name: [store.tag(f"{name}:{n}", descriptor) for n in range(10)]) for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.names()) == 40


def test_what_a_live_writer_holds_is_not_cleared(store: DiskStore) -> None:
    with store.begin() as writer:
        writer.write(DATA)
        for path in ingest(store):
            os.utime(path, (0, 0))
        assert store.clear_ingest() == 0
        assert writer.commit() == DIGEST
    assert store.has(DIGEST)


def test_the_documents_follow_the_schemas(store: DiskStore, shared_data: Path) -> None:
    from referencing import Registry
    from referencing.jsonschema import DRAFT4

    put_index(store)
    schemas = {path.name: json.loads(path.read_text()) for path in (shared_data / "oci").glob("*.json")}
    resources = []
    for name, schema in schemas.items():
        resource = DRAFT4.create_resource(schema)
        resources += [(name, resource), (schema["id"], resource) if "id" in schema else (name, resource)]
        resources.append((f"https://opencontainers.org/schema/image/{name}", resource))
        resources.append((f"https://opencontainers.org/schema/{name}", resource))
    registry = Registry().with_resources(resources)

    def check(document: bytes, schema: str) -> None:
        jsonschema.Draft4Validator(schemas[schema], registry=registry).validate(json.loads(document))

    check((store.root / "oci-layout").read_bytes(), "image-layout-schema.json")
    check((store.root / "index.json").read_bytes(), "image-index-schema.json")
    index = parse_index(store.read_bytes(store.resolve("tiny").digest))
    check(index.raw, "image-index-schema.json")
    for descriptor in index.manifests:
        manifest = parse_manifest(store.read_bytes(descriptor.digest))
        check(manifest.raw, "image-manifest-schema.json")
        config = parse_config(store.read_bytes(manifest.config.digest))
        check(config.raw, "config-schema.json")
        assert Digest.of(config.raw) == manifest.config.digest
