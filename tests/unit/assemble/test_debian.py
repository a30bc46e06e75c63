"""From packages to layers, without running anything."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from tests.simulators.debian import link, make_deb
from wherry.assemble.debian import debian_entries, is_pruned, merged_path
from wherry.assemble.spool import Spool
from wherry.errors import FormatError, StoreError
from wherry.formats.tar import EntryKind, TarEntry, write_tar
from wherry.model.digest import Digest
from wherry.model.lock import LayerKind, LockedDeb

Member = bytes | tarfile.TarInfo


def package(folder: Path, name: str, data: dict[str, Member], part: LayerKind = LayerKind.BASE) -> tuple[LockedDeb, Path]:
    deb = make_deb(name, data=data)
    path = folder / f"{name}.deb"
    path.write_bytes(deb)
    locked = LockedDeb(
        name=name, version="1.0-1", architecture="amd64", file=path.name, size=len(deb), sha256=Digest.of(deb), part=part
    )
    return locked, path


def content(entry: TarEntry) -> bytes:
    return entry.content if isinstance(entry.content, bytes) else b"".join(entry.content())


@pytest.fixture
def debs(tmp_path: Path) -> list[tuple[LockedDeb, Path]]:
    setuid = tarfile.TarInfo("./usr/bin/su")
    setuid.mode = 0o6755
    return [
        package(
            tmp_path,
            "tool",
            {
                "./": b"",
                "./bin/": b"",
                "./bin/tool": b"tool",
                "./bin/alias": link("./bin/alias", "./bin/tool", tarfile.LNKTYPE),
                "./lib/x86_64-linux-gnu/libx.so.1": link("./lib/x86_64-linux-gnu/libx.so.1", "libx.so.1.0"),
                "./lib64/ld.so": b"ld",
                "./usr/bin/su": setuid,
                "./usr/share/doc/tool/copyright": b"MIT",
                "./usr/share/doc/tool/changelog.gz": b"x",
                "./usr/share/man/man1/tool.1.gz": b"x",
                "./usr/share/locale/de/x.mo": b"x",
                "./var/lock/": b"",
                "./var/run/tool/": b"",
            },
        ),
        package(
            tmp_path,
            "ca-certificates",
            {"./usr/share/ca-certificates/mozilla/B.crt": b"bb", "./usr/share/ca-certificates/mozilla/A.crt": b"aa\n"},
        ),
        package(tmp_path, "python3.11-minimal", {"./usr/bin/python3.11": b"python"}, LayerKind.INTERPRETER),
    ]


def entries_of(debs: list[tuple[LockedDeb, Path]], spool: Spool, part: LayerKind = LayerKind.BASE) -> dict[str, TarEntry]:
    return {entry.path: entry for entry in debian_entries(debs, part, spool)}


def test_the_base(debs: list[tuple[LockedDeb, Path]], tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        found = entries_of(debs, spool)
        assert content(found["usr/bin/alias"]) == b"tool"  # the first of two names is the file
        assert (found["usr/bin/tool"].kind, found["usr/bin/tool"].link) == (EntryKind.HARDLINK, "usr/bin/alias")
        assert found["usr/lib/x86_64-linux-gnu/libx.so.1"].link == "libx.so.1.0"
        assert {name: found[name].link for name in ("bin", "lib", "lib64", "sbin")} == {
            "bin": "usr/bin",
            "lib": "usr/lib",
            "lib64": "usr/lib64",
            "sbin": "usr/sbin",
        }
        assert found["usr/bin/su"].mode == 0o755
        assert content(found["usr/share/doc/tool/copyright"]) == b"MIT"
        assert not any("changelog" in path or "/man" in path or "locale" in path for path in found)
        assert content(found["etc/ssl/certs/ca-certificates.crt"]) == b"aa\nbb\n"
        assert b"wherry:x:10001:10001:" in content(found["etc/passwd"])
        assert found["tmp"].mode == 0o1777
        assert found["var/run"].link == "/run"
        assert found["run/tool"].kind is EntryKind.DIRECTORY
        assert content(found["var/lib/dpkg/status.d/tool"]).startswith(
            b"Package: tool\nStatus: install ok installed\nVersion: 1.0-1\n"
        )
        assert "usr/bin/python3.11" not in found
    assert list((tmp_path / "spool").iterdir()) == []


def test_the_interpreter_shares_no_path_with_the_base(debs: list[tuple[LockedDeb, Path]], tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        base, interpreter = entries_of(debs, spool), entries_of(debs, spool, LayerKind.INTERPRETER)
    assert interpreter["usr/bin/python3"].link == "python3.11"
    shared = [path for path in interpreter if path in base and interpreter[path].kind is not EntryKind.DIRECTORY]
    assert shared == []


def test_python3_minimal_brings_its_own_link(debs: list[tuple[LockedDeb, Path]], tmp_path: Path) -> None:
    debs.append(package(tmp_path, "python3-minimal", {"./usr/bin/python3": link("./usr/bin/python3", "python3.11")}))
    with Spool(tmp_path) as spool:
        assert "usr/bin/python3" not in entries_of(debs, spool, LayerKind.INTERPRETER)
        assert "usr/bin/python3" in entries_of(debs, spool)


def test_over_a_base_nothing_is_made_by_hand(debs: list[tuple[LockedDeb, Path]], tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        found = {entry.path for entry in debian_entries(debs[:1], LayerKind.BASE, spool, over_base=True)}
    assert "usr/bin/tool" in found
    assert not {"etc/passwd", "bin", "tmp"} & found


def test_alternatives_that_libraries_need(tmp_path: Path) -> None:
    blas = package(tmp_path, "libblas3", {"./usr/lib/aarch64-linux-gnu/blas/libblas.so.3": b"x"})
    with Spool(tmp_path) as spool:
        assert entries_of([blas], spool)["usr/lib/aarch64-linux-gnu/libblas.so.3"].link == "blas/libblas.so.3"


def test_the_same_tar_whatever_the_order_and_the_place(debs: list[tuple[LockedDeb, Path]], tmp_path: Path) -> None:
    digests = set()
    for number, order in enumerate((debs, debs[::-1])):
        digest = hashlib.sha256()
        with Spool(tmp_path / str(number)) as spool:
            write_tar(debian_entries(order, LayerKind.BASE, spool), digest.update)
        digests.add(digest.hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"./etc/x": b"1"}, {"./etc/x": b"2"}),
        ({"./bin/x": b"1"}, {"./usr/bin/x": b"1"}),
        ({"./etc/x": link("./etc/x", "a")}, {"./etc/x": link("./etc/x", "b")}),
        ({"./etc/x/": b""}, {"./etc/x": b"2"}),
        ({"./etc/x": link("./etc/x", "/root")}, {"./etc/x/y": b"2"}),
    ],
)
def test_packages_that_do_not_go_together(one: dict[str, Member], other: dict[str, Member], tmp_path: Path) -> None:
    debs = [package(tmp_path, "one", one), package(tmp_path, "other", other)]
    with Spool(tmp_path) as spool, pytest.raises(FormatError):
        debian_entries(debs, LayerKind.BASE, spool)


def test_a_hostile_package_is_named(tmp_path: Path) -> None:
    evil = package(tmp_path, "evil", {"./usr/x": link("./usr/x", "../../../etc/shadow")})
    with Spool(tmp_path) as spool, pytest.raises(FormatError, match=r"evil\.deb.*link out of the root"):
        debian_entries([evil], LayerKind.BASE, spool)
    (tmp_path / "evil.deb").unlink()
    with Spool(tmp_path) as spool, pytest.raises(StoreError, match="cannot read"):
        debian_entries([evil], LayerKind.BASE, spool)


def test_a_hard_link_outlives_its_pruned_name(tmp_path: Path) -> None:
    data: dict[str, Member] = {
        "./usr/share/doc/x/tool": b"tool",
        "./usr/bin/tool": link("./usr/bin/tool", "./usr/share/doc/x/tool", tarfile.LNKTYPE),
    }
    with Spool(tmp_path) as spool:
        found = entries_of([package(tmp_path, "x", data)], spool)
        assert content(found["usr/bin/tool"]) == b"tool"


def test_paths() -> None:
    assert merged_path("lib/x") == "usr/lib/x"
    assert merged_path("lib") == "lib"
    assert merged_path("library/x") == "library/x"
    assert is_pruned("usr/share/doc/x", EntryKind.DIRECTORY)
    assert not is_pruned("usr/share/doc/x", EntryKind.SYMLINK)
    assert not is_pruned("usr/share/doc/x/copyright", EntryKind.FILE)
    assert is_pruned("usr/share/doc/x/y/copyright", EntryKind.FILE)
    assert not is_pruned("usr/share/manual", EntryKind.FILE)
