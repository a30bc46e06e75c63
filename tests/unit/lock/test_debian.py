"""Choosing Debian packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulators.debian import NOW, Archive
from wherry.errors import LockError
from wherry.formats.debian_index import PackageIndex, parse_relations, read_status
from wherry.lock.debian import BASE_PACKAGES, lock_debian, lock_over_base
from wherry.lock.debian_solver import solve_packages
from wherry.model.lock import LayerKind
from wherry.model.platform import Platform
from wherry.sources.debian import DebianArchive

AMD64 = Platform.parse("linux/amd64")


def index_of(*paragraphs: str) -> PackageIndex:
    """Each paragraph is ``name version`` and further fields on lines of their own."""
    index = PackageIndex()
    texts = []
    for paragraph in paragraphs:
        head, _, rest = paragraph.partition("\n")
        name, _, version = head.partition(" ")
        texts.append(f"Package: {name}\nVersion: {version or '1'}\nArchitecture: amd64\n{rest}\n")
    index.add(["\n".join(texts).encode()], "archive", "Packages")
    return index


def solve(index: PackageIndex, text: str, **options: dict[str, str]) -> dict[str, str]:
    return {p.name: p.version for p in solve_packages(index, parse_relations(text, "amd64", "x"), **options)}  # type: ignore[arg-type]


def test_the_closure_with_the_highest_versions() -> None:
    index = index_of("a 1\nDepends: b (>= 1), c\nRecommends: d", "b 1", "b 1+deb1", "b 1~rc", "c\nPre-Depends: e", "d", "e")
    assert solve(index, "a") == {"a": "1", "b": "1+deb1", "c": "1", "e": "1"}


def test_the_first_alternative_unless_another_is_there_already() -> None:
    index = index_of("a\nDepends: x | y", "b\nDepends: y", "x", "y")
    assert solve(index, "a") == {"a": "1", "x": "1"}
    assert solve(index, "b, a") == {"a": "1", "b": "1", "y": "1"}
    assert solve(index_of("a\nDepends: gone | y", "y"), "a") == {"a": "1", "y": "1"}


def test_virtual_packages_are_chosen_as_apt_does() -> None:
    index = index_of("a\nDepends: awk", "gawk\nProvides: awk\nPriority: optional", "mawk\nProvides: awk\nPriority: required")
    assert solve(index, "a") == {"a": "1", "mawk": "1"}
    assert solve(index, "gawk, a") == {"a": "1", "gawk": "1"}


def test_an_unversioned_provides_meets_no_version() -> None:
    with pytest.raises(LockError, match=r"no package v \(>= 1\)"):
        solve(index_of("a\nDepends: v (>= 1)", "p\nProvides: v"), "a")
    assert solve(index_of("a\nDepends: v (>= 1)", "p\nProvides: v (= 2)"), "a") == {"a": "1", "p": "1"}


def test_kept_versions_stay_while_they_can() -> None:
    index = index_of("a 1\nDepends: lib (>= 2)", "lib 2", "lib 3")
    assert solve(index, "a", keep={"lib": "2"}) == {"a": "1", "lib": "2"}
    assert solve(index, "a", keep={"lib": "1"}) == {"a": "1", "lib": "3"}
    assert solve(index_of("a 1\nDepends: lib (>= 3)", "lib 2", "lib 3"), "a", keep={"lib": "2"}) == {"a": "1", "lib": "3"}


def test_a_later_wish_changes_an_earlier_choice() -> None:
    index = index_of("a\nDepends: lib", "b\nDepends: lib (= 1)", "lib 1", "lib 2")
    assert solve(index, "a, b") == {"a": "1", "b": "1", "lib": "1"}
    with pytest.raises(LockError, match=r"lib \(= 1\) does not go together with lib \(= 2\)"):
        solve(index_of("a\nDepends: lib (= 2)", "b\nDepends: lib (= 1)", "lib 1", "lib 2"), "b, a")


def test_cycles_end() -> None:
    assert solve(index_of("a\nDepends: b", "b\nDepends: a"), "a") == {"a": "1", "b": "1"}


def test_what_only_scripts_need_is_not_followed_unless_asked_for() -> None:
    index = index_of("tzdata\nDepends: debconf (>= 0.5) | debconf-2.0", "debconf\nDepends: perl", "perl")
    assert solve(index, "tzdata") == {"tzdata": "1"}
    assert solve(index, "tzdata, debconf") == {"debconf": "1", "perl": "1", "tzdata": "1"}


def test_conflicts_are_refused_or_avoided() -> None:
    index = index_of("a", "b\nConflicts: a", "c\nDepends: b | d", "d")
    with pytest.raises(LockError):
        solve(index, "a, b")
    assert solve(index, "a, c") == {"a": "1", "c": "1", "d": "1"}


def test_a_missing_package_names_the_way_it_came() -> None:
    with pytest.raises(LockError, match="system-packages → a → b: there is no package gone"):
        solve(index_of("a\nDepends: b", "b\nDepends: gone"), "a")


@pytest.fixture
def archive(tmp_path: Path) -> DebianArchive:
    made = Archive(tmp_path / "mirror")
    for name in BASE_PACKAGES:
        made.add("bookworm", name)
    made.add("bookworm", "python3", "3.11.2-1+b1", "Depends: python3.11 (>= 3.11.2-1~), libpython3-stdlib (= 3.11.2-1+b1)\n")
    made.add("bookworm", "python3.11", "3.11.2-6+deb12u1", "Depends: libpython3.11-stdlib (= 3.11.2-6+deb12u1)\n")
    made.add("bookworm", "libpython3.11-stdlib", "3.11.2-6+deb12u1", "Depends: netbase\n")
    made.add("bookworm", "libgl1", "1.6", "Depends: libglvnd0, tzdata (>= 1.0-2)\n")
    made.add("bookworm", "libglvnd0", "1.6")
    made.add("bookworm-security", "tzdata", "1.0-2")
    made.write()
    return DebianArchive(made.sources(), tmp_path / "cache", keyring=made.keyring, now=lambda: NOW)


def test_a_base_with_its_interpreter(archive: DebianArchive) -> None:
    debs, interpreter = lock_debian(archive, "bookworm", AMD64)
    assert (interpreter.version, interpreter.minor, interpreter.path) == ("3.11.2", "3.11", "/usr/bin/python3.11")
    assert [deb.name for deb in debs] == sorted(deb.name for deb in debs)
    assert {deb.name for deb in debs if deb.part is LayerKind.INTERPRETER} == {"python3.11", "libpython3.11-stdlib"}
    assert {deb.name for deb in debs if deb.part is LayerKind.BASE} == set(BASE_PACKAGES)
    assert next(deb.version for deb in debs if deb.name == "tzdata") == "1.0-2"
    assert archive.fetch(debs[0]).name == debs[0].file


def test_keep_and_upgrade(archive: DebianArchive) -> None:
    newest, _ = lock_debian(archive, "bookworm", AMD64)
    index = archive.packages("bookworm", AMD64)
    former = solve_packages(index, parse_relations("tzdata (= 1.0-1)", "amd64", "x"))[0]
    keep = tuple(
        type(deb)(
            name="tzdata",
            version=former.version,
            architecture="amd64",
            file=former.filename.rpartition("/")[2],
            size=former.size,
            sha256=former.sha256 or deb.sha256,
        )
        if deb.name == "tzdata"
        else deb
        for deb in newest
    )
    assert lock_debian(archive, "bookworm", AMD64, keep=keep)[0] == keep
    assert lock_debian(archive, "bookworm", AMD64, keep=keep, upgrade=True)[0] == newest
    assert lock_debian(archive, "bookworm", AMD64, keep=keep, upgrade={"tzdata"})[0] == newest
    assert lock_debian(archive, "bookworm", AMD64, keep=keep, upgrade={"other"})[0] == keep


def test_a_python_that_the_release_does_not_have(archive: DebianArchive) -> None:
    assert lock_debian(archive, "bookworm", AMD64, python="3.11")[1].version == "3.11.2"
    with pytest.raises(LockError, match=r"bookworm has no Python 3\.13: it has 3\.11"):
        lock_debian(archive, "bookworm", AMD64, python="3.13")


def test_over_a_base_only_what_is_missing_is_added(archive: DebianArchive) -> None:
    status = b"Package: tzdata\nStatus: install ok installed\nVersion: 1.0-9\nArchitecture: all\n"
    added = lock_over_base(archive, status, ("libgl1",), suite="bookworm", platform=AMD64)
    assert [deb.name for deb in added] == ["libgl1", "libglvnd0"]
    old = status.replace(b"1.0-9", b"1.0-1")
    assert [deb.name for deb in lock_over_base(archive, old, ("libgl1",), suite="bookworm", platform=AMD64)] == [
        "libgl1",
        "libglvnd0",
        "tzdata",
    ]
    assert len(list(read_status(status, "status"))) == 1


def test_bases_of_others_are_refused(archive: DebianArchive) -> None:
    with pytest.raises(LockError, match="over a base of alpine"):
        lock_over_base(archive, b"", ("libgl1",), suite="", platform=AMD64, distribution="alpine")
    for given in (archive, None):
        with pytest.raises(LockError, match="no source signed with ubuntu's archive keys"):
            lock_over_base(given, b"", ("libgl1",), suite="noble", platform=AMD64, distribution="ubuntu")
    with pytest.raises(LockError, match="lists no installed packages"):
        lock_over_base(archive, b"", ("libgl1",), suite="bookworm", platform=AMD64)
