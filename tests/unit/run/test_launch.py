"""Picking the platform's image, loading it once, and what is said on the way; with an engine that only remembers."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engines.images import layer_bytes, put_image
from wherry.engines.port import EngineImage, EngineInfo, RunSpec
from wherry.errors import StoreError, UsageError
from wherry.formats.oci_json import render_index
from wherry.formats.tar import file_entry
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import INDEX, Descriptor
from wherry.model.platform import Platform
from wherry.run.launch import choose_terminal, pick_runnable, run_image
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform

HOST = read_host_platform()
OTHER = Platform("linux", "arm64") if HOST.architecture != "arm64" else Platform("linux", "amd64")


class RememberingEngine:
    """Has what was loaded; runs nothing."""

    name = "remembering"

    def __init__(self, held: frozenset[DiffId] = frozenset()) -> None:
        self.images: set[Digest] = set()
        self.archives: list[bytes] = []
        self.ran: list[RunSpec] = []
        self._held = held

    def probe(self) -> EngineInfo:
        return EngineInfo(name=self.name, usable=True)

    def has(self, image: EngineImage) -> bool:
        return image.image_id in self.images

    def held_layers(self, image: EngineImage) -> frozenset[DiffId]:
        return self._held

    def load(self, chunks: Iterable[bytes], image: EngineImage) -> None:
        self.archives.append(b"".join(chunks))
        self.images.add(image.image_id)

    def list_notes(self, spec: RunSpec) -> tuple[str, ...]:
        return ("a note",)

    def run(self, spec: RunSpec) -> int:
        self.ran.append(spec)
        return 7

    def start(self, spec: RunSpec) -> str:
        self.ran.append(spec)
        return "container-1"

    def stop(self, container: str, grace: float) -> None:
        raise AssertionError


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "store")


def spec_for(image: EngineImage, *command: str) -> RunSpec:
    return RunSpec(image=image, name="c", command=command)


def test_loads_once_and_passes_the_exit_code(store: DiskStore) -> None:
    put_image(store, "tiny:latest", [layer_bytes([file_entry("a", b"1")])])
    stored, image = pick_runnable(store, "tiny")
    assert image.name == "tiny:latest"
    engine, said = RememberingEngine(), list[str]()
    for _ in range(2):
        assert run_image(store, stored, spec_for(image, "a"), engine, said.append, detach=False).exit_code == 7
    assert len(engine.archives) == 1
    assert said == ["a note", "loading tiny:latest into remembering", "a note"]
    with tarfile.open(fileobj=io.BytesIO(engine.archives[0])) as archive:
        assert {"index.json", "manifest.json"} <= set(archive.getnames())


def test_held_layers_are_left_out(store: DiskStore) -> None:
    layers = [layer_bytes([file_entry("a", b"1")]), layer_bytes([file_entry("b", b"2")])]
    put_image(store, "tiny:latest", layers)
    stored, image = pick_runnable(store, "tiny")
    first, second = image.config.diff_ids
    engine = RememberingEngine(frozenset({first}))
    run_image(store, stored, spec_for(image, "a"), engine, lambda _: None, detach=False)
    with tarfile.open(fileobj=io.BytesIO(engine.archives[0])) as archive:
        names = archive.getnames()
    assert f"blobs/sha256/{first.hex}" not in names
    assert f"blobs/sha256/{second.hex}" in names


def test_detached_has_no_terminal_and_no_stdin(store: DiskStore) -> None:
    put_image(store, "tiny:latest", [layer_bytes([])], cmd=["x"])
    stored, image = pick_runnable(store, "tiny")
    engine = RememberingEngine()
    spec = replace(spec_for(image), terminal=True)
    assert run_image(store, stored, spec, engine, lambda _: None, detach=True).container == "container-1"
    assert not engine.ran[0].interactive
    assert not engine.ran[0].terminal


def test_no_entrypoint_and_no_command(store: DiskStore) -> None:
    put_image(store, "tiny:latest", [layer_bytes([])])
    stored, image = pick_runnable(store, "tiny")
    engine = RememberingEngine()
    with pytest.raises(UsageError, match="no entrypoint"):
        run_image(store, stored, spec_for(image), engine, lambda _: None, detach=False)
    assert not engine.archives


def put_index(store: DiskStore, name: str, *platforms: Platform) -> None:
    inner = [
        replace(put_image(store, "part:latest", [layer_bytes([file_entry("a", b"1")])], platform=platform), platform=platform)
        for platform in platforms
    ]
    store.untag("part:latest")
    raw = render_index(inner)
    store.put_bytes(raw)
    store.tag(name, Descriptor(media_type=INDEX, digest=Digest.of(raw), size=len(raw)))


def test_the_machines_own_platform_is_picked(store: DiskStore) -> None:
    put_index(store, "two:latest", OTHER, HOST)
    assert pick_runnable(store, "two")[0].platform == HOST
    assert pick_runnable(store, "two", OTHER)[0].platform == OTHER


def test_an_image_for_other_machines_is_said_to_be_one(store: DiskStore) -> None:
    put_index(store, "far:latest", OTHER)
    stored, image = pick_runnable(store, "far")
    said = list[str]()
    run_image(store, stored, spec_for(image, "a"), RememberingEngine(), said.append, detach=False)
    assert any(str(OTHER) in line and "emulated" in line for line in said)


def test_a_platform_that_is_not_there(store: DiskStore) -> None:
    put_image(store, "tiny:latest", [layer_bytes([])])
    with pytest.raises(StoreError):
        pick_runnable(store, "tiny", OTHER)


def test_by_id_the_name_is_made_of_the_id(store: DiskStore) -> None:
    put_image(store, "tiny:latest", [layer_bytes([])])
    image_id = pick_runnable(store, "tiny")[1].image_id
    named = pick_runnable(store, str(image_id))[1]
    assert named.name == f"wherry:{image_id.hex[:12]}"


@pytest.mark.parametrize(
    ("stdin", "stdout", "asked", "term", "expected"),
    [
        (True, True, False, "xterm", True),
        (True, False, False, "xterm", False),
        (True, False, True, "xterm", True),
        (False, True, True, "xterm", False),
        (True, True, False, "dumb", False),
    ],
)
def test_terminal(stdin: bool, stdout: bool, asked: bool, term: str, expected: bool) -> None:
    assert choose_terminal({"TERM": term}, stdin=stdin, stdout=stdout, asked=asked) is expected
