"""Addresses of objects: which there are, and that none takes a credential along."""

from __future__ import annotations

import pytest

from wherry.formats.object_address import AddressError, is_plain_path, parse_address


@pytest.mark.parametrize(
    ("text", "root", "key", "folder"),
    [
        ("az://data/a/b.parquet", "az://data", "a/b.parquet", False),
        ("s3://bucket/a/", "s3://bucket", "a/", True),
        ("gs://bucket", "gs://bucket", "", True),
        ("file:///srv/a%20b", "file://", "srv/a b", False),
        ("https://example.org:8443/x/y", "https://example.org:8443", "x/y", False),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:9", "x", False),
    ],
)
def test_what_is_understood(text: str, root: str, key: str, folder: bool) -> None:
    found = parse_address(text)
    assert (found.root, found.key, found.is_folder) == (root, key, folder)


@pytest.mark.parametrize(
    "text",
    [
        "https://acct.blob.core.windows.net/data/x?sv=2024&sig=hunter2%3D",
        "az://data/x?sig=hunter2",
        "az://me:hunter2@data/x",
        "https://hunter2@example.org/x",
        "s3://bucket/x?X-Amz-Signature=hunter2",
        "https://example.org/x#hunter2",
        "az://data/x?",
    ],
)
def test_a_credential_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(AddressError, match="does not belong") as caught:
        parse_address(text)
    assert "hunter2" not in str(caught.value) + caught.value.hint
    assert "identity" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "data/x", "/data/x", "ftp://h/x", "http://example.org/x", "file://host/x", "az:///x", "http://[/"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(AddressError):
        parse_address(text)


def test_paths_that_lead_out() -> None:
    assert is_plain_path("a/b c/d")
    assert not any(map(is_plain_path, ("", "/a", "a//b", "../a", "a/..", "a/.", "a\0", "a/")))
