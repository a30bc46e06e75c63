"""Managed Pythons without the network: archives as python-build-standalone makes them, and the list that uv reads.

`write_archive` makes one of any files; `pretended` are the least that uv takes for a Python, and wherry can ask for its
version. `archive_of_records` makes a real one, of the relocatable Python that the test channels have.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from wherry.formats.conda_archive import read_conda_archive
from wherry.formats.tar import EntryKind

ARCHES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
Link = tuple[str]
_SYSCONFIG = b"# system configuration generated and used by the sysconfig module\nbuild_time_vars = {'prefix': '/install'}\n"


def pretended(version: str, machine: str = "x86_64") -> dict[str, bytes | Link]:
    """The files of a Python that only tells its version."""
    minor = version.rpartition(".")[0]
    answer = f"{version} cpython-{minor.replace('.', '')}"
    return {
        f"bin/python{minor}": f"#!/bin/sh\necho {answer}\n".encode(),
        "bin/python3": (f"python{minor}",),
        f"lib/python{minor}/os.py": b"name = 'posix'\n",
        f"lib/python{minor}/_sysconfigdata__linux_{machine}-linux-gnu.py": _SYSCONFIG,
    }


def write_archive(path: Path, files: Mapping[str, bytes | Link], *, top: str = "python") -> Path:
    """A tuple of one text is a symbolic link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.mode = 0o755 if name.startswith("bin/") or ".so" in name else 0o644
            if isinstance(content, tuple):
                member.type, member.linkname = tarfile.SYMTYPE, content[0]
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def archive_of_records(path: Path, records: Sequence[Path]) -> Path:
    """One archive of the records of a Python and its libraries."""
    files: dict[str, bytes | Link] = {}
    for record in records:
        with record.open("rb") as stream:
            for info, member in read_conda_archive(stream, record.name):
                if not info and member.kind in (EntryKind.FILE, EntryKind.SYMLINK):
                    link = member.kind is EntryKind.SYMLINK
                    files[member.path] = (member.link,) if link else b"".join(member.content)
    return write_archive(path, files)


def list_downloads(folder: Path, archives: Mapping[tuple[str, str], Path]) -> str:
    """Write the list that `UV_PYTHON_DOWNLOADS_JSON_URL` names; gives its address. Archives by version and platform."""
    listed = {}
    for (version, platform), path in archives.items():
        arch = ARCHES[platform]
        major, minor, patch = map(int, version.split("."))
        listed[f"cpython-{version}-linux-{arch}-gnu"] = {
            "name": "cpython",
            "arch": {"family": arch, "variant": None},
            "os": "linux",
            "libc": "gnu",
            "major": major,
            "minor": minor,
            "patch": patch,
            "prerelease": "",
            "url": path.parent.as_uri() + "/" + quote(path.name),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "variant": None,
            "build": "20240101",
        }
    (folder / "downloads.json").write_text(json.dumps(listed))
    return (folder / "downloads.json").as_uri()
