"""A Debian archive: what is trusted, merged, kept and refused."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pysequoia
import pytest

from tests.simulators.debian import NOW, Archive, compress, make_ar, make_deb, make_tar
from wherry.errors import LockError, TransferError, TrustError
from wherry.lock.debian_solver import Relation, solve_packages
from wherry.model.digest import Digest
from wherry.model.lock import LockedDeb
from wherry.model.platform import Platform
from wherry.sources.apt import AptLogin, AptSource
from wherry.sources.debian import UBUNTU, DebianArchive, mirror_sources, open_archive
from wherry.sources.debian_fetch import Fetcher
from wherry.sources.debian_trust import ARCHIVE_KEYS, Keyring

AMD64 = Platform.parse("linux/amd64")
ARM64 = Platform.parse("linux/arm64")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    made = Archive(tmp_path / "mirror")
    made.add("trixie", "tool", "1.0-1")
    made.add("trixie-updates", "tool", "1.0-2")
    made.add("trixie-security", "tool", "1.0-1+deb13u1")
    return made.write()


def open_(archive: Archive, tmp_path: Path, **options: object) -> DebianArchive:
    given: dict[str, object] = {"keyring": archive.keyring, "now": lambda: NOW, "sources": archive.sources()} | options
    sources = given.pop("sources")
    return DebianArchive(sources, tmp_path / "cache", **given)  # type: ignore[arg-type]


def lock(deb: bytes, name: str = "tool", version: str = "1.0-2") -> LockedDeb:
    return LockedDeb(
        name=name, version=version, architecture="amd64", file=f"{name}_{version}_amd64.deb", size=len(deb), sha256=Digest.of(deb)
    )


def versions(archive: DebianArchive, suite: str = "trixie") -> set[str]:
    return {package.version for package in archive.packages(suite, AMD64).candidates("tool")}


@pytest.mark.parametrize("suffix", ["xz", "gz", ""])
def test_suite_updates_and_security_are_merged(archive: Archive, tmp_path: Path, suffix: str) -> None:
    for old in archive.root.glob("dists/*/main/*/Packages*"):
        old.unlink()
    archive.write(suffix)
    assert versions(open_(archive, tmp_path)) == {"1.0-1", "1.0-2", "1.0-1+deb13u1"}


def test_a_release_that_apt_is_not_configured_for_comes_from_the_same_mirror(archive: Archive, tmp_path: Path) -> None:
    found = open_(archive, tmp_path, sources=archive.sources("bookworm", "bookworm-updates", "bookworm-security"))
    assert len(versions(found)) == 3
    assert len(versions(open_(archive, tmp_path, sources=mirror_sources(archive.uri)))) == 3


def test_offline_uses_what_was_kept(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(LockError, match=r"not in the cache[^$]*try: .*without --offline"):
        versions(open_(archive, tmp_path, offline=True))
    online = versions(open_(archive, tmp_path))
    (archive.root / "dists/trixie/InRelease").unlink()
    assert versions(open_(archive, tmp_path, offline=True)) == online


def test_a_truncated_inrelease_is_refused(archive: Archive, tmp_path: Path) -> None:
    path = archive.root / "dists/trixie/InRelease"
    whole = path.read_bytes()
    for end in (0, 10, len(whole) // 3, len(whole) // 2, len(whole) - 60):
        path.write_bytes(whole[:end])
        with pytest.raises(TrustError):
            versions(open_(archive, tmp_path))
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_an_altered_inrelease_is_refused(archive: Archive, tmp_path: Path) -> None:
    path = archive.root / "dists/trixie/InRelease"
    path.write_bytes(path.read_bytes().replace(b"Origin: Test", b"Origin: Tess"))
    with pytest.raises(TrustError, match="not signed by the archive's keys"):
        versions(open_(archive, tmp_path))


def test_an_inrelease_signed_by_another_is_refused(archive: Archive, tmp_path: Path) -> None:
    keyring = archive.keyring
    archive.key = pysequoia.Tsk.generate("Archive <archive@example.org>")
    archive.write()
    with pytest.raises(TrustError, match="not signed by the archive's keys"):
        versions(open_(archive, tmp_path, keyring=keyring))


def test_text_around_the_signed_block_is_not_read(archive: Archive, tmp_path: Path) -> None:
    path = archive.root / "dists/trixie/InRelease"
    path.write_bytes(b"Codename: evil\n\n" + path.read_bytes() + b"\nSHA256:\n 00 0 evil\n")
    release = open_(archive, tmp_path)._release("trixie", AMD64)
    assert release is not None
    assert release[1].codename == "trixie"


def test_another_suites_inrelease_is_refused(archive: Archive, tmp_path: Path) -> None:
    other = (archive.root / "dists/trixie-updates/InRelease").read_bytes()
    (archive.root / "dists/trixie/InRelease").write_bytes(other)
    with pytest.raises(TrustError, match="InRelease of trixie-updates"):
        versions(open_(archive, tmp_path))


def test_an_expired_inrelease_is_refused(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="expired"):
        versions(open_(archive, tmp_path, now=lambda: NOW + timedelta(days=30)))


def test_a_mirror_that_goes_back_in_time_does_not_take_us_along(archive: Archive, tmp_path: Path) -> None:
    former = {path: path.read_bytes() for path in archive.root.rglob("*") if path.is_file()}
    archive.date += timedelta(days=1)
    archive.add("trixie-security", "tool", "1.0-1+deb13u2")
    archive.write()
    newest = versions(open_(archive, tmp_path))
    for path, data in former.items():
        path.write_bytes(data)
    assert versions(open_(archive, tmp_path)) == newest


def test_security_that_is_configured_must_be_there(archive: Archive, tmp_path: Path) -> None:
    (archive.root / "dists/trixie-security/InRelease").unlink()
    with pytest.raises(LockError, match="trixie-security"):
        versions(open_(archive, tmp_path))
    assert len(versions(open_(archive, tmp_path, sources=mirror_sources(archive.uri)))) == 2


def test_sources_of_other_owners_are_not_asked(archive: Archive, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.gpg"
    foreign.write_bytes(bytes(pysequoia.Tsk.generate("Other <other@example.org>").extract_certificate()))
    sources = (AptSource(uri="file:/nowhere", suite="trixie", components=("main",), keyrings=(foreign,)), *archive.sources())
    assert len(versions(open_(archive, tmp_path, sources=sources))) == 3
    with pytest.raises(LockError, match="not on any source"):
        versions(open_(archive, tmp_path, sources=sources[:1]))


def test_a_machine_without_sources_of_debian_has_no_archive(tmp_path: Path) -> None:
    lists = tmp_path / "etc/apt/sources.list"
    lists.parent.mkdir(parents=True)
    lists.write_text("deb http://mirror.example/ubuntu noble main\n")
    (tmp_path / "etc/os-release").write_text('NAME="Ubuntu"\nID=ubuntu\n')
    assert open_archive({}, tmp_path, root=tmp_path) is None
    found = open_archive({}, tmp_path, root=tmp_path, distribution=UBUNTU)
    assert found is not None
    assert found.distribution.components == ("main", "universe")
    assert open_archive({}, tmp_path, root=tmp_path, mirror="http://mirror.example/debian") is not None


def test_a_source_for_the_platform_goes_first(archive: Archive, tmp_path: Path) -> None:
    ports = Archive(tmp_path / "ports", key=archive.key)
    for suite in archive.suites:
        ports.add(suite, "tool", "7.0-1", architecture="arm64")
    ports.write(architectures=("arm64",))
    arm64 = tuple(replace(source, architectures=("arm64",)) for source in ports.sources())
    opened = open_(archive, tmp_path, sources=(*archive.sources(), *arm64))
    assert {package.version for package in opened.packages("trixie", ARM64).candidates("tool")} == {"7.0-1"}
    assert len(versions(opened)) == 3


def test_an_altered_index_is_refused(archive: Archive, tmp_path: Path) -> None:
    path = archive.root / "dists/trixie/main/binary-amd64/Packages.xz"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"x")
    with pytest.raises(TrustError, match="has the digest"):
        versions(open_(archive, tmp_path))
    path.write_bytes(good[:-1])
    with pytest.raises(TrustError, match="bytes instead of"):
        versions(open_(archive, tmp_path))
    path.write_bytes(good + b"x")
    with pytest.raises(TrustError):
        versions(open_(archive, tmp_path))
    assert [p for p in (tmp_path / "cache/debian").rglob("*") if p.is_file() and "suites" not in p.parts] == []


def test_an_index_altered_in_the_cache_is_refused_and_removed(archive: Archive, tmp_path: Path) -> None:
    versions(open_(archive, tmp_path))
    for path in (tmp_path / "cache/debian/indexes").iterdir():
        other = compress(b"Package: tool\nVersion: 9\nArchitecture: amd64\n", "xz")
        path.write_bytes(other.ljust(path.stat().st_size, b"\0"))
    with pytest.raises(TrustError, match="altered"):
        versions(open_(archive, tmp_path))


def test_a_platform_that_the_suite_does_not_have(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(LockError, match="no packages for linux/arm64, only for amd64"):
        open_(archive, tmp_path).packages("trixie", ARM64)


def test_fetching_by_index_and_by_memory(archive: Archive, tmp_path: Path) -> None:
    deb = archive.suites["trixie-updates"][0][1]
    opened = open_(archive, tmp_path)
    with pytest.raises(LockError, match="no longer on the mirror"):
        opened.fetch(lock(deb))
    path = opened.fetch(lock(deb), suite="trixie", platform=AMD64)
    assert path.read_bytes() == deb
    assert path.parts[-4:-1] == ("artefacts", "sha256", Digest.of(deb).hex)
    path.unlink()
    opened.remember(next(p for p in opened.packages("trixie", AMD64).candidates("tool") if p.version == "1.0-2"))
    assert open_(archive, tmp_path).fetch(lock(deb)).read_bytes() == deb


def test_a_package_that_vanished_is_named_with_the_way_on(archive: Archive, tmp_path: Path) -> None:
    gone = lock(make_deb("tool", "0.9-1"), version="0.9-1")
    with pytest.raises(LockError, match=r"tool 0\.9-1 \(amd64\) is no longer") as caught:
        open_(archive, tmp_path).fetch(gone, suite="trixie", platform=AMD64)
    assert caught.value.hint == "wherry lock --upgrade-package tool"


def test_a_package_with_other_bytes_is_refused(archive: Archive, tmp_path: Path) -> None:
    deb = archive.suites["trixie-updates"][0][1]
    for path in archive.root.glob("pool/main/*.deb"):
        path.write_bytes(bytes(len(deb)))
    with pytest.raises(TrustError):
        open_(archive, tmp_path).fetch(lock(deb), suite="trixie", platform=AMD64)
    assert not list((tmp_path / "cache/artefacts").rglob("*.*"))


def test_a_package_altered_in_the_cache_is_fetched_again(archive: Archive, tmp_path: Path) -> None:
    deb = archive.suites["trixie-updates"][0][1]
    path = open_(archive, tmp_path).fetch(lock(deb), suite="trixie", platform=AMD64)
    path.write_bytes(b"other")
    with pytest.raises(LockError, match="not in the cache"):
        open_(archive, tmp_path, offline=True).fetch(lock(deb))
    assert open_(archive, tmp_path).fetch(lock(deb), suite="trixie", platform=AMD64).read_bytes() == deb


def test_a_keyring_brings_only_keys_whose_fingerprints_are_known() -> None:
    stranger = pysequoia.Tsk.generate("Debian Archive Key <ftpmaster@example.org>")
    keyring = Keyring()
    assert keyring.add(bytes(stranger.extract_certificate())) == 0
    assert not keyring
    assert keyring.add(b"not a keyring") == 0
    assert all(len(fingerprint) == 40 for fingerprint in ARCHIVE_KEYS)
    with pytest.raises(TrustError, match="none of the archive's keys"):
        keyring.verify_inrelease(b"", "x")


def test_without_keys_here_they_come_from_the_archives_own_package(archive: Archive, tmp_path: Path) -> None:
    add_keyring_package(archive, bytes(archive.key.extract_certificate()))
    known = Keyring(trusted=(archive.key.extract_certificate().fingerprint,))
    assert len(versions(open_(archive, tmp_path, keyring=known))) == 3


def test_a_keyring_package_with_strange_keys_helps_nobody(archive: Archive, tmp_path: Path) -> None:
    add_keyring_package(archive, bytes(archive.key.extract_certificate()))
    with pytest.raises(TrustError, match="none of the archive's keys"):
        versions(open_(archive, tmp_path, keyring=Keyring()))


def add_keyring_package(archive: Archive, keys: bytes) -> None:
    deb = make_deb("debian-archive-keyring", data={"./usr/share/keyrings/debian-archive-keyring.gpg": keys}, architecture="all")
    filename = "pool/main/debian-archive-keyring.deb"
    (archive.root / filename).write_bytes(deb)
    paragraph = (
        f"Package: debian-archive-keyring\nVersion: 1\nArchitecture: all\nFilename: {filename}\n"
        f"Size: {len(deb)}\nSHA256: {Digest.of(deb).hex}\n"
    )
    archive.suites["trixie"].append((paragraph, deb))
    archive.write()


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Wants a login for everything, fails once on each path, and counts."""

    seen: dict[str, int]

    def do_GET(self) -> None:
        self.seen[self.path] = self.seen.get(self.path, 0) + 1
        if self.headers.get("authorization") != "Basic bWU6c2VjcmV0":
            self.send_error(401)
        elif self.seen[self.path] == 1:
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(archive: Archive) -> Iterator[str]:
    handler = functools.partial(type("Handler", (_Handler,), {"seen": {}}), directory=str(archive.root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_over_http_with_a_login_and_a_server_that_stumbles(archive: Archive, tmp_path: Path, served: str) -> None:
    sources = tuple(replace(source, uri=served) for source in archive.sources())
    machine = served.removeprefix("http://")
    told: list[tuple[str, int, int]] = []
    with open_(
        archive,
        tmp_path,
        sources=sources,
        fetcher=Fetcher({}, (AptLogin(machine=machine, login="me", password="secret"),), pause=lambda seconds: None),
        progress=lambda *step: told.append(step),
    ) as opened:
        assert len(versions(opened)) == 3
        chosen = solve_packages(opened.packages("trixie", AMD64), [(Relation(name="tool"),)])
        deb = archive.suites["trixie-updates"][0][1]
        assert chosen[0].version == "1.0-2"
        assert opened.fetch_all([lock(deb)], suite="trixie", platform=AMD64)[0][1].read_bytes() == deb
    assert told[-1] == ("tool_1.0-2_amd64.deb", len(deb), len(deb))


def test_credentials_never_stand_in_an_error(archive: Archive, tmp_path: Path, served: str) -> None:
    sources = tuple(replace(source, uri=served.replace("//", "//me:wrong@")) for source in archive.sources())
    with open_(archive, tmp_path, sources=sources) as opened, pytest.raises(TransferError, match="401") as caught:
        versions(opened)
    assert "wrong" not in str(caught.value)


def test_a_hostile_package_reaches_nobody(archive: Archive, tmp_path: Path) -> None:
    """The signed index decides; an ar with other bytes is not even opened."""
    evil = make_ar(
        [("debian-binary", b"2.0\n"), ("control.tar", make_tar({"control": b""})), ("data.tar", make_tar({"../x": b""}))]
    )
    (archive.root / "pool/main/tool_1.0-2_amd64.deb").write_bytes(evil)
    with pytest.raises((TrustError, TransferError)):
        open_(archive, tmp_path).fetch(lock(archive.suites["trixie-updates"][0][1]), suite="trixie", platform=AMD64)
