"""What a root shows of its layers: replaced, hidden, linked, odd."""

from __future__ import annotations

import tarfile

import pytest

from tests.unit.deltas import make_base, member, odd_tar
from wherry.errors import FormatError, TrustError

LOW = odd_tar(
    [
        member("etc", kind=tarfile.DIRTYPE),
        member("etc/hosts", b"one"),
        member("etc/deep/file", b"two"),
        member("bin/sh", b"three", mode=0o755),
        member("opt/x/y", b"four"),
        member("/abs", b"five"),
    ]
)


def shown(*layers: bytes) -> dict[str, bytes]:
    with make_base(*layers) as base:
        return {path: base.read_file(path) for path in sorted(base.files)}


def test_one_layer() -> None:
    assert shown(LOW) == {"bin/sh": b"three", "etc/deep/file": b"two", "etc/hosts": b"one", "opt/x/y": b"four"}
    with make_base(LOW) as base:
        told = base.files["bin/sh"]
        assert (told.size, told.mode, told.mtime, told.digest.hex[:8]) == (5, 0o755, 1_700_000_000, "8b5b9db0")


@pytest.mark.parametrize(
    ("upper", "gone"),
    [
        ([member("etc/.wh.hosts")], {"etc/hosts"}),
        ([member(".wh.etc")], {"etc/hosts", "etc/deep/file"}),
        ([member("etc/.wh..wh..opq")], {"etc/hosts", "etc/deep/file"}),
        ([member(".wh..wh..opq")], {"bin/sh", "etc/hosts", "etc/deep/file", "opt/x/y"}),
        ([member("etc", kind=tarfile.SYMTYPE, link="opt")], {"etc/hosts", "etc/deep/file"}),
        ([member("etc/deep", kind=tarfile.CHRTYPE)], {"etc/deep/file"}),
        ([member("bin/sh", kind=tarfile.DIRTYPE)], {"bin/sh"}),
        ([member("bin/sh/.wh.nothing")], {"bin/sh"}),
        ([member("bin/.wh.nothing"), member("et.wh.c")], set()),
        ([member("../bin/sh", b"outside")], set()),
    ],
)
def test_what_a_higher_layer_hides(upper: list[tuple[tarfile.TarInfo, bytes]], gone: set[str]) -> None:
    left = {path for path in shown(LOW, odd_tar(upper)) if not path.startswith("et.")}
    assert left == set(shown(LOW)) - gone


def test_whiteouts_act_below_wherever_they_stand() -> None:
    for upper in (
        [member("etc/new", b"!"), member("etc/.wh..wh..opq")],
        [member("etc/.wh..wh..opq"), member("etc/new", b"!")],
        [member(".wh.etc"), member("etc/new", b"!")],
    ):
        assert {path for path in shown(LOW, odd_tar(upper)) if path.startswith("etc")} == {"etc/new"}


def test_hard_links_count_as_files() -> None:
    upper = odd_tar(
        [member("a", b"own"), member("b", kind=tarfile.LNKTYPE, link="./a"), member("c", kind=tarfile.LNKTYPE, link="etc/hosts")]
    )
    files = shown(LOW, upper)
    assert (files["b"], files["c"]) == (b"own", b"one")
    assert "d" not in shown(odd_tar([member("d", kind=tarfile.LNKTYPE, link="nowhere")]))


def test_the_later_of_two_members_counts() -> None:
    assert shown(odd_tar([member("a", b"1"), member("a", b"2")])) == {"a": b"2"}
    assert shown(odd_tar([member("a/b", b"1"), member("a", b"2")])) == {"a": b"2"}
    assert shown(odd_tar([member("a", b"1"), member("a/b", b"2")])) == {"a/b": b"2"}


def test_lists_are_in_order_and_bounded() -> None:
    with make_base(odd_tar([member(name, b"x") for name in ("a-b", "a/b-c", "a/b/c", "b")])) as base:
        assert [file.path for file in base.list_files("", 9)] == ["a/b/c", "a/b-c", "a-b", "b"]
        assert [file.path for file in base.list_files("a", 9)] == ["a/b/c", "a/b-c"]
        assert [file.path for file in base.list_files("a", 1)] == ["a/b/c"]
        assert [file.path for file in base.list_files("a/b/c", 9)] == ["a/b/c"]
        assert list(base.list_files("no", 9)) == []
        with pytest.raises(TrustError):
            base.open_file("a/b")


def test_a_layer_that_is_no_tar_is_refused() -> None:
    with pytest.raises(FormatError):
        make_base(LOW, b"no tar at all" * 100)
