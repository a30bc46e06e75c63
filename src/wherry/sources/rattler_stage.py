"""Lays records of conda out with py-rattler; runs in the worker's process only, which may die of a hostile package.

Each record is laid out alone, in a folder of its own, as if it were installed at `prefix`: so what comes out depends on
the record, the prefix and Python's version alone, and never on its neighbours. A record of Python modules finds a Python of
that version said to be installed. Archives were verified and inspected before they come here. What is unpacked on the way
is thrown away: there is no cache that somebody could have altered. No link script runs.

request   {"folder", "prefix", "python": VERSION or null, "records": [{"archive", "file", "subdir", "sha256", "size"}]}
result    {"folders": [NAME, …]} below `folder`, in the order of the records
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from rattler import BuildString, PackageRecord, PrefixPaths, PrefixRecord, RepoDataRecord, Subdir, install
from rattler.package_streaming import PackageArchive

from wherry.errors import FormatError, StoreError

_NOWHERE = "https://conda.invalid/wherry"  # py-rattler wants an address; none is ever asked
_INDEX = "info/index.json"
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how Rust ends its texts
_OF_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS, errno.EIO}
_LINUX = "linux-64"  # where a record of no platform goes; they lie in the same way in every Linux


def stage_records(request: dict[str, Any]) -> dict[str, Any]:
    """Lay out every record; one that cannot be is a `FormatError` that names it."""
    os.umask(0o022)
    folders = asyncio.run(_stage_all(request))
    return {"folders": folders}


async def _stage_all(request: dict[str, Any]) -> list[str]:
    turns = asyncio.Semaphore(os.cpu_count() or 1)
    top = Path(request["folder"])
    prefix, python = request["prefix"], request["python"]

    async def stage(number: int, record: dict[str, Any]) -> str:
        async with turns:
            try:
                await _stage_record(record, top, str(number), prefix, python)
            except OSError as error:
                raise StoreError(f"cannot be laid out: {error}", where=str(top), hint="free some space") from error
            except Exception as error:  # py-rattler's own have no common root but this
                if (told := _OS_ERROR.search(str(error))) is not None and int(told[1]) in _OF_MACHINE:
                    raise StoreError(os.strerror(int(told[1])), where=str(top), hint="free some space") from error
                said = " ".join(str(error).split())[:300]
                raise FormatError(f"py-rattler cannot lay it out: {said}", where=record["file"]) from error
            return str(number)

    return list(await asyncio.gather(*(stage(number, record) for number, record in enumerate(request["records"]))))


async def _stage_record(record: dict[str, Any], top: Path, name: str, prefix: str, python: str | None) -> None:
    folder, packages = top / name, top / f"{name}.packages"
    (folder / "conda-meta").mkdir(parents=True)
    wanted = await _read_record(record, top / f"{name}.json")
    records = [wanted]
    if python is not None and wanted.name.normalized != "python":
        installed = _installed_python(python, record["subdir"])
        PrefixRecord(installed, PrefixPaths(), files=[]).write_to_path(folder / f"conda-meta/python-{python}-0.json", True)
        records.append(installed)
    await install(
        records,
        folder,
        cache_dir=packages,
        platform=Subdir(_LINUX if record["subdir"] == "noarch" else record["subdir"]),
        execute_link_scripts=False,
        show_progress=False,
        alternative_target_prefix=prefix,
    )
    shutil.rmtree(packages)


async def _read_record(record: dict[str, Any], scratch: Path) -> RepoDataRecord:
    """What the archive says of itself, with the size and the digest of the lock."""
    archive = Path(record["archive"])
    index = await (await PackageArchive.from_path(archive)).read_file(_INDEX)
    if index is None:
        raise FormatError(f"no {_INDEX} in it", where=record["file"])
    document = json.loads(index)
    scratch.write_text(json.dumps({**document, "subdir": record["subdir"]}))  # very old ones do not say theirs
    known = PackageRecord.from_index_json(scratch, size=record["size"], sha256=record["sha256"])
    scratch.unlink()
    return RepoDataRecord(known, record["file"], archive.as_uri(), _NOWHERE)


def _installed_python(version: str, subdir: str) -> RepoDataRecord:
    known = PackageRecord(name="python", version=version, build=BuildString("0"), build_number=0, subdir=subdir)
    return RepoDataRecord(known, f"python-{version}-0.conda", f"{_NOWHERE}/python-{version}-0.conda", _NOWHERE)
