"""A channel as a folder: archives below their subdirs, and `repodata.json` (and `.zst`) over them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backports import zstd
from tools.conda_channel.packages import CondaPackage, Form, write_package


class Channel:
    """`folder` becomes the channel; what lies there already belongs to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[tuple[Path, int, int], dict[str, Any]] = {}

    def add(self, *packages: CondaPackage, form: Form = ".conda", level: int = 3) -> list[Path]:
        """Write packages into the channel; the index is another step."""
        return [write_package(self.folder / package.subdir, package, form, level=level) for package in packages]

    def add_archive(self, archive: Path, subdir: str | None = None) -> Path:
        """Take an archive that is there already, by hard link where that can be."""
        target = self.folder / (subdir or read_index(archive)["subdir"]) / archive.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(archive, target)
        except OSError:
            shutil.copyfile(archive, target)
        return target

    def write_index(self, claims: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Write `repodata.json` of every subdir. `claims` replace keys of a file's entry, by the file's name: for lies."""
        (self.folder / "noarch").mkdir(parents=True, exist_ok=True)
        for subdir in sorted(path for path in self.folder.iterdir() if path.is_dir()):
            tables: dict[str, dict[str, Any]] = defaultdict(dict)
            for archive in sorted([*subdir.glob("*.conda"), *subdir.glob("*.tar.bz2")]):
                table = "packages.conda" if archive.suffix == ".conda" else "packages"
                tables[table][archive.name] = {**self._entry(archive), **(claims or {}).get(archive.name, {})}
            document = {
                "info": {"subdir": subdir.name},
                "packages": tables["packages"],
                "packages.conda": tables["packages.conda"],
                "removed": [],
                "repodata_version": 1,
            }
            data = json.dumps(document, indent=1, sort_keys=True).encode()
            (subdir / "repodata.json").write_bytes(data)
            (subdir / "repodata.json.zst").write_bytes(zstd.compress(data, 3))

    def _entry(self, archive: Path) -> dict[str, Any]:
        state = archive.stat()
        key = (archive, state.st_size, state.st_mtime_ns)
        if key not in self._known:
            with archive.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                file.seek(0)
                md5 = hashlib.file_digest(file, "md5").hexdigest()
            self._known[key] = {**read_index(archive), "md5": md5, "sha256": sha256, "size": state.st_size}
        return self._known[key]


def read_index(archive: Path) -> dict[str, Any]:
    """An archive's `index.json`, read in good faith: the archive is one of ours."""
    if archive.suffix == ".conda":
        with zipfile.ZipFile(archive) as packed:
            name = next(name for name in packed.namelist() if name.startswith("info-"))
            with packed.open(name) as member, zstd.ZstdFile(member) as tar, tarfile.open(fileobj=tar, mode="r|") as members:
                return _find_index(members)
    with tarfile.open(archive, "r|bz2") as members:
        return _find_index(members)


def _find_index(members: tarfile.TarFile) -> dict[str, Any]:
    for member in members:
        if member.name == "info/index.json":
            source = members.extractfile(member)
            assert source is not None
            return dict(json.loads(source.read()))
    raise ValueError("no index.json")
