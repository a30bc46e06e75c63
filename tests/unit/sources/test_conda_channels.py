from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from backports import zstd
from tools.conda_channel.evil import evil_packages
from tools.conda_channel.packages import CondaPackage, write_package
from tools.conda_channel.samples import talker

from tests.simulators.web import WebSimulator
from wherry.errors import FormatError, LockError, TransferError, TrustError
from wherry.model.digest import Digest
from wherry.model.lock import LockedRecord
from wherry.sources.conda_channels import CondaChannels

REPODATA = json.dumps({"info": {"subdir": "noarch"}, "packages": {}, "packages.conda": {}}).encode()


def make(package: CondaPackage) -> bytes:
    with TemporaryDirectory() as folder:
        return write_package(Path(folder), package).read_bytes()


ARCHIVE = make(CondaPackage(name="pkg", noarch="generic", files={"share/pkg": b"data\n"}))


def record(data: bytes = ARCHIVE, **other: str) -> LockedRecord:
    named = {"name": "pkg", "version": "1.0", "build": "0", "subdir": "noarch", "channel": "team", "file": "pkg-1.0-0.conda"}
    return LockedRecord(**(named | other), size=len(data), sha256=Digest.of(data))


def channels(cache: Path, *declared: str, env: dict[str, str] | None = None, **options) -> CondaChannels:
    return CondaChannels(env or {}, cache, declared=declared, pause=lambda _: None, **options)


def test_an_index_is_asked_for_once_and_then_on_condition(tmp_path: Path):
    packed = zstd.compress(REPODATA)
    with WebSimulator({"/team/noarch/repodata.json.zst": packed}) as web:
        one = channels(tmp_path, f"{web.url}/team")
        path = one.fetch_repodata("team", "noarch")
        assert path is not None
        assert path.read_bytes() == REPODATA
        assert one.fetch_repodata("team", "noarch") == path
        assert [seen.status for seen in web.seen] == [200]
        assert channels(tmp_path, f"{web.url}/team").fetch_repodata("team", "noarch") == path
        assert [seen.status for seen in web.seen] == [200, 304]
        changed = REPODATA.replace(b"noarch", b"NOARCH")
        web.files["/team/noarch/repodata.json.zst"] = zstd.compress(changed)
        channels(tmp_path, f"{web.url}/team").fetch_repodata("team", "noarch")
        assert path.read_bytes() == changed


def test_a_subdir_that_a_channel_lacks_is_none(tmp_path: Path):
    with WebSimulator({"/team/noarch/repodata.json": REPODATA}) as web:
        asked = channels(tmp_path, f"{web.url}/team")
        assert asked.fetch_repodata("team", "linux-64") is None
        assert asked.fetch_repodata("team", "noarch") is not None


def test_a_server_that_fails_or_refuses_is_no_missing_subdir(tmp_path: Path):
    with WebSimulator({}) as web:
        web.manners.status = 503
        with pytest.raises(TransferError, match="503"):
            channels(tmp_path, f"{web.url}/team").fetch_repodata("team", "noarch")
        web.manners.status = 403
        with pytest.raises(TransferError, match="403") as caught:
            channels(tmp_path, f"{web.url}/t/SECRET/team").fetch_repodata("team", "noarch")
        assert "token" in (caught.value.hint or "")
        assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("body", [b"<html>log in</html>", b'{"packages": {', b"", b"[]"])
def test_what_is_no_index_is_refused_and_not_kept(tmp_path: Path, body: bytes):
    with WebSimulator({"/team/noarch/repodata.json": body}) as web:
        with pytest.raises(FormatError, match="no index"):
            channels(tmp_path, f"{web.url}/team").fetch_repodata("team", "noarch")
        assert not list(tmp_path.rglob("repodata.*"))


def test_offline_the_cache_counts(tmp_path: Path):
    with WebSimulator({"/team/noarch/repodata.json": REPODATA}) as web:
        channels(tmp_path, f"{web.url}/team").fetch_repodata("team", "noarch")
        path = channels(tmp_path, f"{web.url}/team", offline=True).fetch_repodata("team", "noarch")
        assert path is not None
        with pytest.raises(TransferError, match="offline"):
            channels(tmp_path, f"{web.url}/team", offline=True).fetch_repodata("team", "linux-64")


def test_an_archive_comes_from_its_channel_and_only_if_it_is_the_locked_one(tmp_path: Path):
    with WebSimulator({"/t/SECRET/team/noarch/pkg-1.0-0.conda": ARCHIVE}) as web:
        address = f"{web.url}/t/SECRET/team"
        (path,) = channels(tmp_path / "a", address).fetch_all([record()])
        assert path == tmp_path / "a" / "artefacts" / "sha256" / record().sha256.hex / "pkg-1.0-0.conda"
        assert path.read_bytes() == ARCHIVE
        with pytest.raises(TrustError) as caught:
            channels(tmp_path / "b", address).fetch_all([record(b"something else, longer than what there is")])
        assert "SECRET" not in str(caught.value)
        with pytest.raises(LockError, match="nowhere"):
            channels(tmp_path / "c", address).fetch_all([record(file="other-1.0-0.conda")])
    assert not any("SECRET" in str(file) or b"SECRET" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_local_archives_are_verified_too(tmp_path: Path):
    folder = tmp_path / "team" / "noarch"
    folder.mkdir(parents=True)
    (folder / "pkg-1.0-0.conda").write_bytes(b"tampered with, all of it")
    for number, options in enumerate(({"declared": [str(tmp_path / "team")]}, {"find": [folder]}, {"find": [tmp_path / "team"]})):
        with pytest.raises(TrustError):
            CondaChannels({}, tmp_path / str(number), **options).fetch_all([record()])


def test_a_cache_that_was_altered_is_refused(tmp_path: Path):
    folder = tmp_path / "find"
    folder.mkdir()
    (folder / "pkg-1.0-0.conda").write_bytes(ARCHIVE)
    (path,) = channels(tmp_path, find=[folder]).fetch_all([record()])
    for other in (ARCHIVE[::-1], ARCHIVE[:-1], b"", ARCHIVE + b"x"):
        path.write_bytes(other)
        with pytest.raises(TrustError, match="altered in the cache"):
            channels(tmp_path, find=[folder]).fetch_all([record()])


@pytest.mark.parametrize("what", ["absolute path", "link above", "digest wrong"])
def test_an_evil_archive_is_given_to_nobody_even_if_it_is_the_locked_one(tmp_path: Path, what: str):
    data = make(evil_packages()[what])
    folder = tmp_path / "find"
    folder.mkdir()
    (folder / "evil-1.0-0.conda").write_bytes(data)
    for _ in range(2):  # the second time it lies in the cache
        with pytest.raises(FormatError, match=r"evil-1\.0-0\.conda"):
            channels(tmp_path, find=[folder]).fetch_all([record(data, name="evil", file="evil-1.0-0.conda")])


@pytest.mark.parametrize("other", [{"name": "other"}, {"version": "2"}, {"build": "1"}, {"subdir": "linux-64"}])
def test_an_archive_of_another_package_is_refused(tmp_path: Path, other: dict[str, str]):
    (tmp_path / "pkg-1.0-0.conda").write_bytes(ARCHIVE)
    with pytest.raises(FormatError, match=r"is of pkg 1\.0 0"):
        channels(tmp_path / "cache", find=[tmp_path]).fetch_all([record(**other)])


def test_link_scripts_are_told_and_an_archive_is_inspected_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = make(talker())
    (tmp_path / "talker-1.0-0.conda").write_bytes(data)
    wanted = record(data, name="talker", file="talker-1.0-0.conda")
    asked = channels(tmp_path / "cache", find=[tmp_path])
    asked.fetch_all([wanted])
    monkeypatch.setattr("wherry.sources.conda_inspection.inspect_conda_package", None)
    asked.fetch_all([wanted])
    scripts = {script.kind: script.commands for script in asked.scripts_of(wanted).scripts}
    assert scripts["post-link"] == ('echo "ahoy" >> "$PREFIX/.messages.txt"', 'touch "$PREFIX/share/talker/registered"')
    assert scripts["pre-link"] == ()


def test_a_file_name_that_leaves_the_cache_is_refused(tmp_path: Path):
    with pytest.raises(FormatError, match="no name of a conda package"):
        channels(tmp_path).fetch_all([record(file="../../x.conda")])
