"""Pickles read as opcodes: what they import is known, nothing is loaded, and nothing hides."""

from __future__ import annotations

import collections
import datetime
import decimal
import io
import pickle
import pickletools
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import FormatError
from wherry.formats.pickle_stream import MAX_OPCODES, scan_pickle

VALUES = (
    {"a": [1, 2, (3,)], 1: {2, 3}},
    datetime.datetime(2020, 1, 1),
    decimal.Decimal(1),
    collections.OrderedDict(a=1),
    b"x" * 100_000,
    "text" * 5000,
    10**40,
    -5,
    frozenset([1]),
    bytearray(b"123"),
    ValueError("a", None, True, 1.5),
    [[], {}, (), [()] * 300],
)


def names(data: bytes) -> tuple[str, ...]:
    return scan_pickle([data], "x").names


def found_by_loading(data: bytes) -> set[str]:
    """The oracle: what the unpickler itself asks for, of values that are harmless."""
    asked = set()

    class Spy(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            asked.add(f"{module}:{name}")
            return super().find_class(module, name)

    Spy(io.BytesIO(data), fix_imports=False)
    with suppress(ModuleNotFoundError):
        Spy(io.BytesIO(data)).load()
    return asked


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_agrees_with_the_unpickler(value: object, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert set(names(data)) == found_by_loading(data)


def test_names_that_are_put_together_on_the_stack() -> None:
    """By way of the memo, with something in between that is thrown away."""
    data = b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94K\x01000h\x00h\x01\x93\x8c\x02ls\x85R."
    pickletools.dis(data, io.StringIO())
    assert names(data) == ("os:system",)


def test_names_that_are_made_while_it_loads() -> None:
    data = b"\x80\x04c_codecs\nencode\n\x8c\x02os\x85R\x8c\x06system\x93."
    assert names(data) == ("?:?", "_codecs:encode")
    assert names(b"\x80\x02\x82\x01.") == ("?:?",)


def test_old_ways_to_call() -> None:
    assert names(b"(S'ls'\nios\nsystem\n.") == ("os:system",)
    assert names(b"(cos\nsystem\nS'ls'\no.") == ("os:system",)


def test_scikit_learns_stamp() -> None:
    data = pickle.dumps({"coef": [1.0], "_sklearn_version": "1.9.1", "more": "x"})
    assert scan_pickle([data], "x").sklearn == ("1.9.1",)


def test_what_follows_the_end_is_not_looked_at() -> None:
    assert names(pickle.dumps(1) + b"\xff" * 100) == ()


@given(st.integers(1, 40))
def test_however_it_is_cut(size: int) -> None:
    data = pickle.dumps(VALUES[:4] + VALUES[6:])
    assert scan_pickle([data[at : at + size] for at in range(0, len(data), size)], "x").names == names(data)


def test_refuses_what_is_cut_off() -> None:
    data = pickle.dumps(VALUES[:4])
    for length in range(len(data)):
        with pytest.raises(FormatError):
            names(data[:length])


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_noise_gives_a_value_or_a_clean_refusal(noise: bytes) -> None:
    for data in (noise, b"\x80\x04" + noise):
        with suppress(FormatError):
            names(data)


def test_a_bomb_of_opcodes_ends() -> None:
    found = scan_pickle((b"(" * 100_000 for _ in range(MAX_OPCODES)), "x")
    assert not found.complete


def test_long_values_are_skipped() -> None:
    """A length that lies beyond the end is no reason to take memory."""
    with pytest.raises(FormatError):
        names(b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b"x")


def test_joblibs_raw_arrays_are_passed() -> None:
    """As joblib writes them: the description, then padding and the bytes, then further opcodes."""
    wrapper = (
        b"\x80\x04]\x94(\x8c\x13joblib.numpy_pickle\x94\x8c\x11NumpyArrayWrapper\x94\x93\x94)\x81\x94}\x94("
        b"\x8c\x05shape\x94K\x03\x85\x94\x8c\x05dtype\x94\x8c\x05numpy\x94\x8c\x05dtype\x94\x93\x94\x8c\x02%s\x94\x89\x88\x87\x94R\x94"
        b"\x8c\x1bnumpy_array_alignment_bytes\x94K\x10ub"
    )
    raw = b"\x02\xff\xff" + b"\xff" * 24
    data = wrapper % b"f8" + raw + b"\x8c\x02os\x8c\x06system\x93e."
    expected = ("joblib.numpy_pickle:NumpyArrayWrapper", "numpy:dtype", "os:system")
    assert names(data) == expected
    nested = wrapper % b"O8" + b"\x80\x04cos\nsystem\n." + b"e."
    assert names(nested) == expected
    with pytest.raises(FormatError, match="unknown form"):
        names(wrapper % b"??" + raw)


def test_opcodes_that_are_disguised_as_an_array() -> None:
    """joblib would read them as numbers, and `pickle.load` as what they are."""
    data = (
        b"\x80\x04\x8c\x13joblib.numpy_pickle\x8c\x11NumpyArrayWrapper\x93)\x81}(\x8c\x05shapeK\x10\x85\x8c\x05dtype\x8c\x02u1ub"
        b"cos\nsystem\n00000."
    )
    assert "os:system" in names(data)
