"""A parcel is read within its limits or not at all, and gives back the documents to the byte."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from tests.simulators.parcels import base_of, make_documents, make_layers
from wherry.errors import DeviceError, FormatError
from wherry.formats.delta import ReadAt
from wherry.formats.delta_bytes import render_number
from wherry.formats.parcel import (
    MAGIC,
    BaseDocuments,
    Documents,
    ParcelLayer,
    ParcelLimits,
    find_lacking,
    locate_bodies,
    parse_parcel,
    read_documents,
    stream_parcel,
)
from wherry.formats.parcel_documents import Prefix
from wherry.model.digest import DiffId

BASE = make_documents(make_layers())
TARGET = make_documents(make_layers(changed=[11]), release=2, day=3)
BODY = random.Random(5).randbytes(200)


def make_parcel(documents: Documents, base: BaseDocuments | None, bodies: Sequence[bytes] = (BODY,)) -> bytes:
    lacking = find_lacking(documents.config, base.config if base else None)
    return b"".join(stream_parcel(documents, base, make_bodies(lacking, bodies)))


def make_bodies(lacking: Iterable[DiffId], bodies: Sequence[bytes]) -> list[ParcelLayer]:
    return [
        ParcelLayer(diff_id=diff_id, size=len(body), chunks=lambda body=body: [body])  # type: ignore[misc]
        for diff_id, body in zip(lacking, bodies, strict=True)
    ]


def reader(data: bytes) -> ReadAt:
    return lambda offset, size: data[offset : offset + size]


def open_parcel(data: bytes, base: BaseDocuments | None, limits: ParcelLimits | None = None) -> Documents:
    head = parse_parcel(reader(data), len(data), limits)
    documents = read_documents(reader(data), head, base, limits)
    locate_bodies(head, documents.config, base.config if base else None)
    return documents


@pytest.mark.parametrize("base", [base_of(BASE), replace(base_of(BASE), targets=None)])
def test_documents_and_bodies_come_back(base: BaseDocuments) -> None:
    data = make_parcel(TARGET, base)
    head = parse_parcel(reader(data), len(data))
    documents = read_documents(reader(data), head, base)
    assert documents == TARGET
    (place,) = locate_bodies(head, documents.config, base.config)
    assert place.diff_id == find_lacking(TARGET.config, BASE.config)[0]
    assert data[place.offset : place.offset + place.size] == BODY


def test_a_full_parcel_has_every_layer_once() -> None:
    layers = make_layers(3)
    documents = make_documents((*layers, layers[0]), roots=(b'{"a":1}', b'{"b":2}'))
    data = make_parcel(documents, None, [b"one", b"two", b"three"])
    head = parse_parcel(reader(data), len(data))
    assert head.is_full
    assert read_documents(reader(data), head, None) == documents
    assert read_documents(reader(data), head, base_of(BASE)) == documents
    places = locate_bodies(head, documents.config, BASE.config)
    assert [place.diff_id for place in places] == [diff_id for diff_id, _ in layers]


def test_a_retrained_model_costs_little_more_than_signatures_and_digests() -> None:
    """3 signatures of 64 bytes and 2 new digests; each further platform tells its 2 new digests as well."""
    base = base_of(BASE)
    assert len(make_parcel(TARGET, base)) - len(BODY) <= 390
    assert len(make_parcel(make_documents(make_layers(), release=1, day=2), base, ())) <= 280
    two = make_documents(make_layers(), others=("linux/arm64",))
    later = make_documents(make_layers(changed=[11]), release=2, day=3, others=("linux/arm64",))
    assert len(make_parcel(later, base_of(two))) - len(BODY) <= 420


def test_the_base_may_have_been_signed_again() -> None:
    data = make_parcel(TARGET, base_of(BASE))
    renewed = make_documents(make_layers(), release=1, day=9)
    assert renewed.metadata.targets != BASE.metadata.targets
    assert open_parcel(data, base_of(renewed)) == TARGET


@pytest.mark.parametrize(
    "other",
    [
        None,
        replace(base_of(BASE), targets=None),
        base_of(TARGET),
        replace(base_of(BASE), targets=TARGET.metadata.targets),
    ],
)
def test_a_parcel_for_another_base_says_so(other: BaseDocuments | None) -> None:
    data = make_parcel(TARGET, base_of(BASE))
    with pytest.raises(DeviceError, match="another image"):
        open_parcel(data, other)


def test_every_flipped_bit_and_every_truncation_is_refused() -> None:
    base = base_of(BASE)
    data = make_parcel(TARGET, base)
    noise = random.Random(3)
    for _ in range(1000):
        damaged = bytearray(data)
        at = noise.randrange(len(data) * 8)
        damaged[at // 8] ^= 1 << at % 8
        with pytest.raises(FormatError):
            open_parcel(bytes(damaged), base)
    for size in noise.sample(range(len(data)), 200):
        with pytest.raises(FormatError):
            open_parcel(data[:size], base)
    with pytest.raises(FormatError):
        open_parcel(data + b"\0", base)


def test_damage_behind_a_right_checksum_is_no_other_error() -> None:
    base = base_of(BASE)
    data = make_parcel(TARGET, base)
    noise = random.Random(4)
    for _ in range(500):
        damaged = bytearray(data[:-4])
        for _ in range(noise.randrange(1, 4)):
            damaged[noise.randrange(4, len(damaged))] = noise.randrange(256)
        try:
            open_parcel(seal(bytes(damaged)), base)
        except (FormatError, DeviceError):
            continue


def seal(data: bytes) -> bytes:
    import zlib

    return data + zlib.crc32(data).to_bytes(4, "little")


def numbers(*values: int) -> bytes:
    return b"".join(map(render_number, values))


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        (numbers(1 << 40, 9, 0), "the number"),
        (numbers(100, 1 << 40, 0), "the number"),
        (numbers(100, 0, 1 << 30), "the number"),
        (numbers(100, 0, 1, 1 << 41), "the number"),
        (numbers(100, 0, 128), "ends before its time"),
        (numbers(100, 0, 1, 5), "its size"),
        (b"\xff" * 9, "without end"),
    ],
)
def test_sizes_are_refused_before_anything_is_unpacked(tail: bytes, message: str) -> None:
    data = seal(MAGIC + bytes((Prefix.NONE,)) + tail)
    with pytest.raises(FormatError, match=message):
        parse_parcel(reader(data), len(data))


def test_a_head_that_promises_little_is_held_to_it() -> None:
    from wherry.formats.parcel_documents import pack_documents

    packed = pack_documents(TARGET, None, 1 << 20)
    for folded in (packed.folded - 1, packed.folded + 1, 0):
        data = seal(MAGIC + bytes((Prefix.NONE,)) + numbers(folded, len(packed.frame), 0) + packed.frame)
        head = parse_parcel(reader(data), len(data))
        with pytest.raises(FormatError, match="longer or shorter"):
            read_documents(reader(data), head, None)


def test_a_fold_that_swells_is_stopped() -> None:
    from wherry.formats.codec import load_zstd
    from wherry.formats.parcel_documents import _pack, unfold_documents

    bomb = b"\x05" * (1 << 20)
    with pytest.raises(FormatError, match="more than"):
        list(unfold_documents(bomb, 2 << 20, "parcel"))
    frame = _pack(bomb, b"12345678")
    assert len(frame) < 100
    assert load_zstd()
    data = seal(MAGIC + bytes((Prefix.NONE,)) + numbers(1 << 30, len(frame), 0) + frame)
    with pytest.raises(FormatError, match="the number"):
        parse_parcel(reader(data), len(data))


@pytest.mark.parametrize("folded", [b"{}", b"\x01abc\0", b"\x03", b"\x03\x05ab\0", b"\x07\0", b"\x04\0\0\0", b"{}\0{}"])
def test_what_is_no_folding_is_refused(folded: bytes) -> None:
    from wherry.formats.parcel_documents import unfold_documents

    with pytest.raises(FormatError):
        list(unfold_documents(folded, 1 << 20, "parcel"))


def test_a_channel_makes_nothing_that_devices_refuse() -> None:
    with pytest.raises(FormatError, match="that devices take"):
        make_parcel(replace(TARGET, manifest=b'{"a":"' + b"x" * (2 << 20) + b'"}'), base_of(BASE))
    with pytest.raises(FormatError, match="control character"):
        make_parcel(replace(TARGET, manifest=b"{\x01}"), base_of(BASE))
    with pytest.raises(FormatError, match="not those that the base lacks"):
        list(stream_parcel(TARGET, base_of(BASE), make_bodies(make_layers(2)[0][:1], [BODY])))
    lacking = find_lacking(TARGET.config, BASE.config)
    short = ParcelLayer(diff_id=lacking[0], size=9, chunks=lambda: [b"short"])
    with pytest.raises(FormatError, match="5 bytes"):
        list(stream_parcel(TARGET, base_of(BASE), [short]))


def test_bodies_have_to_be_as_many_as_layers_are_lacking() -> None:
    data = make_parcel(TARGET, base_of(BASE))
    head = parse_parcel(reader(data), len(data))
    with pytest.raises(FormatError, match="layers are lacking"):
        locate_bodies(head, TARGET.config, TARGET.config)


def test_a_parcel_larger_than_a_device_takes_is_not_read() -> None:
    def refuse(offset: int, size: int) -> bytes:
        raise AssertionError

    with pytest.raises(FormatError, match="at most"):
        parse_parcel(refuse, 1001, ParcelLimits(size=1000))
