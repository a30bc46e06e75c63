"""Conda's records become layers: equal on every host, one moved by a bump, no path in two, conda-meta telling the truth."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tools.conda_channel.channel import Channel
from tools.conda_channel.packages import CondaPackage, PackagedFile, write_package
from tools.conda_channel.samples import dist_info, write_samples

from tests.simulators.conda import lock_archive
from tests.simulators.wheels import make_wheel
from wherry.assemble.build import Assembly, assemble_layers
from wherry.assemble.bytecode import HostInterpreter
from wherry.assemble.layers import LayerBlob
from wherry.assemble.packages import CondaSource
from wherry.errors import FormatError, LockError
from wherry.formats.tar import EntryKind
from wherry.formats.untar import read_members
from wherry.lock.plan import plan_layers
from wherry.model.declaration import Bytecode, Compression
from wherry.model.digest import DiffId, Digest
from wherry.model.lock import LockedDeb, LockedInterpreter, LockedRecord, LockedWheel, PlatformLock
from wherry.model.platform import Platform
from wherry.model.progress import be_silent
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore

pytest.importorskip("rattler")

INTERPRETER = LockedInterpreter(source="conda", version="3.11.2", path="/opt/conda/bin/python3.11")
THIS = HostInterpreter(command=(sys.executable,), version="3.11.2", tag="cpython-311")
AMD64 = Platform("linux", "amd64")
BIG = 1 << 20  # such a package lies alone
MODULES = "opt/conda/lib/python3.11/site-packages"


@dataclass
class Shelf:
    """Inputs from folders; what is asked of it is noted."""

    archives: dict[str, Path] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    fetched: list[str] = field(default_factory=list)

    def find_layer(self, _diff_id: DiffId) -> LayerBlob | None:
        return None

    def wheels(self, wheels: Sequence[LockedWheel]) -> Mapping[str, Path]:
        return {wheel.name: self.archives[wheel.file] for wheel in wheels}

    def fetch(self, records: Sequence[LockedRecord]) -> Mapping[str, Path]:
        for record in records:
            if record.name in self.gone:
                raise LockError(f"{record.name} {record.version} is nowhere")
        self.fetched += [record.name for record in records]
        return {record.name: self.archives[record.file] for record in records}

    def debs(self, _debs: Sequence[LockedDeb]) -> Sequence[tuple[LockedDeb, Path]]:
        return ()

    def interpreter(self) -> HostInterpreter:
        raise LockError("the base has no Python")

    def managed_python(self) -> Path:
        raise LockError("the lock has no managed Python")


class Bench:
    """Locks and builds records one after another, as a project does over time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shelf = Shelf()
        self.store = DiskStore(folder / "store")
        self.cache = folder / "cache"

    def record(self, archive: Path, *, alone: bool = True) -> LockedRecord:
        self.shelf.archives[archive.name] = archive
        record = lock_archive(archive)
        return replace(record, size=BIG) if alone else record

    def made(self, package: CondaPackage, *, alone: bool = True) -> LockedRecord:
        return self.record(write_package(self.folder / "made", package), alone=alone)

    def wheel(self, name: str, version: str, files: Mapping[str, bytes]) -> LockedWheel:
        path = make_wheel(self.folder / "wheels", name, version, files)
        self.shelf.archives[path.name] = path
        return LockedWheel(name=name, version=version, file=path.name, size=BIG, sha256=Digest.of(path.read_bytes()))

    def lock(
        self,
        *records: LockedRecord,
        wheels: tuple[LockedWheel, ...] = (),
        former: PlatformLock | None = None,
        bytecode: Bytecode = Bytecode.NONE,
    ) -> PlatformLock:
        layers = plan_layers((), INTERPRETER, wheels, bytecode, records=records, former=former)
        return PlatformLock(
            platform=AMD64, base=None, interpreter=INTERPRETER, debs=(), wheels=wheels, records=records, layers=layers
        )

    def build(self, locked: PlatformLock) -> tuple[Assembly, PlatformLock]:
        conda = CondaSource(fetch=self.shelf.fetch, interpreter=lambda: THIS)
        made = assemble_layers(locked, self.shelf, self.store, self.cache, Compression.GZIP, be_silent, conda)
        return made, replace(locked, layers=made.learned)

    def contents(self, made: Assembly, name: str) -> dict[str, bytes]:
        """The files and links of a layer; a link's content is where it leads."""
        (layer,) = (layer for layer in made.layers if layer.name == name)
        found = {}
        for member in read_members(read_layer(self.store, layer.digest, layer.diff_id), layer.name):
            if member.kind is not EntryKind.DIRECTORY:
                found[member.path] = member.link.encode() if member.link else b"".join(member.content)
        return found


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Channel:
    return write_samples(tmp_path_factory.mktemp("channel"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def sample_records(bench: Bench, samples: Channel, answer: str = "1.0", *, alone: bool = True) -> list[LockedRecord]:
    names = (
        "linux-64/python-3.11.2-h3110_0_cpython.conda",
        "noarch/hello-1.0-pyhd_0.conda",
        f"noarch/answer-{answer}-pyhd_0.conda",
        "noarch/almanac-2024.1-0.conda",
        "linux-64/compass-1.0-h1a2b3c_0.conda",
        "linux-64/harbour-3.1-py311_0.conda",
        "noarch/talker-1.0-0.conda",
    )
    return [bench.record(samples.folder / name, alone=alone) for name in names]


def diff_ids(made: Assembly) -> dict[str, DiffId]:
    return {layer.name: layer.diff_id for layer in made.layers}


def test_a_bump_moves_one_layer_and_its_bytecode(bench: Bench, samples: Channel) -> None:
    first, learned = bench.build(bench.lock(*sample_records(bench, samples), bytecode=Bytecode.LAYER))
    bumped = bench.lock(*sample_records(bench, samples, "2.0"), former=learned, bytecode=Bytecode.LAYER)
    second, _ = bench.build(bumped)
    before, after = diff_ids(first), diff_ids(second)
    assert {name for name in after if after[name] != before.get(name)} == {"answer", "bytecode-answer"}
    assert before.keys() == after.keys()


def test_two_hosts_make_equal_layers(bench: Bench, samples: Channel, tmp_path: Path) -> None:
    first, _ = bench.build(bench.lock(*sample_records(bench, samples, alone=False), bytecode=Bytecode.LAYER))
    other = Bench(tmp_path / "another host")
    former = os.umask(0o077)
    try:
        (tmp_path / "another host").mkdir()
        records = list(reversed(sample_records(other, samples, alone=False)))
        second, _ = other.build(other.lock(*records, bytecode=Bytecode.LAYER))
    finally:
        os.umask(former)
    assert diff_ids(first) == diff_ids(second)
    assert {"python", "records", "bytecode-python", "bytecode-records"} == diff_ids(first).keys()


def test_no_two_layers_share_a_path_and_conda_meta_lists_what_is_there(bench: Bench, samples: Channel) -> None:
    made, _ = bench.build(bench.lock(*sample_records(bench, samples)))
    everything: dict[str, bytes] = {}
    for layer in made.layers:
        contents = bench.contents(made, layer.name)
        assert not everything.keys() & contents.keys()
        everything |= contents
    listed = set()
    metas = {path: data for path, data in everything.items() if "/conda-meta/" in path and path.endswith(".json")}
    for data in metas.values():
        listed |= {f"opt/conda/{path}" for path in json.loads(data)["files"]}
    assert listed == everything.keys() - metas.keys() - {"opt/conda/conda-meta/history"}
    assert {Path(path).name for path in metas} >= {"answer-1.0-pyhd_0.json", "python-3.11.2-h3110_0_cpython.json"}


def test_files_lie_in_the_prefix_as_conda_lays_them(bench: Bench, samples: Channel) -> None:
    made, _ = bench.build(bench.lock(*sample_records(bench, samples)))
    compass = bench.contents(made, "compass")
    assert compass["opt/conda/etc/compass.conf"] == b"home=/opt/conda\nagain=/opt/conda/bin\n"
    assert b"/opt/conda/share/compass\n\0" in compass["opt/conda/bin/compass"]
    assert compass["opt/conda/lib/libcompass.so"] == b"libcompass.so.1.0"
    hello = bench.contents(made, "hello")
    assert hello["opt/conda/bin/hello"].startswith(b"#!/opt/conda/bin/python3.11\n")
    assert f"{MODULES}/hello/__init__.py" in hello
    harbour = bench.contents(made, "harbour")
    assert not any(path.endswith(".pyc") for path in harbour)  # shipped by the record, and not ours


def test_bytecode_is_of_modules_and_of_the_library(bench: Bench, samples: Channel) -> None:
    made, _ = bench.build(bench.lock(*sample_records(bench, samples), bytecode=Bytecode.LAYER))
    assert bench.contents(made, "bytecode-harbour").keys() == {f"{MODULES}/harbour/__pycache__/__init__.cpython-311.pyc"}
    assert bench.contents(made, "bytecode-python").keys() == {"opt/conda/lib/python3.11/__pycache__/os.cpython-311.pyc"}
    assert "bytecode-almanac" not in diff_ids(made)


def test_the_python_layer_has_no_virtual_environment(bench: Bench, samples: Channel) -> None:
    made, _ = bench.build(bench.lock(*sample_records(bench, samples)))
    python = bench.contents(made, "python")
    assert python["opt/conda/bin/python"] == b"python3.11"
    assert python["opt/conda/conda-meta/history"] == b""
    assert not any(path.startswith("opt/env") or path.endswith("pyvenv.cfg") for path in python)


# -- one path, several packages


def test_who_depends_on_the_other_keeps_the_file(bench: Bench, samples: Channel) -> None:
    names = ("clobber-a-1.0-0.conda", "clobber-b-1.0-0.conda")
    records = [bench.record(samples.folder / "linux-64" / name) for name in names]
    made, learned = bench.build(bench.lock(*records))
    first, second = bench.contents(made, "clobber-a"), bench.contents(made, "clobber-b")
    assert "opt/conda/share/clobber/path" not in first
    assert second["opt/conda/share/clobber/path"] == b"of clobber-b\n"
    assert [(clash.path, clash.kept, clash.dropped) for clash in made.clashes] == [
        ("opt/conda/share/clobber/path", "clobber-b", "clobber-a")
    ]
    assert next(layer.yields for layer in learned.layers if layer.name == "clobber-a") == ("clobber-b",)
    assert json.loads(first["opt/conda/conda-meta/clobber-a-1.0-0.json"])["files"] == ["share/clobber/a"]


def test_of_strangers_the_last_name_keeps_it_and_a_newcomer_moves_the_loser(bench: Bench) -> None:
    files = {name: {"share/it": name.encode(), f"share/{name}": b""} for name in ("one", "two")}
    one, two = (bench.made(CondaPackage(name=name, noarch="generic", files=files[name])) for name in ("one", "two"))
    alone, learned = bench.build(bench.lock(one))
    both, _ = bench.build(bench.lock(one, two, former=learned))
    fresh, _ = bench.build(bench.lock(two, one))
    assert diff_ids(both) == diff_ids(fresh)
    assert diff_ids(both)["one"] != diff_ids(alone)["one"]
    assert bench.contents(both, "two")["opt/conda/share/it"] == b"two"


def test_a_wheel_replaces_the_distribution_that_a_record_brings(bench: Bench) -> None:
    files: dict[str, bytes | PackagedFile] = {
        "site-packages/tool/__init__.py": b"old",
        "site-packages/tool/gone.py": b"",
        "python-scripts/tool": b"#!/bin/sh\n",
        "lib/libtool.so": b"",
        **dist_info("tool", "1.0"),
    }
    record = bench.made(CondaPackage(name="tool-of-conda", noarch="python", files=files, depends=("python",)))
    wheel = bench.wheel("tool", "2.0", {"tool/__init__.py": b"new"})
    made, learned = bench.build(bench.lock(record, wheels=(wheel,)))
    left = bench.contents(made, "tool-of-conda")
    assert left.keys() == {"opt/conda/lib/libtool.so", "opt/conda/conda-meta/tool-of-conda-1.0-0.json"}
    assert bench.contents(made, "tool")[f"{MODULES}/tool/__init__.py"] == b"new"
    assert any("tool" in note for note in made.notes)
    assert next(layer.yields for layer in learned.layers if layer.name == "tool-of-conda") == ("tool",)
    again, _ = bench.build(bench.lock(record, former=learned))
    assert f"{MODULES}/tool/gone.py" in bench.contents(again, "tool-of-conda")


def test_a_record_that_a_wheel_replaces_wholly_is_not_listed(bench: Bench) -> None:
    package = CondaPackage(
        name="tool", noarch="python", files={"site-packages/tool.py": b"old", **dist_info("tool", "1.0")}, depends=("python",)
    )
    wheel = replace(bench.wheel("tool", "1.0", {"tool.py": b"new"}), size=100)
    made, _ = bench.build(bench.lock(bench.made(package, alone=False), wheels=(wheel,)))
    paths = [path for layer in ("records", "wheels") for path in bench.contents(made, layer)]
    assert f"{MODULES}/tool.py" in paths
    assert not any("conda-meta/tool" in path for path in paths)


def test_a_file_and_a_folder_of_one_path_are_refused(bench: Bench) -> None:
    one = bench.made(CondaPackage(name="one", noarch="generic", files={"share/it": b""}))
    two = bench.made(CondaPackage(name="two", noarch="generic", files={"share/it/below": b""}))
    with pytest.raises(FormatError, match=r"share/it is a folder to two and a file or link to one"):
        bench.build(bench.lock(one, two))


def test_a_record_that_vanished_is_not_missed_where_its_layer_is(bench: Bench, samples: Channel) -> None:
    records = sample_records(bench, samples)
    _, learned = bench.build(bench.lock(*records))
    bench.shelf.gone = {"almanac"}
    bumped = bench.lock(*sample_records(bench, samples, "2.0"), former=learned)
    made, _ = bench.build(bumped)
    assert "almanac" in diff_ids(made)
    bench.shelf.gone = {"answer"}
    with pytest.raises(LockError, match="answer"):
        bench.build(bench.lock(*sample_records(bench, samples, "1.0"), bench.made(CondaPackage(name="new", noarch="generic"))))


def test_scripts_that_nobody_runs_are_named(bench: Bench, samples: Channel) -> None:
    activated = CondaPackage(name="gdal", noarch="generic", files={"etc/conda/activate.d/gdal.sh": b"export GDAL_DATA=x\n"})
    made, _ = bench.build(bench.lock(*sample_records(bench, samples), bench.made(activated)))
    (pre, post, activation) = sorted(made.notes, key=lambda note: ("activates" in note, "post-link" in note))
    assert "talker 1.0: its pre-link script is not run; it would: do nothing" in pre
    assert 'echo "ahoy" >> "$PREFIX/.messages.txt"; touch "$PREFIX/share/talker/registered"' in post
    assert "pre-unlink" not in "".join(made.notes)
    assert "gdal 1.0: nobody activates" in activation
    assert b"ahoy" in bench.contents(made, "talker")["opt/conda/bin/.talker-post-link.sh"]
    assert "opt/conda/share/talker/registered" not in bench.contents(made, "talker")


def test_a_free_threaded_python_is_refused(bench: Bench) -> None:
    python = bench.made(CondaPackage(name="python", version="3.13.1", build="h1_0_cp313t", subdir="linux-64"))
    with pytest.raises(LockError, match="free-threaded"):
        bench.build(bench.lock(python))
