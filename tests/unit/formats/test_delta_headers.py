"""Headers of others: whatever they are they come back, and usual ones cost next to nothing."""

from __future__ import annotations

import tarfile

import pytest

from tests.unit.deltas import apply, cut, make_base, member, noise, odd_tar
from wherry.formats.delta import Form
from wherry.formats.delta_headers import HeaderModel, Named


def layer(changed: bytes, *, form: int = tarfile.PAX_FORMAT, head: str = "", later: int = 0) -> bytes:
    members = []
    for number in range(300):
        folder = f"{head}usr/lib/python3.11/site-packages/package_{number // 20}"
        if not number % 20:
            members.append(member(folder, kind=tarfile.DIRTYPE, mode=0o755))
        name = f"module_{number}.py" if number % 30 else "with_a_very_long_name_" * 4 + f"{number}.py"
        members.append(member(f"{folder}/{name}", noise(number, 200), mode=0o755 if number % 7 else 0o600))
    members.append(member(f"{head}usr/lib/changed.py", changed))
    for info, _ in members:
        info.mtime += later + len(info.name) * 1000
    return odd_tar(members, form)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("head", ["", "./"])
@pytest.mark.parametrize("later", [0, 86_400])
def test_three_hundred_headers_cost_little(form: int, head: str, later: int) -> None:
    if form == tarfile.USTAR_FORMAT:
        head = ""
    with make_base(layer(b"old", form=form, head=head)) as base:
        target = layer(b"new", form=form, head=head, later=later)
        body, diff_id, kind = cut(target, base)
        assert apply(body, base, diff_id) == target
    assert (kind, len(body) < 1500) == (Form.DELTA, True)


def split_as_go(_self: tarfile.TarInfo, name: str, *_encoding: str) -> tuple[str, str]:
    """At the last slash that may be; Python takes the first. docker, buildah and GNU tar agree with Go."""
    at = name.rfind("/", 0, min(156, len(name) - 1))
    return name[:at], name[at + 1 :]


@pytest.mark.parametrize("first", ["short.py", "long/" * 25 + "a.py"])
def test_names_split_over_two_fields_cost_little(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarfile.TarInfo, "_posix_split_name", split_as_go)
    above = "opt/venv/lib/python3.11/site-packages/a_package_of_a_long_name-1.0.0.dist-info/licenses"

    def tar(changed: bytes) -> bytes:
        members = [member(first, b"first")]
        for number in range(200):
            if not number % 10:
                members.append(member(f"{above}/vendored_{number // 10:03}_source", kind=tarfile.DIRTYPE, mode=0o755))
            members.append(member(f"{above}/vendored_{number // 10:03}_source/licence_{number:03}.txt", noise(number, 200)))
        return odd_tar([*members, member("changed.py", changed)], tarfile.USTAR_FORMAT)

    with make_base(tar(b"old")) as base:
        target = tar(b"new")
        body, diff_id, kind = cut(target, base)
        assert apply(body, base, diff_id) == target
    assert (kind, len(body) < 500) == (Form.DELTA, True)


def test_a_gap_that_is_no_header_is_not_guessed() -> None:
    model = HeaderModel()
    for gap, padding in ((0, 0), (511, 0), (513, 0), (600, 100), (512, 5)):
        assert model.guess(gap, padding, Named(size=1, path="a", mode=0o644, mtime=5)) == bytes(gap)


@pytest.mark.parametrize("field", [b"77777777", b"-1", b"\xff" * 8, b"\x80" + bytes(7), b"        "])
def test_odd_numbers_in_patterns_keep_the_size(field: bytes) -> None:
    model, named = HeaderModel(), Named(size=1 << 40, path="é" * 90, mode=0o7777, mtime=-5)
    block = bytearray(512)
    block[100:108], block[124:136], block[136:148] = field.ljust(8), field.ljust(12), field.ljust(12)
    model.learn(bytes(block), named)
    for gap in (512, 1024, 4096):
        assert len(model.guess(gap, 0, named)) == gap
        assert len(model.guess(gap, 0, Named(size=5))) == gap
