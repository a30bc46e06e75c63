"""Empty wheels that stand in for source archives, so that uv can choose a version without running anybody's code.

A file that its publisher took back, or that is not for the target's Python, gets none; nor does one of which no index tells
the sha256.
"""

from __future__ import annotations

import hashlib
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidSdistFilename, parse_sdist_filename
from packaging.version import Version

from wherry.formats.simple_index import IndexFile
from wherry.lock.target import WheelTarget
from wherry.model.digest import Digest
from wherry.sources.package_sources import PackageSources
from wherry.sources.transport import local_path

_MAX_STANDINS = 300  # source archives of one package, the newest


def list_source_archives(name: str, sources: PackageSources, target: WheelTarget) -> tuple[IndexFile, ...]:
    """The source archives of a package that this Python may have, the newest first."""
    found: dict[Version, IndexFile] = {}
    for file in sources.list_files(name):
        try:
            project, version = parse_sdist_filename(file.file)
        except InvalidSdistFilename:
            continue
        if project == name and not file.yanked and _takes(file.requires_python, target.python):
            told = _with_digest(file)
            if told.sha256 is not None:
                found.setdefault(version, told)
    return tuple(found[version] for version in sorted(found, reverse=True)[:_MAX_STANDINS])


def _with_digest(file: IndexFile) -> IndexFile:
    """A folder tells no digests: that of a file in it is what it is now."""
    if file.sha256 is not None or not file.url.startswith("file:"):
        return file
    with suppress(OSError), local_path(file.url).open("rb") as opened:
        return replace(file, sha256=Digest(hashlib.file_digest(opened, "sha256").hexdigest()))
    return file


def _takes(specifier: str, python: str) -> bool:
    try:
        return SpecifierSet(specifier).contains(python, prereleases=True)
    except InvalidSpecifier:
        return True


def name_standin(file: IndexFile) -> str:
    """The file's name of an archive's stand-in."""
    name, version = parse_sdist_filename(file.file)
    return f"{name.replace('-', '_')}-{version}-py3-none-any.whl"


def write_standin(file: IndexFile, folder: Path) -> None:
    """A wheel of a source archive's name and version that holds nothing and requires nothing."""
    name, version = parse_sdist_filename(file.file)
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    with zipfile.ZipFile(folder / name_standin(file), "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
