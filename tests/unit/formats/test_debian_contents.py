"""Contents indexes: only libraries that the linker finds, and the likeliest package first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wherry.formats.debian_contents import parse_library_packages

INDEX = b"""bin/busybox                                             utils/busybox,shells/busybox-static
lib/x86_64-linux-gnu/libc.so.6                          libs/libc6
usr/lib/libold.so.1                                     oldlibs/libold1
usr/lib/x86_64-linux-gnu/libGL.so.1                     games/game-with-own-gl,libs/libgl1
usr/lib/x86_64-linux-gnu/libGL.so                       libdevel/libgl-dev
usr/lib/x86_64-linux-gnu/libz.so.1                      libs/zlib1g
usr/lib/x86_64-linux-gnu/nvidia/libGL.so.1              non-free/libs/nvidia
usr/lib/python3/dist-packages/libx.so.1                 python/python3-x
usr/lib/gcc/x86_64-linux-gnu/12/libgcc_s.so.1           libs/libgcc-12
usr/lib/x86_64-linux-gnu/libssl.so.3                    libs/libssl3
"""
FOUND = {
    "libGL.so": ("libgl-dev",),
    "libGL.so.1": ("libgl1", "game-with-own-gl"),
    "libc.so.6": ("libc6",),
    "libold.so.1": ("libold1",),
    "libssl.so.3": ("libssl3",),
    "libz.so.1": ("zlib1g",),
}


def test_finds_the_packages_of_libraries() -> None:
    assert parse_library_packages([INDEX]) == FOUND


def test_a_last_line_without_an_end() -> None:
    assert parse_library_packages([INDEX.rstrip()]) == FOUND


@given(st.integers(1, 200))
def test_however_it_is_cut(size: int) -> None:
    assert parse_library_packages([INDEX[at : at + size] for at in range(0, len(INDEX), size)]) == FOUND


@given(st.binary(max_size=300))
def test_noise_is_no_error(noise: bytes) -> None:
    parse_library_packages([noise, noise])


def test_a_line_without_end_is_passed_over() -> None:
    chunks = [b"x" * 100_000] * 5
    assert parse_library_packages([*chunks, b"\n", INDEX]) == FOUND
