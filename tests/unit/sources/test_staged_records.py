"""Real packages are laid out as if installed at the prefix, equally under any umask; what is not as listed is refused."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.simulators.conda import lock_archive
from wherry.errors import FormatError, StoreError
from wherry.formats.tar import EntryKind, TarEntry
from wherry.model.digest import Digest
from wherry.model.lock import LockedRecord
from wherry.sources import staged_records
from wherry.sources.staged_records import StagedRecord, stage_records
from wherry.store.posix import hold_lock

rattler = pytest.importorskip("rattler")

XTENSOR = "linux-64/xtensor-io-0.10.3-hb585cf6_0.tar.bz2"
NOARCH = "noarch-conda-tests/sample_noarch_python-1.0-py_0.conda"
PROGRAM = "noarch-conda-tests/small-executable-1.0-0.conda"
LINKED = "rattler-clobber/clobber-with-symlink-a-0.1.0-h4616a5c_0.conda"

Entry = tuple[str, EntryKind, int, str, bytes]


@pytest.fixture
def packages(shared_data: Path) -> Path:
    return shared_data / "conda" / "packages"


@contextmanager
def staged(folder: Path, *archives: Path) -> Iterator[dict[str, StagedRecord]]:
    pairs = [(lock_archive(archive), archive) for archive in archives]
    with stage_records(pairs, python="3.11.2", prefix="opt/conda", folder=folder) as found:
        yield found


def read(entry: TarEntry) -> bytes:
    return entry.content if isinstance(entry.content, bytes) else b"".join(entry.content())


def layers_of(found: dict[str, StagedRecord]) -> dict[str, list[Entry]]:
    return {
        name: [(entry.path, entry.kind, entry.mode, entry.link, read(entry)) for entry in one.entries("opt/conda", set(one.files))]
        for name, one in found.items()
    }


def test_the_final_prefix_is_in_texts(tmp_path: Path, packages: Path) -> None:
    with staged(tmp_path, packages / XTENSOR) as found:
        text = read(found["xtensor-io"].files["lib/pkgconfig/xtensor-io.pc"]).decode()
    assert text.startswith("prefix=/opt/conda\n")
    assert "placehold" not in text
    assert not list((tmp_path / "staging").iterdir())  # nothing stays


def test_files_go_where_this_python_looks_with_their_modes_and_links(tmp_path: Path, packages: Path) -> None:
    with staged(tmp_path, *(packages / name for name in (NOARCH, PROGRAM, LINKED))) as found:
        assert list(found["sample_noarch_python"].files) == ["lib/python3.11/site-packages/sample.py"]
        program = found["small-executable"].files
        assert (program["bin/small"].mode, program["Scripts/small.bat"].mode) == (0o755, 0o644)
        link = found["clobber-with-symlink-a"].files["lib/clobber.so"]
        assert (link.kind, link.link) == (EntryKind.SYMLINK, "clobber-2.txt")


def test_two_hosts_give_the_same(tmp_path: Path, packages: Path) -> None:
    archives = [packages / name for name in (XTENSOR, NOARCH, PROGRAM)]
    with staged(tmp_path / "one", *archives) as found:
        before = layers_of(found)
    former = os.umask(0o077)
    try:
        with staged(tmp_path / "another folder", *reversed(archives)) as found:
            after = layers_of(found)
    finally:
        os.umask(former)
    assert before == after


def test_conda_meta_tells_what_is_there_and_nothing_of_this_machine(tmp_path: Path, packages: Path) -> None:
    with staged(tmp_path, packages / XTENSOR) as found:
        kept = {path for path in found["xtensor-io"].files if path.startswith("lib/")}
        entries = {entry.path: entry for entry in found["xtensor-io"].entries("opt/conda", kept)}
        raw = read(entries["opt/conda/conda-meta/xtensor-io-0.10.3-hb585cf6_0.json"])
        told = json.loads(raw)
        for path in told["paths_data"]["paths"]:
            digest = hashlib.sha256(read(entries[f"opt/conda/{path['_path']}"])).hexdigest()
            assert digest == path.get("sha256_in_prefix", path["sha256"])
    assert set(told["files"]) == kept == {path["_path"] for path in told["paths_data"]["paths"]}
    assert (told["name"], told["version"], told["build"], told["channel"]) == ("xtensor-io", "0.10.3", "hb585cf6_0", "conda-forge")
    assert told["depends"][0] == "blosc >=1.20.1,<2.0a0"
    assert str(tmp_path).encode() not in raw
    assert str(packages).encode() not in raw


@pytest.mark.parametrize("channel", ["conda-forge", "somebody/label/test"])
def test_py_rattler_reads_what_is_written(tmp_path: Path, packages: Path, channel: str) -> None:
    locked = lock_archive(packages / XTENSOR, channel=channel)
    with stage_records([(locked, packages / XTENSOR)], python=None, prefix="opt/conda", folder=tmp_path / "x") as found:
        *_, meta = found["xtensor-io"].entries("opt/conda", set(found["xtensor-io"].files))
        files = sorted(found["xtensor-io"].files)
    place = tmp_path / meta.path.rpartition("/")[2]
    place.write_bytes(read(meta))
    record = rattler.PrefixRecord.from_path(place)
    assert sorted(map(str, record.files)) == files
    assert (record.name.normalized, str(record.version), record.sha256.hex()) == ("xtensor-io", "0.10.3", locked.sha256.hex)


def test_an_archive_of_another_record_is_refused(tmp_path: Path, packages: Path) -> None:
    other = replace(lock_archive(packages / NOARCH), name="other")
    with (
        pytest.raises(FormatError, match="not of other"),
        stage_records([(other, packages / NOARCH)], python="3.11.2", prefix="opt/conda", folder=tmp_path),
    ):
        pass
    assert not list((tmp_path / "staging").iterdir())


def test_a_damaged_package_is_named(tmp_path: Path, packages: Path) -> None:
    """Its links point nowhere: it was packed on a system that has none."""
    name = "linux-64/zlib-1.2.11-h7b6447c_3.conda"
    with pytest.raises(FormatError, match=r"zlib-1\.2\.11-h7b6447c_3\.conda"), staged(tmp_path, packages / name):
        pass
    assert not list((tmp_path / "staging").iterdir())


def test_a_full_disk_is_no_damaged_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wherry.sources import rattler_stage  # which only py-rattler's process loads

    async def fail(*_: object) -> None:
        raise RuntimeError("failed to unpack `lib/x.so`: No space left on device (os error 28)")

    monkeypatch.setattr(rattler_stage, "_stage_record", fail)
    monkeypatch.setattr(os, "umask", lambda _: 0o022)
    with pytest.raises(StoreError, match="No space left"):
        rattler_stage.stage_records({"folder": str(tmp_path), "prefix": "/opt/conda", "python": None, "records": [{"file": "x"}]})


def test_what_a_killed_process_left_goes_and_what_another_one_uses_stays(tmp_path: Path, packages: Path) -> None:
    top = tmp_path / "staging"
    for name in ("left", "used"):
        (top / name / "0").mkdir(parents=True)
        (top / f"{name}.lock").touch()
    with hold_lock(top / "used.lock", exclusive=True), staged(tmp_path, packages / NOARCH):
        assert (top / "used/0").is_dir()
        assert not (top / "left").exists()
    assert sorted(path.name for path in top.iterdir()) == ["used", "used.lock"]


# -- what py-rattler wrote is not believed


RECORD = LockedRecord(
    name="evil", version="1", build="0", subdir="noarch", channel="x", file="evil-1-0.conda", size=1, sha256=Digest.of(b"")
)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Entry]]:
    """Stage what a worker leaves behind that was led astray."""

    def run(paths: list[dict[str, Any]], lay: Callable[[Path], object]) -> list[Entry]:
        def answer(_command: str, request: dict[str, Any], *, timeout: float) -> dict[str, Any]:
            folder = Path(request["folder"]) / "0"
            (folder / "conda-meta").mkdir(parents=True)
            (folder / "conda-meta/evil-1-0.json").write_text(json.dumps({"paths_data": {"paths": paths}}))
            lay(folder)
            return {"folders": ["0"]}

        monkeypatch.setattr(staged_records, "run_rattler", answer)
        with stage_records([(RECORD, tmp_path / "evil.conda")], python=None, prefix="opt/conda", folder=tmp_path) as found:
            return layers_of(found)["evil"]

    return run


def described(path: str, kind: str = "hardlink", sha256: str | None = None) -> dict[str, Any]:
    return {"_path": path, "path_type": kind, **({"sha256": sha256} if sha256 else {})}


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "a//b", "a/./b", "", "a/../../b"])
def test_a_file_that_leaves_the_prefix_is_refused(stage: Callable[..., list[Entry]], path: str) -> None:
    with pytest.raises(FormatError, match="leaves the prefix"):
        stage([described(path)], lambda _folder: None)


def test_nothing_is_read_through_a_link(stage: Callable[..., list[Entry]]) -> None:
    paths = [described("etc", "softlink"), described("etc/hostname")]
    with pytest.raises(FormatError, match="below a link"):
        stage(paths, lambda folder: (folder / "etc").symlink_to("/etc"))


@pytest.mark.parametrize("kind", ["hardlink", "softlink"])
def test_what_is_something_else_than_listed_is_refused(stage: Callable[..., list[Entry]], kind: str) -> None:
    def lay(folder: Path) -> None:
        if kind == "hardlink":
            (folder / "x").symlink_to("/etc/hostname")
        else:
            (folder / "x").write_text("")

    with pytest.raises(FormatError, match="something else"):
        stage([described("x", kind)], lay)


def test_altered_content_is_refused(stage: Callable[..., list[Entry]]) -> None:
    digest = hashlib.sha256(b"listed").hexdigest()
    assert stage([described("x", sha256=digest)], lambda folder: (folder / "x").write_text("listed"))[0][4] == b"listed"
    with pytest.raises(FormatError, match="differs from the record's own list"):
        stage([described("x", sha256=digest)], lambda folder: (folder / "x").write_text("other"))


def test_a_missing_file_and_a_list_that_is_none_are_refused(stage: Callable[..., list[Entry]]) -> None:
    with pytest.raises(FormatError, match="was not laid out"):
        stage([described("x")], lambda _folder: None)
    with pytest.raises(FormatError, match="no record of conda-meta"):
        stage([{"path": "x"}], lambda _folder: None)
    with pytest.raises(FormatError, match="twice"):
        stage([described("x"), described("x")], lambda folder: (folder / "x").write_text(""))
