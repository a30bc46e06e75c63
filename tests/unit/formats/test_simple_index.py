"""Pages of package indexes, as they are and as strangers may make them."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import FormatError
from wherry.formats.simple_index import parse_project_page
from wherry.model.digest import Digest

A = "a" * 64
URL = "https://index.example/simple/hull/"
JSON = "application/vnd.pypi.simple.v1+json"


def test_html() -> None:
    page = f"""<!DOCTYPE html><html><head><title>x</title></head><body>
    <a href="../../f/hull-1.0%2Bcpu-py3-none-any.whl#sha256={A}" data-requires-python="&gt;=3.8">one</a>
    <a href="https://files.example/hull-1.0.tar.gz#md5=0">two</a>
    <a href="/readme.html">no file</a><a>nothing</a><a href="">empty</a></body></html>"""
    one, two = parse_project_page(page.encode(), "text/html; charset=utf-8", URL)
    assert (one.file, one.url) == ("hull-1.0+cpu-py3-none-any.whl", "https://index.example/f/hull-1.0%2Bcpu-py3-none-any.whl")
    assert one.sha256 == Digest(A)
    assert (two.file, two.url, two.sha256) == ("hull-1.0.tar.gz", "https://files.example/hull-1.0.tar.gz", None)


def test_a_base_element_counts() -> None:
    page = b'<base href="https://cdn.example/x/"><a href="hull-1-py3-none-any.whl">x</a>'
    assert parse_project_page(page, "text/html", URL)[0].url == "https://cdn.example/x/hull-1-py3-none-any.whl"


def test_json() -> None:
    files = [
        {"filename": "hull-1-py3-none-any.whl", "url": "../f/hull-1-py3-none-any.whl", "hashes": {"sha256": A}, "size": 12},
        {"filename": "../../etc/passwd.whl", "url": "x", "hashes": {}},
        {"filename": "hull-2-py3-none-any.whl", "url": "y.whl", "hashes": {"sha256": "short"}, "size": True},
        "no file",
        {"filename": 7, "url": "x"},
        {"filename": "hull-3-py3-none-any.whl", "url": "javascript:x"},
    ]
    one, two = parse_project_page(json.dumps({"files": files}).encode(), JSON, URL)
    assert (one.url, one.sha256, one.size) == ("https://index.example/simple/f/hull-1-py3-none-any.whl", Digest(A), 12)
    assert (two.file, two.sha256, two.size) == ("hull-2-py3-none-any.whl", None, None)


def test_what_an_index_says_of_pythons_and_of_files_taken_back() -> None:
    page = b'{"files": [{"filename": "a-1.tar.gz", "url": "a-1.tar.gz", "requires-python": ">=3.9", "yanked": "broken"}, '
    page += b'{"filename": "a-2.zip", "url": "a-2.zip", "yanked": false}]}'
    html = b'<a href="a-1.tar.gz" data-requires-python="&gt;=3.9" data-yanked="">a</a><a href="a-2.zip">b</a>'
    for data, kind in ((page, "application/vnd.pypi.simple.v1+json"), (html, "text/html")):
        found = parse_project_page(data, kind, "https://index.example/simple/a/")
        assert [(file.file, file.requires_python, file.yanked) for file in found] == [
            ("a-1.tar.gz", ">=3.9", True),
            ("a-2.zip", "", False),
        ]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"files": {}}', b"\xff\xfe", b"[" * 100_000])
def test_json_that_is_none(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_project_page(data, JSON, URL)


def test_a_page_of_the_network_cannot_point_into_this_machine() -> None:
    page = b'<a href="file:///etc/x-1-py3-none-any.whl">x</a>'
    assert parse_project_page(page, "text/html", URL) == ()
    assert len(parse_project_page(page, "text/html", "file:///srv/simple/x/")) == 1


def test_no_error_shows_a_password() -> None:
    with pytest.raises(FormatError) as caught:
        parse_project_page(b"", JSON, "https://ada:s3cret@index.example/simple/x/?token=s3cret")
    assert "s3cret" not in str(caught.value)


@settings(deadline=None)
@given(
    st.binary(max_size=400) | st.text(alphabet='<a href="/>!-#.whl:[]&;x', max_size=200).map(str.encode),
    st.sampled_from([JSON, "text/html"]),
)
def test_any_bytes_are_a_page_or_a_format_error(data: bytes, kind: str) -> None:
    with contextlib.suppress(FormatError):
        parse_project_page(data, kind, URL)
