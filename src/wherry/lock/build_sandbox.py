"""Calls one hook of a build backend in a sandbox (docs/spec/builds.md, "The sandbox").

Somebody else's code runs here, and nowhere else in wherry: sealed off by bubblewrap, in a fresh copy of its source, by the image's
own Python. What it leaves behind is a stranger's too: links are not followed, sizes are bounded.
"""

from __future__ import annotations

import json
import os
import re
import stat
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from packaging.utils import canonicalize_name

from wherry.engines.sealed import SealedEnd, SealedFolder, run_sealed
from wherry.engines.unpack import unpack_layer
from wherry.errors import FormatError, LockError
from wherry.formats.source_archive import SourceTree, stream_source
from wherry.formats.tar import FIXED_TIME, TarEntry, add_parents, file_entry, stream_tar, symlink_entry
from wherry.formats.wheel import plan_wheel
from wherry.lock import build_worker
from wherry.lock.conda_names import name_in_conda
from wherry.model.digest import Digest
from wherry.model.layout import VENV, EnvironmentLayout
from wherry.model.lock import BuildKind, LockedWheel

_TIMEOUT = 900.0  # seconds for one hook; setuptools takes one or two
_ROOM = 4 << 30  # bytes that a build may have on the disk, its source included
_MAX_ANSWER = 1 << 20
_SOURCE, _OUT = "/build/source", "/build/out"
_VARIABLES = {
    "PATH": f"/{VENV}/bin:/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",  # noqa: S108
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "SOURCE_DATE_EPOCH": str(FIXED_TIME),
    "PYTHONHASHSEED": "0",
    "PYTHONNOUSERSITE": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
_COMPILER = re.compile(
    r"command '?\S*(?:gcc|cc|clang|g\+\+|c\+\+)'? failed"
    r"|No such file or directory: '(?:\S*gcc|cc|clang|g\+\+|cmake|ninja|make|gfortran|rustc|cargo)'"
    r"|[Uu]nable to find a (?:C )?compiler|[Uu]nknown compiler|CMAKE_C\w*_COMPILER|[Cc]argo.*not (?:found|installed)"
    r"|error: command .*(?:gcc|cc)\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPython:
    """The image's Python for this host: `path` in the tree `root`, or in a folder that is laid over it, at the same place."""

    root: Path
    path: str
    version: str
    over: tuple[SealedFolder, ...] = ()

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceArchive:
    """A source archive in the cache. `subfolder` is where in it the package lies."""

    name: str
    kind: BuildKind
    path: Path
    size: int
    sha256: Digest
    commit: str | None = None
    subfolder: str = ""

    @property
    def file(self) -> str:
        return self.path.name


FetchTools = Callable[[Sequence[LockedWheel]], Sequence[Path]]


class BuildSandbox:
    """`fetch_tools` gives the files of locked wheels; `env` is where bubblewrap is looked for."""

    def __init__(self, fetch_tools: FetchTools, env: Mapping[str, str]) -> None:
        self._fetch_tools = fetch_tools
        self._env = env

    def call(
        self,
        hook: str,
        source: SourceArchive,
        tree: SourceTree,
        python: BuildPython,
        tools: Sequence[LockedWheel],
        scratch: Path,
    ) -> object:
        """Call a hook in a fresh copy of the source; its answer."""
        for name in ("source", "out", "tools"):
            (scratch / name).mkdir()
        with source.path.open("rb") as stream:
            unpack_layer(stream_source(stream, source.file, source.size), scratch / "source", source.file)
        _fix_times(scratch / "source")
        self._lay_tools(tools, python, scratch / "tools")
        script = Path(build_worker.__file__).read_text(encoding="utf-8")
        end = run_sealed(
            python.root,
            (f"/{VENV}/bin/python", "-c", script, hook, tree.backend, *tree.backend_path),
            (
                SealedFolder(source=scratch / "source", target=_SOURCE, writable=True),
                SealedFolder(source=scratch / "out", target=_OUT, writable=True),
                SealedFolder(source=scratch / "tools" / VENV, target=f"/{VENV}"),
                *python.over,
            ),
            workdir=f"{_SOURCE}/{tree.folder}",
            variables=_VARIABLES,
            env=self._env,
            timeout=_TIMEOUT,
            room=_ROOM,
        )
        if end.code != 0:
            raise _explain_failure(source.name, end)
        with open_output(scratch / "out", "answer.json", _MAX_ANSWER) as answer:
            try:
                return json.loads(answer.read())
            except (ValueError, RecursionError):
                raise LockError(f"the build of {source.name} gives no answer") from None

    def _lay_tools(self, tools: Sequence[LockedWheel], python: BuildPython, folder: Path) -> None:
        """The build environment: a virtual environment with the tools in it."""
        layout = EnvironmentLayout(prefix=VENV, minor=python.minor)
        home = python.path.rpartition("/")[0]
        first, *others = layout.interpreter_names
        entries: dict[str, TarEntry] = {
            first: symlink_entry(first, python.path),
            **{name: symlink_entry(name, "python") for name in others},
            layout.configuration: file_entry(
                layout.configuration,
                f"home = {home}\ninclude-system-site-packages = false\nversion = {python.version}\n".encode(),
            ),
        }
        with ExitStack() as stack:
            for tool, path in zip(tools, self._fetch_tools(tools), strict=True):
                archive = stack.enter_context(zipfile.ZipFile(path))
                for entry in plan_wheel(archive, tool.file, layout).entries:
                    entries.setdefault(entry.path, entry)
            unpack_layer(stream_tar(add_parents(entries.values())), folder, "the build environment")


def compiled_refusal(name: str, reason: str) -> LockError:
    """For what is not Python alone."""
    known = name_in_conda(canonicalize_name(name))
    other = f"conda-forge's package {known}" if known else "a package of a conda channel"
    return LockError(
        f"{name} cannot be built here: {reason}; wherry builds what is Python alone",
        hint=f"{other} in an environment.yml; or a version of {name} that has a wheel, or an index that has one",
    )


def _explain_failure(name: str, end: SealedEnd) -> LockError:
    if not end.in_time:
        return LockError(f"building {name} took more than {_TIMEOUT:.0f} s and was ended")
    if not end.in_bounds:
        return LockError(f"building {name} wrote more than {_ROOM >> 20} MiB and was ended")
    if _COMPILER.search(end.output):
        return compiled_refusal(name, "it needs a compiler")
    lines = [line.rstrip() for line in end.output.splitlines() if line.strip()]
    told = "\n  ".join(line[:200] for line in lines[-6:]) or "it said nothing"
    return LockError(
        f"building {name} failed ({end.code}):\n  {told}",
        hint="another version; in the sandbox there is no network, no git and no compiler",
    )


def open_output(folder: Path, name: str, limit: int) -> BinaryIO:
    """A file that the build wrote: a regular one, within bounds, links not followed."""

    def open_file(path: str, flags: int) -> int:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)

    try:
        file = open(folder / name, "rb", opener=open_file)  # noqa: SIM115 - pathlib takes no opener
    except OSError as error:
        raise FormatError(f"the build wrote no {name}: {error.strerror}") from None
    state = os.fstat(file.fileno())
    if not stat.S_ISREG(state.st_mode) or state.st_size > limit:
        file.close()
        raise FormatError(f"what the build wrote as {name} is no file of at most {limit} bytes")
    return file


def _fix_times(folder: Path) -> None:
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.utime(Path(top) / name, (FIXED_TIME, FIXED_TIME), follow_symlinks=False)
