"""ld.so.cache, as ldconfig of this machine writes it and as nobody should."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.check.test_linker import render_cache
from wherry.errors import FormatError
from wherry.formats.linker_cache import parse_linker_cache

SMALL = render_cache({"liba.so.1": "/usr/lib/liba.so.1", "libb.so": "/opt/libb.so"})


def test_agrees_with_ldconfig() -> None:
    ldconfig, cache = shutil.which("ldconfig") or "/sbin/ldconfig", Path("/etc/ld.so.cache")
    if not Path(ldconfig).exists() or not cache.exists():
        pytest.skip("no ldconfig, or no cache, on this machine")
    listed = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, check=True).stdout.splitlines()
    known = {(line.split()[0], line.split("=> ")[1]) for line in listed if "=> " in line and "hwcap" not in line}
    assert set(parse_linker_cache(cache.read_bytes(), "cache")) == known


def test_behind_the_older_form() -> None:
    assert parse_linker_cache(b"ld.so-1.7.0\0" + bytes(20) + SMALL, "cache") == parse_linker_cache(SMALL, "cache")


def test_refuses_what_is_cut_off() -> None:
    for length in range(len(SMALL)):
        with pytest.raises(FormatError):
            parse_linker_cache(SMALL[:length], "cache")


@given(st.integers(0, len(SMALL) - 1), st.integers(0, 255))
def test_altered_bytes_give_values_or_a_clean_refusal(at: int, value: int) -> None:
    with suppress(FormatError):
        parse_linker_cache(SMALL[:at] + bytes([value]) + SMALL[at + 1 :], "cache")
