"""Finds a Python of this machine that can run a locked environment.

Rules: it is asked, not guessed from its name; it is CPython of the lock's minor version; a virtual environment's Python
stands for the one that it was made from. Refused: a free-threaded build, for which the lock's wheels are not.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from wherry.errors import StoreError, UsageError, WherryError
from wherry.run.local_python import LocalPython, list_program_places
from wherry.sources.uv_program import find_uv

_PROBE = """
import json, os, sys, sysconfig
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
except (ValueError, OSError):
    libc = ""
print(json.dumps([
    sys.implementation.name, "%d.%d.%d" % sys.version_info[:3], getattr(sys, "_base_executable", sys.executable), libc,
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
]))
"""
_LEVEL = re.compile(r"manylinux_2_([0-9]{1,3})_")
_LEVELS = {"manylinux2014": 17, "manylinux2010": 12, "manylinux1": 5}


def find_python(version: str, env: Mapping[str, str], asked: str | None = None) -> LocalPython:
    """A Python for a lock that was made for `version` (full): the one that `asked` names, which must be of that minor.

    Else the very version where the PATH has it, else the first of its minor there, else one that uv manages.
    """
    minor = version.rpartition(".")[0]
    if asked is not None:
        found = probe_python(_resolve(asked, env))
        if found.minor != minor:
            raise UsageError(f"{asked} is Python {found.version}, the lock is for {minor}", where="--python")
        return found
    seen = []
    for python in _probe_all(_list_programs(minor, env)):
        if python.version == version:
            return python
        seen.append(python)
    if not any(python.minor == minor for python in seen):
        seen += _probe_all(_ask_uv(minor, env))
    fitting = [python for python in seen if python.minor == minor]
    if not fitting:
        has = f" (there is {', '.join(dict.fromkeys(python.version for python in seen))})" if seen else ""
        what = f"there is no Python {minor} on this machine, and the lock is for it{has}"
        raise StoreError(what, where="PATH", hint=f"uv python install {minor}, or --python PROGRAM")
    return fitting[0]


def probe_python(program: Path) -> LocalPython:
    """Ask a program which Python it is."""
    try:
        told = subprocess.run((program, "-I", "-S", "-B", "-c", _PROBE), capture_output=True, text=True, check=True, timeout=60)
        name, version, executable, libc, free_threaded = json.loads(told.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        detail = (getattr(error, "stderr", "") or str(error)).strip()
        raise StoreError(f"does not run as a Python: {detail[-300:]}", where=str(program)) from error
    if name != "cpython" or free_threaded:
        kind = "a free-threaded build" if free_threaded else name
        raise StoreError(f"is {kind}; the lock's wheels are for CPython", where=str(program))
    parts = libc.removeprefix("glibc ").split(".")
    glibc = (int(parts[0]), int(parts[1])) if libc.startswith("glibc ") and len(parts) > 1 else None
    return LocalPython(executable=executable, version=version, glibc=glibc)


def require_glibc(python: LocalPython, files: Sequence[str]) -> None:
    """Fail when one of the wheels, by its file's name, needs a newer C library than this machine has."""
    for file in files:
        level = least_glibc(file)
        if level is not None and (python.glibc is None or python.glibc < level):
            has = f"glibc {python.glibc[0]}.{python.glibc[1]}" if python.glibc else "no glibc"
            raise StoreError(
                f"{file} needs glibc {level[0]}.{level[1]}, this machine has {has}",
                where="wherry.lock",
                hint="wherry run, which brings its own C library; or lock for an older base",
            )


def least_glibc(file: str) -> tuple[int, int] | None:
    """The oldest glibc that a wheel takes, by the tags in its name; None when it does not say."""
    tags = file.removesuffix(".whl").rpartition("-")[2].split(".")
    levels = [int(match[1]) for tag in tags if (match := _LEVEL.match(tag))]
    levels += [level for tag in tags for name, level in _LEVELS.items() if tag.startswith(f"{name}_")]
    return (2, min(levels)) if levels else None


def _resolve(asked: str, env: Mapping[str, str]) -> Path:
    found = shutil.which(asked, path=env.get("PATH"))
    if found is None:
        raise UsageError(f"there is no program {asked}", where="--python")
    return Path(found).absolute()


def _list_programs(minor: str, env: Mapping[str, str]) -> Iterator[Path]:
    seen = set()
    for place in list_program_places(minor, env):
        if (program := Path(place)).is_file() and (real := program.resolve()) not in seen:
            seen.add(real)
            yield program


def _ask_uv(minor: str, env: Mapping[str, str]) -> Iterator[Path]:
    options = ("--system", "--no-project", "--no-config", "--no-python-downloads")
    try:
        command = (find_uv(), "python", "find", *options, f"cpython@{minor}")
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, env=dict(env))
    except (WherryError, OSError, subprocess.SubprocessError):
        return
    if told.returncode == 0 and told.stdout.strip():
        yield Path(told.stdout.strip())


def _probe_all(programs: Iterable[Path]) -> Iterator[LocalPython]:
    for program in programs:
        with suppress(StoreError):  # pyenv's shims, say, stand there also for versions that are not chosen
            yield probe_python(program)
