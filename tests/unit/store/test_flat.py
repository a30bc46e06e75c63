"""An image's root as one tar: what upper layers hide is gone, links stay links, folders come first."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.deltas import member, odd_tar
from wherry.formats.tar import stream_tar
from wherry.store.flat import flatten_layers


def flatten(*layers: bytes) -> list[tarfile.TarInfo]:
    return flat_file(*layers).getmembers()


def flat_file(*layers: bytes) -> tarfile.TarFile:
    data = b"".join(stream_tar(flatten_layers([lambda raw=raw: iter((raw,)) for raw in layers], "image")))
    return tarfile.open(fileobj=io.BytesIO(data))


LOW = odd_tar(
    [
        member("etc", kind=tarfile.DIRTYPE, mode=0o700),
        member("etc/hosts", b"one", mode=0o4755),
        member("etc/alias", kind=tarfile.LNKTYPE, link="etc/hosts"),
        member("etc/soft", kind=tarfile.SYMTYPE, link="hosts"),
        member("opt/x/y", b"four"),
        member("dev/null", kind=tarfile.CHRTYPE),
    ]
)


def test_one_layer() -> None:
    told = [(info.name, info.type, info.mode, info.linkname) for info in flatten(LOW)]
    assert told == [
        ("etc", tarfile.DIRTYPE, 0o700, ""),
        ("opt", tarfile.DIRTYPE, 0o755, ""),
        ("opt/x", tarfile.DIRTYPE, 0o755, ""),
        ("etc/alias", tarfile.REGTYPE, 0o4755, ""),
        ("etc/hosts", tarfile.LNKTYPE, 0o4755, "etc/alias"),
        ("etc/soft", tarfile.SYMTYPE, 0o644, "hosts"),
        ("opt/x/y", tarfile.REGTYPE, 0o644, ""),
    ]


def test_a_hard_link_outlives_the_name_it_led_to() -> None:
    flat = flat_file(LOW, odd_tar([member("etc/.wh.hosts")]))
    content = flat.extractfile("etc/alias")
    assert content is not None
    assert content.read() == b"one"
    assert "etc/hosts" not in flat.getnames()


def test_a_hard_link_to_a_lower_layer() -> None:
    flat = flat_file(LOW, odd_tar([member("copy", kind=tarfile.LNKTYPE, link="opt/x/y"), member("opt/x/.wh.y")]))
    content = flat.extractfile("copy")
    assert content is not None
    assert content.read() == b"four"
    assert "opt/x/y" not in flat.getnames()


def test_a_folder_that_is_hidden_and_made_again_is_new() -> None:
    flat = flat_file(LOW, odd_tar([member(".wh.etc"), member("etc/new", b"!")]))
    assert flat.getmember("etc").mode == 0o755
    assert [name for name in flat.getnames() if name.startswith("etc")] == ["etc", "etc/new"]


def test_a_file_in_place_of_a_folder() -> None:
    flat = flat_file(LOW, odd_tar([member("etc", b"plain")]))
    assert flat.getmember("etc").isfile()
    assert not [name for name in flat.getnames() if name.startswith("etc/")]


_STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "/x", "/y"]), st.binary(max_size=3)), max_size=5)


@given(st.lists(_STEPS, min_size=1, max_size=4))
def test_files_are_those_of_extracting_layer_by_layer(layers: Sequence[Sequence[tuple[str, str, bytes]]]) -> None:
    """Only plain files below `a`, `b` and `c`, so that a dictionary is oracle enough."""
    expected: dict[str, bytes] = {}
    tars = []
    for layer in layers:
        own: dict[str, bytes] = {}
        for top, rest, data in layer:
            path = f"{top}{rest or '/z'}"
            own[path] = data
        expected |= own
        tars.append(odd_tar([member(path, data) for path, data in own.items()]))
    flat = flat_file(*tars)
    assert {info.name: flat.extractfile(info).read() for info in flat.getmembers() if info.isfile()} == expected  # type: ignore[union-attr]
