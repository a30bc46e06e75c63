"""Python package indexes and flat lists of links: which files of a name are where. Asked for names in a lock only.

Indexes are PEP 503/691 over http, https or as a folder of ``index.html``; flat lists (`--find-links`) are a page of
links or a folder of wheels. An index that lacks a name is passed over, as pip and uv do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from wherry.formats.simple_index import ACCEPT, MAX_PAGE, IndexFile, parse_project_page
from wherry.sources.transport import MissingError, Transport, local_path
from wherry.sources.uv_program import Indexes

_SUFFIXES = (".whl", ".tar.gz", ".zip")


def list_files(indexes: Indexes, transport: Transport, name: str) -> Iterator[IndexFile]:
    """All files of the project `name` (normalised), index by index, then the flat lists."""
    for url in indexes.urls:
        try:
            page = transport.get_page(f"{url.rstrip('/')}/{name}/", accept=ACCEPT, limit=MAX_PAGE)
        except MissingError:
            continue
        yield from parse_project_page(page.data, page.content_type, page.url)
    for url in indexes.find_links:
        yield from (file for file in _list_links(url, transport) if project_of(file.file) == name)


def project_of(file: str) -> str:
    """The normalised project name that the name of a wheel or a source archive begins with."""
    name = file.partition("-")[0] if file.endswith(".whl") else file.rpartition("-")[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def _list_links(url: str, transport: Transport) -> Iterator[IndexFile]:
    if urlsplit(url).scheme == "file" and local_path(url).is_dir():
        yield from _list_folder(local_path(url))
        return
    try:
        page = transport.get_page(url, accept="text/html", limit=MAX_PAGE)
    except MissingError:
        return
    yield from parse_project_page(page.data, page.content_type, page.url)


def _list_folder(folder: Path) -> Iterator[IndexFile]:
    for path in sorted(folder.iterdir()):
        if path.name.endswith(_SUFFIXES) and path.is_file():
            yield IndexFile(file=path.name, url=path.resolve().as_uri(), size=path.stat().st_size)
