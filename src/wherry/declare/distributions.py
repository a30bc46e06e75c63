"""The distributions that lie in a site-packages folder, as their own records tell.

Follows the recording specification (``NAME-VERSION.dist-info``: METADATA, INSTALLER, direct_url.json of PEP 610) and the
older ``.egg-info``. Nothing is imported or run; a damaged record is told as such, by the folder's name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

_READ_LIMIT = 4 << 20
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """`direct_url` is the decoded direct_url.json, empty where there is none. `legacy`: laid out without a wheel.

    `folder` is where its record lies: a ``.dist-info`` or ``.egg-info`` folder or file.
    """

    name: str
    version: str
    installer: str = ""
    direct_url: Mapping[str, Any] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    legacy: bool = False
    damaged: str = ""
    folder: Path | None = None

    @property
    def place(self) -> str:
        """The name of the folder of its record."""
        return self.folder.name if self.folder else ""

    @property
    def key(self) -> str:
        return canonicalize_name(self.name)


def read_distributions(folder: Path) -> Iterator[Distribution]:
    """All of a site-packages folder, sorted by file name."""
    for path in sorted(folder.iterdir()):
        if path.name.endswith(".dist-info") and path.is_dir():
            yield replace(_read_dist_info(path), folder=path)
        elif path.name.endswith(".egg-info"):
            yield replace(_read_metadata(path.name, path / "PKG-INFO" if path.is_dir() else path, legacy=True), folder=path)
        elif path.name.endswith(".egg-link"):
            target = _read_text(path).partition("\n")[0].strip()
            url = {"url": f"file://{target}", "dir_info": {"editable": True}}
            yield Distribution(name=path.name.removesuffix(".egg-link"), version="", direct_url=url, legacy=True)


def _read_dist_info(path: Path) -> Distribution:
    found = _read_metadata(path.name, path / "METADATA", legacy=False)
    url: Any = {}
    if (path / "direct_url.json").is_file():
        try:
            url = json.loads(_read_text(path / "direct_url.json"))
        except (ValueError, RecursionError):
            url = None
        if not isinstance(url, dict) or not isinstance(url.get("url"), str):
            return Distribution(name=found.name, version=found.version, damaged="direct_url.json is damaged")
    installer = _read_text(path / "INSTALLER").strip()
    return Distribution(
        name=found.name,
        version=found.version,
        installer=installer,
        direct_url=url,
        requires=found.requires,
        damaged=found.damaged,
    )


def _read_metadata(folder: str, file: Path, *, legacy: bool) -> Distribution:
    """The headers of METADATA or PKG-INFO up to the first blank line."""
    headers: dict[str, str] = {}
    requires = []
    for line in _read_text(file).splitlines():
        if not line.strip():
            break
        key, _, value = line.partition(":")
        headers.setdefault(key.strip().lower(), value.strip())
        if key.strip().lower() == "requires-dist" and (required := _NAME.match(value.strip())):
            requires.append(canonicalize_name(required.group(0)))
    name, version = headers.get("name", ""), headers.get("version", "")
    if not _NAME.fullmatch(name) or not re.fullmatch(r"[0-9A-Za-z.!+_-]+", version):
        guess = folder.rpartition(".")[0].split("-")[0]
        return Distribution(
            name=guess if _NAME.fullmatch(guess) else "unknown", version="", damaged=f"{file.name} is missing or damaged"
        )
    return Distribution(name=name, version=version, requires=tuple(requires), legacy=legacy)


def _read_text(file: Path) -> str:
    if not file.is_file():  # a pipe would never end
        return ""
    try:
        with file.open("rb") as opened:
            return opened.read(_READ_LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""
