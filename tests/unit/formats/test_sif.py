"""The head of a SIF file, read by the offsets that the format gives."""

from __future__ import annotations

import pytest

from wherry.errors import FormatError
from wherry.formats.sif import DATA_AT, render_sif_head
from wherry.model.digest import Digest
from wherry.model.platform import Platform

IDENTITY = Digest("0123456789abcdef" * 4)


def number(data: bytes, at: int, width: int = 8) -> int:
    return int.from_bytes(data[at : at + width], "little")


def test_header_and_descriptor_lie_where_readers_look() -> None:
    head = render_sif_head(Platform("linux", "arm64"), IDENTITY, 8192)
    assert len(head) == DATA_AT == 32768
    assert head[:32] == b"#!/usr/bin/env run-singularity\n\0"
    assert (head[32:42], head[42:45], head[45:48]) == (b"SIF_MAGIC\0", b"01\0", b"04\0")
    assert head[48:64].hex() == IDENTITY.hex[:32]
    free, total, descriptors_at, descriptors_size, data_at, data_size = (number(head, 80 + 8 * at) for at in range(6))
    assert (free, total, descriptors_at, descriptors_size) == (47, 48, 4096, 48 * 585)
    assert data_at + data_size == DATA_AT + 8192
    own = head[4096:]
    assert (number(own, 0, 4), own[4], number(own, 5, 4), number(own, 9, 4), number(own, 13, 4)) == (0x4004, 1, 1, 0xF0000001, 0)
    assert (number(own, 17), number(own, 25)) == (DATA_AT, 8192)
    assert own[73:86] == b"root.squashfs"
    assert (number(own, 201, 4), number(own, 205, 4), own[209:212]) == (1, 2, b"04\0")


def test_equal_images_have_equal_heads() -> None:
    platform = Platform("linux", "amd64")
    assert render_sif_head(platform, IDENTITY, 1) == render_sif_head(platform, IDENTITY, 1)
    assert render_sif_head(platform, IDENTITY, 1) != render_sif_head(platform, Digest("f" * 64), 1)


def test_a_platform_that_the_format_does_not_know() -> None:
    with pytest.raises(FormatError, match="riscv64"):
        render_sif_head(Platform("linux", "riscv64"), IDENTITY, 1)
