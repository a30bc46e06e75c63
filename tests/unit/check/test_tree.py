"""The root that layers show: whiteouts, links, what replaces what."""

from __future__ import annotations

from pathlib import Path

from tests.unit.check.trees import link, make_tree
from tests.unit.formats.elves import make_elf
from wherry.check.scan import scan_folder
from wherry.check.tree import LocalTree
from wherry.formats.tar import EntryKind, TarEntry


def test_a_higher_layer_replaces_and_whites_out() -> None:
    tree = make_tree(
        {"a/one": b"1", "a/two": b"2", "b/three": b"3", "c/four": b"4"},
        {"a/.wh.one": b"", "b/.wh..wh..opq": b"", "b/new": b"n", ".wh.c": b""},
    )
    assert sorted(path for path, entry in tree.entries.items() if entry.kind == "file") == ["a/two", "b/new"]
    assert tree.resolve("c/four") is None
    assert tree.resolve("a/one") is None


def test_a_link_in_place_of_a_folder_hides_what_was_in_it() -> None:
    tree = make_tree({"lib/old": b"1", "usr/lib/new": b"2"}, {"lib": link("lib", "usr/lib")})
    assert tree.resolve("lib/old") is None
    assert tree.resolve("lib/new") == "usr/lib/new"


def test_a_folder_in_place_of_a_link() -> None:
    tree = make_tree({"lib": link("lib", "usr/lib"), "usr/lib/a": b""}, {"lib/b": b""})
    assert (tree.resolve("lib/b"), tree.resolve("lib/a")) == ("lib/b", None)


def test_links_are_followed_within_the_root() -> None:
    tree = make_tree({"a": link("a", "/c/../c"), "c/file": b"", "loop": link("loop", "loop"), "out": link("out", "../../c/file")})
    assert tree.resolve("a/file") == "c/file"
    assert tree.resolve("loop") is None
    assert tree.resolve("out") == "c/file"
    assert tree.resolve("a/nothing") is None
    assert tree.resolve("./c//file") == "c/file"


def test_a_hard_link_is_the_file() -> None:
    library = make_elf(soname="x")
    hard = TarEntry(path="z/again.so", kind=EntryKind.HARDLINK, link="a/lib.so")
    found = make_tree({"a/lib.so": library, "z/again.so": hard}).find_elf("z/again.so")
    assert found
    assert found.soname == "x"


def test_a_folder_of_this_machine_with_what_lies_around_it(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "own.so").write_bytes(make_elf(soname="own"))
    (outside / "other.so").write_bytes(make_elf(soname="other"))
    (inside / "link.so").symlink_to("../outside/other.so")
    tree = LocalTree(scan_folder(inside))
    own, other = (tree.resolve(f"{inside}/{name}".lstrip("/")) for name in ("own.so", "link.so"))
    assert own
    assert other
    assert [getattr(tree.find_elf(path), "soname", None) for path in (own, other)] == ["own", "other"]
    assert sorted(path.rpartition("/")[2] for path in tree.entries) == ["link.so", "own.so"]
    assert tree.resolve("nowhere/at/all") is None
