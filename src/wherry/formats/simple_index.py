"""Reads a project's page of a Python package index: HTML (PEP 503) or JSON (PEP 691), and a folder's list of links.

A page is a stranger's: it may be damaged or hostile. It can only name files and say what their digest should be; what
is downloaded from it is believed by the digest in the lock. Links that are no wheel or sdist are passed over.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from wherry.errors import FormatError
from wherry.model.digest import Digest

MAX_PAGE = 64 * 1024 * 1024  # bytes; the greatest pages of public indexes have some 10 MiB
MAX_FILES = 200_000
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"

_SUFFIXES = (".whl", ".tar.gz", ".zip")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """A file that an index names. `url` is absolute and has no fragment; the rest is what the page claims.

    `requires_python` is a specifier, empty where there is none; a `yanked` file was taken back by its publisher.
    """

    file: str
    url: str
    sha256: Digest | None = None
    size: int | None = None
    requires_python: str = ""
    yanked: bool = False


def parse_project_page(data: bytes, content_type: str, url: str) -> tuple[IndexFile, ...]:
    """Read a page that was found at `url`. Damage is a `FormatError`."""
    if len(data) > MAX_PAGE:
        raise FormatError(f"an index page is larger than {MAX_PAGE} bytes", where=_shown(url))
    if content_type.partition(";")[0].strip().lower().endswith("json"):
        return _parse_json(data, url)
    return _parse_html(data.decode("utf-8", "replace"), url)


def _parse_json(data: bytes, url: str) -> tuple[IndexFile, ...]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise FormatError("an index page is no JSON", where=_shown(url)) from None
    files = document.get("files") if isinstance(document, dict) else None
    if not isinstance(files, list) or len(files) > MAX_FILES:
        raise FormatError("an index page has no list of files", where=_shown(url))
    found = (_json_file(entry, url) for entry in files if isinstance(entry, dict))
    return tuple(file for file in found if file is not None)


def _json_file(entry: dict[str, Any], base: str) -> IndexFile | None:
    name, link, size = entry.get("filename"), entry.get("url"), entry.get("size")
    if not isinstance(name, str) or not isinstance(link, str) or not _is_file_name(name):
        return None
    hashes = entry.get("hashes")
    sha256 = hashes.get("sha256") if isinstance(hashes, dict) else None
    url = _join(base, link)
    if url is None:
        return None
    known = isinstance(size, int) and not isinstance(size, bool) and size > 0
    python, yanked = entry.get("requires-python"), entry.get("yanked", False)
    return IndexFile(
        file=name,
        url=url,
        sha256=_digest(sha256),
        size=size if known else None,
        requires_python=python if isinstance(python, str) else "",
        yanked=yanked is not False and yanked is not None,
    )


def _parse_html(text: str, url: str) -> tuple[IndexFile, ...]:
    reader = _Links()
    try:
        reader.feed(text)
        reader.close()
    except (AssertionError, ValueError, RecursionError):
        raise FormatError("an index page is no HTML", where=_shown(url)) from None
    base = _join(url, reader.base) or url if reader.base else url
    files: list[IndexFile] = []
    for href, python, yanked in reader.links:
        target = _join(base, href)
        if target is None:
            continue
        name = unquote(urlsplit(target).path.rpartition("/")[2])
        if _is_file_name(name):
            algorithm, _, value = href.partition("#")[2].partition("=")
            digest = _digest(value if algorithm == "sha256" else None)
            files.append(IndexFile(file=name, url=target, sha256=digest, requires_python=python, yanked=yanked))
    if len(files) > MAX_FILES:
        raise FormatError(f"an index page names more than {MAX_FILES} files", where=_shown(url))
    return tuple(files)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[tuple[str, str, bool]] = []  # href, data-requires-python, whether data-yanked is there
        self.base: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = next((value for name, value in attrs if name == "href" and value), None)
        if tag == "a" and href:
            given = dict(attrs)
            self.links.append((href, given.get("data-requires-python") or "", "data-yanked" in given))
        elif tag == "base" and href and self.base is None:
            self.base = href


def _join(base: str, link: str) -> str | None:
    """The absolute URL without its fragment; None for what is no http, https or file URL, or leaves http for files."""
    try:
        parts = urlsplit(urljoin(base, link.strip()))
        local = urlsplit(base).scheme == "file"
    except ValueError:
        return None
    if parts.scheme not in ("http", "https", "file") or (parts.scheme == "file" and not local):
        return None
    return urlunsplit(parts._replace(fragment=""))


def _is_file_name(name: str) -> bool:
    return name.endswith(_SUFFIXES) and "/" not in name and "\\" not in name and name.isprintable() and not name.startswith(".")


def _digest(text: object) -> Digest | None:
    return Digest(text) if isinstance(text, str) and _SHA256.fullmatch(text) else None


def _shown(url: str) -> str:
    """A URL as it may be shown: without user, password and query."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return "a package index"
