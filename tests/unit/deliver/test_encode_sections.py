"""Sections of every size come back, each as the smallest of its forms."""

from __future__ import annotations

import lzma

import pytest

from tests.unit.deltas import noise, words
from wherry.deliver.encode_sections import pack_full, pack_group, pack_section, weigh
from wherry.formats.delta import Codec
from wherry.formats.delta_streams import SectionReader
from wherry.store.spooled import SpooledFile

TEXT = words(1, 3000)
LARGE = TEXT + noise(2, 1_500_000) + TEXT


def unpack(packed: object, prefix: bytes = b"") -> bytes:
    section, data = packed.section, packed.data  # type: ignore[attr-defined]
    with data:
        reader = SectionReader(data.read, section, "test", prefix)
        parts = []
        while reader.left:
            parts.append(reader.read(min(reader.left, 1 << 16)))
        reader.expect_end()
    assert section.stored == data.size
    return b"".join(parts)


@pytest.mark.parametrize("raw", [b"x", b"\0" * 9, TEXT, noise(3, 500), LARGE], ids=["one", "zeros", "text", "noise", "large"])
def test_what_is_packed_comes_back(raw: bytes) -> None:
    packed = pack_section(SpooledFile((raw,)))
    assert packed.section.raw == len(raw)
    assert packed.data.size <= len(raw)
    assert unpack(packed) == raw


def test_a_sample_tells_how_a_large_section_is_packed() -> None:
    raw = b"".join(b"%c\0\0\xff" % (each & 7) for each in noise(6, 300_000))  # numbers of four bytes
    packed = pack_section(SpooledFile((raw,)))
    assert packed.section.codec is Codec.XZ
    assert packed.data.size < len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME))
    assert unpack(packed) == raw


def test_noise_is_stored() -> None:
    packed = pack_section(SpooledFile((noise(4, 3000),)))
    assert packed.section.codec is Codec.STORED
    packed.data.close()


def test_a_prefix_is_used() -> None:
    raw = noise(5, 1_200_000)
    packed = pack_group(SpooledFile((raw,)), raw[:700_000] + b"!" + raw[700_000:])
    assert (packed.section.codec, packed.data.size < 1000) == (Codec.ZSTD, True)
    assert unpack(packed, raw[:700_000] + b"!" + raw[700_000:]) == raw
    assert unpack(pack_group(SpooledFile((TEXT,)), b"")) == TEXT
    assert weigh(raw, raw) < weigh(raw, b"")


def test_a_whole_layer_gives_up_when_it_is_too_large() -> None:
    with SpooledFile((LARGE,)) as raw:
        assert pack_full(raw, 1000) is None
        packed = pack_full(raw, None)
        assert packed is not None
        assert unpack(packed) == LARGE
