"""Secrets by reference: what is read, and that no error shows a value."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.errors import UsageError
from wherry.run.secrets import read_secrets


def test_references(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"two\nlines=\xc3\xa9\r\n")
    given = ["A=env:THERE", "B=file:key", f"C=file:{tmp_path}/key", "A=env:EMPTY"]
    read = dict(read_secrets(given, tmp_path, {"THERE": "x", "EMPTY": ""}))
    assert read == {"A": "", "B": "two\nlines=é", "C": "two\nlines=é"}


@pytest.mark.parametrize(
    "text", ["A=s3cret", "s3cret", "A", "A=", "A=env:", "=env:THERE", "A B=env:THERE", "A=env:ABSENT", "A=file:absent", "A=file:."]
)
def test_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_secrets([text], tmp_path, {"THERE": "x"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("data", [b"s3cret\xff", b"s3\0cret", b"s3cret" * 20_000])
def test_what_no_variable_can_hold(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "key").write_bytes(data)
    with pytest.raises(UsageError) as caught:
        read_secrets(["A=file:key"], tmp_path, {})
    assert "s3cret" not in str(caught.value)
