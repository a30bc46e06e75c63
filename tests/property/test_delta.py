"""Laws of deltas: `apply(cut(a, b), a) == b` for whatever tars there are; damage makes nothing; a folder is as good as its tar."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.deltas import NEW, OLD, apply, cut, make_base, make_tar, member, noise, odd_layer, odd_tar
from wherry.engines.unpack import lay_over, unpack_layer
from wherry.errors import FormatError, TrustError, WherryError
from wherry.formats.delta import Form, Limits, Part, parse_body
from wherry.formats.delta_index import sort_key
from wherry.store.folder_tree import FolderBase

names = st.sampled_from(["a", "b-1.0", "b-1.1", "lib.so", "lib.so.1", "été", "x" * 120, ".wh.a", ".wh..wh..opq"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
pieces = st.sampled_from([b"", b"line one\n" * 30, noise(1, 400), noise(2, 90), b"\0" * 700, noise(3, 50) * 9])
contents = st.lists(pieces, max_size=5).map(b"".join)
plain_kinds = st.sampled_from([tarfile.REGTYPE] * 5 + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])
odd_kinds = st.sampled_from(
    [tarfile.REGTYPE] * 5 + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)


@st.composite
def members(draw: st.DrawFn, kinds: st.SearchStrategy[bytes]) -> tuple[tarfile.TarInfo, bytes]:
    kind = draw(kinds)
    data = draw(contents) if kind == tarfile.REGTYPE else b""
    link = draw(paths) if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    return member(
        draw(st.sampled_from(["", "./"])) + draw(paths), data, kind, link, draw(st.sampled_from([0o644, 0o755, 0o4755, 0]))
    )


@st.composite
def odd_tars(draw: st.DrawFn) -> bytes:
    form = draw(st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
    return odd_tar(draw(st.lists(members(odd_kinds), max_size=8)), form)


our_tars = (
    st.dictionaries(
        st.lists(st.sampled_from(["a", "b-1.0", "b-1.1", "lib.so", "été"]), min_size=1, max_size=2)
        .map("/".join)
        .filter(lambda path: path != "a"),
        contents,
        max_size=6,
    )
    .filter(lambda files: not any(other.startswith(f"{path}/") for path in files for other in files))
    .map(make_tar)
)
tars = our_tars | odd_tars()


@given(lower=tars, upper=tars, target=tars)
@settings(max_examples=120, deadline=None)
def test_the_target_comes_back(lower: bytes, upper: bytes, target: bytes) -> None:
    with make_base(lower, upper) as base:
        body, diff_id, form = cut(target, base)
        assert apply(body, base, diff_id) == target
    with make_base() as nothing:
        whole, _, full = cut(target, nothing)
        assert full is Form.FULL
        assert apply(whole, nothing, diff_id) == target
    assert len(body) <= len(whole)
    assert form is Form.DELTA or body == whole


@given(lower=odd_tars(), target=our_tars, junk=st.binary(min_size=1, max_size=600))
@settings(max_examples=40, deadline=None)
def test_what_is_no_tar_is_carried_too(lower: bytes, target: bytes, junk: bytes) -> None:
    with make_base(lower) as base:
        for odd in (junk, target[:-600] + junk, target[:700]):
            body, diff_id, _ = cut(odd, base)
            assert apply(body, base, diff_id) == odd


@given(
    layers=st.lists(st.lists(members(plain_kinds.filter(lambda kind: kind != tarfile.LNKTYPE)), max_size=6), min_size=1, max_size=3)
)
@settings(max_examples=80, deadline=None)
def test_a_root_on_disk_has_the_files_of_its_layers(
    layers: list[list[tuple[tarfile.TarInfo, bytes]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """FolderBase over what an engine unpacked lists what the layers' tree lists."""
    root = tmp_path_factory.mktemp("root")
    packed = [odd_tar(layer) for layer in layers]
    try:
        for number, layer in enumerate(packed):
            folder = tmp_path_factory.mktemp(f"layer{number}")
            unpack_layer((layer,), folder, "layer")
            lay_over(folder, root)
    except (WherryError, OSError):
        return  # a layer that no engine takes: a file as a folder, a name twice
    folder_base = FolderBase(root)
    with make_base(*packed) as base:
        told = sorted(base.files, key=sort_key)
        listed = list(folder_base.list_files("", 1 << 20))
        assert [file.path for file in listed] == told
        for file in listed:
            with folder_base.open_file(file.path) as reader:
                other = base.files[file.path]
                assert (reader.read(), file.size, file.mtime) == (base.read_file(file.path), other.size, other.mtime)


BODIES = {}
for name, tar in (("derived", make_tar(NEW)), ("carried", odd_layer(NEW))):
    with make_base(make_tar(OLD)) as whole_base:
        BODIES[name] = (tar, *cut(tar, whole_base))


@given(name=st.sampled_from(sorted(BODIES)), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=400, deadline=None)
def test_one_flipped_bit_never_makes_another_layer(name: str, place: float, bit: int) -> None:
    tar, body, diff_id, _ = BODIES[name]
    broken = bytearray(body)
    broken[int(place * len(body))] ^= 1 << bit
    with make_base(make_tar(OLD)) as base:
        try:
            assert apply(bytes(broken), base, diff_id) == tar
        except (FormatError, TrustError):
            return


@given(name=st.sampled_from(sorted(BODIES)), place=st.floats(0, 1, exclude_max=True), longer=st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_body_of_another_length_is_refused(name: str, place: float, longer: bool) -> None:
    _, body, diff_id, _ = BODIES[name]
    at = int(place * len(body))
    broken = body + body[at : at + 50] if longer else body[:at]
    with make_base(make_tar(OLD)) as base, pytest.raises((FormatError, TrustError)):
        apply(broken, base, diff_id)


def test_the_bodies_above_have_all_there_is() -> None:
    for name, (_, body, _, form) in BODIES.items():
        assert form is Form.DELTA
        parsed = parse_body(lambda offset, size, body=body: body[offset : offset + size], len(body), Limits())
        assert [part for part in Part if parsed.parts[part] is None] == ([Part.SKELETON] if name == "derived" else [])
        assert parsed.groups
