"""Writes conda packages: ``.conda`` (a zip of two zstd tars) and ``.tar.bz2``, with the metadata that conda-build would write."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from backports import zstd

Form = Literal[".conda", ".tar.bz2"]
PLACEHOLDER = "/opt/where_it_was_built" + "_placehold" * 23  # 253 characters: room for any prefix
_TIME = 1_700_000_000
_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, kw_only=True)
class PackagedFile:
    """A file, or a symlink when it has a `link`. A `placeholder` stands in its data, as text or, `binary`, between NULs."""

    data: bytes = b""
    link: str = ""
    mode: int = 0o644
    placeholder: str = ""
    binary: bool = False
    no_link: bool = False


@dataclass(frozen=True, kw_only=True)
class Member:
    """A member of the tar as it is to be written, however wrong."""

    info: tarfile.TarInfo
    data: bytes = b""


@dataclass(frozen=True, kw_only=True)
class CondaPackage:
    """A package. `scripts` are link scripts by kind, such as ``post-link``; `info` files and `members` replace or add."""

    name: str
    version: str = "1.0"
    build: str = "0"
    number: int = 0
    subdir: str = "noarch"
    noarch: Literal["python", "generic"] | None = None
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    files: Mapping[str, PackagedFile | bytes] = field(default_factory=dict, repr=False)
    entry_points: tuple[str, ...] = ()
    scripts: Mapping[str, str] = field(default_factory=dict, repr=False)
    license: str = "Apache-2.0"
    more: Mapping[str, Any] = field(default_factory=dict, repr=False)  # further keys of index.json
    info: Mapping[str, bytes | None] = field(default_factory=dict, repr=False)  # None: leave out
    members: tuple[Member, ...] = field(default=(), repr=False)

    @property
    def stem(self) -> str:
        return f"{self.name}-{self.version}-{self.build}"

    def all_files(self) -> dict[str, PackagedFile]:
        found = {path: file if isinstance(file, PackagedFile) else PackagedFile(data=file) for path, file in self.files.items()}
        for kind, text in self.scripts.items():
            found[f"bin/.{self.name}-{kind}.sh"] = PackagedFile(data=text.encode(), mode=0o755)
        return dict(sorted(found.items()))


def write_package(folder: Path, package: CondaPackage, form: Form = ".conda", *, level: int = 3) -> Path:
    """Write `NAME-VERSION-BUILD.conda` or `.tar.bz2` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{package.stem}{form}"
    info, data = list(_info_members(package)), [*_data_members(package), *package.members]
    with path.open("wb") as sink:
        if form == ".conda":
            _write_conda(sink, package.stem, info, data, level)
        else:
            with bz2.open(sink, "wb") as packed:
                _write_tar(packed, [*info, *data])
    return path


def _write_conda(sink: IO[bytes], stem: str, info: Iterable[Member], data: Iterable[Member], level: int) -> None:
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("metadata.json"), json.dumps({"conda_pkg_format_version": 2}))
        for part, members in (("pkg", data), ("info", info)):
            with (
                archive.open(zipfile.ZipInfo(f"{part}-{stem}.tar.zst"), "w", force_zip64=False) as member,
                zstd.ZstdFile(member, "w", level=level) as packed,
            ):
                _write_tar(packed, members)


def _write_tar(sink: IO[bytes], members: Iterable[Member]) -> None:
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 16) as archive:
        for member in members:
            archive.addfile(member.info, io.BytesIO(member.data) if member.info.isreg() else None)


def _data_members(package: CondaPackage) -> Iterator[Member]:
    for path, file in package.all_files().items():
        yield _member(path, file)


def _info_members(package: CondaPackage) -> Iterator[Member]:
    files = package.all_files()
    written: dict[str, bytes | None] = {
        "info/index.json": _json(index_of(package)),
        "info/paths.json": _json({"paths": list_paths(package), "paths_version": 1}),
        "info/files": "".join(f"{path}\n" for path in files).encode(),
        "info/about.json": _json({"license": package.license, "summary": f"{package.name}, made for tests"}),
    }
    prefixed = [(path, file) for path, file in files.items() if file.placeholder]
    if prefixed:
        lines = [f"{file.placeholder} {'binary' if file.binary else 'text'} {path}\n" for path, file in prefixed]
        written["info/has_prefix"] = "".join(lines).encode()
    if package.noarch:
        about: dict[str, Any] = {"type": package.noarch}
        if package.entry_points:
            about["entry_points"] = list(package.entry_points)
        written["info/link.json"] = _json({"noarch": about, "package_metadata_version": 1})
    for path, data in {**written, **package.info}.items():
        if data is not None:
            yield _member(path, PackagedFile(data=data))


def index_of(package: CondaPackage) -> dict[str, Any]:
    """The package's `index.json`."""
    index: dict[str, Any] = {
        "build": package.build,
        "build_number": package.number,
        "depends": list(package.depends),
        "license": package.license,
        "name": package.name,
        "subdir": package.subdir,
        "timestamp": _TIME * 1000,
        "version": package.version,
    }
    if package.constrains:
        index["constrains"] = list(package.constrains)
    if package.noarch:
        index["noarch"] = package.noarch
    else:
        platform, _, machine = package.subdir.partition("-")
        index |= {"arch": {"64": "x86_64"}.get(machine, machine), "platform": platform}
    return {**index, **package.more}


def list_paths(package: CondaPackage) -> list[dict[str, Any]]:
    """What stands in the package's `paths.json`."""
    files = package.all_files()
    return [_path_entry(path, files) for path in files]


def _path_entry(path: str, files: Mapping[str, PackagedFile]) -> dict[str, Any]:
    file = files[path]
    entry: dict[str, Any] = {"_path": path, "path_type": "softlink" if file.link else "hardlink"}
    if file.link:
        beside = path.rpartition("/")[0]
        target = files.get(f"{beside}/{file.link}" if beside else file.link)
        entry |= {"sha256": hashlib.sha256(target.data).hexdigest() if target else _EMPTY, "size_in_bytes": 0}
        return entry
    entry |= {"sha256": hashlib.sha256(file.data).hexdigest(), "size_in_bytes": len(file.data)}
    if file.placeholder:
        entry |= {"prefix_placeholder": file.placeholder, "file_mode": "binary" if file.binary else "text"}
    if file.no_link:
        entry["no_link"] = True
    return entry


def _member(path: str, file: PackagedFile) -> Member:
    info = tarfile.TarInfo(path)
    info.mtime = _TIME
    if file.link:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, file.link, 0o777
    else:
        info.size, info.mode = len(file.data), file.mode
    return Member(info=info, data=file.data)


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode()
