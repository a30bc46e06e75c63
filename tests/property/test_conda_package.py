"""Whatever becomes of a conda package's bytes: it is read, or refused with an error of ours."""

from __future__ import annotations

import contextlib
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.conda_channel.packages import write_package
from tools.conda_channel.samples import compass

from wherry.errors import FormatError
from wherry.formats.conda_metadata import parse_index, parse_link, parse_paths
from wherry.formats.conda_package import inspect_conda_package

edits = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("packages")
    return {
        path.name: path.read_bytes()
        for path in (write_package(folder, compass("linux-64"), form) for form in (".conda", ".tar.bz2"))
    }


@settings(max_examples=150, deadline=None)
@given(edits, st.booleans(), st.sampled_from([0, 1]))
def test_edited_bytes_never_crash_the_reader(sound: dict[str, bytes], changes: list[tuple[float, int]], cut: bool, which: int):
    name, whole = sorted(sound.items())[which]
    data = bytearray(whole)
    for at, value in changes:
        data[int(at * len(data))] = value
    if cut:
        del data[int(changes[0][0] * len(data)) :]
    with contextlib.suppress(FormatError):
        inspect_conda_package(io.BytesIO(bytes(data)), name)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["_path", "paths", "sha256", "path_type", "size_in_bytes", "noarch", "type", "entry_points", "name", "depends"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(json_values | st.text(max_size=60).map(str.encode), st.binary(max_size=60))
def test_documents_are_read_or_refused(value: object, lines: bytes):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    for read in (
        lambda: parse_index(data, "x"),
        lambda: parse_link(data, "x"),
        lambda: parse_paths({"info/paths.json": data}, "x"),
        lambda: parse_paths({"info/files": lines, "info/has_prefix": data, "info/no_link": lines}, "x"),
    ):
        with contextlib.suppress(FormatError):
            read()
