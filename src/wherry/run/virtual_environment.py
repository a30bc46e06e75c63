"""Lays out an ordinary virtual environment (PEP 405) around a Python of this machine, or around one that it brings along.

As the module venv makes it, but for pip, which is not in a lock unless somebody asked for it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from wherry.model.progress import Progress
from wherry.run.local_python import LocalPython
from wherry.run.package_trees import PackageTrees, PlannedPackage
from wherry.store.posix import clone_file

_OWN = "python"  # where an environment keeps a Python of its own


def fill_environment(
    making: Path,
    python: LocalPython,
    brought: Path | None,
    wheels: Sequence[PlannedPackage],
    trees: PackageTrees,
    progress: Progress,
) -> None:
    """Lay everything out. `brought` is a Python to copy along, for which `python` is told as it will lie (`own_python`)."""
    _write_skeleton(making, python)
    if brought is not None:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(brought, making / _OWN, symlinks=True, copy_function=_copy_file, ignore=ignored)
    for number, planned in enumerate(wheels):
        trees.lay_out(planned, making)
        progress("environment", number + 1, len(wheels))


def own_python(prefix: Path, brought: Path, found: LocalPython) -> LocalPython:
    """The Python below `brought` as it will lie in the environment; `found` is what it says of itself where it is."""
    executable = Path(found.executable).relative_to(brought)
    return LocalPython(executable=str(prefix / _OWN / executable), version=found.version, glibc=found.glibc)


def _write_skeleton(making: Path, python: LocalPython) -> None:
    library = making / "lib" / f"python{python.minor}" / "site-packages"
    library.mkdir(parents=True)
    (making / "bin").mkdir()
    (making / "lib64").symlink_to("lib")  # as venv does, for Pythons whose platlibdir it is
    home, _, _ = python.executable.rpartition("/")
    lines = (
        f"home = {home}",
        "include-system-site-packages = false",
        f"version = {python.version}",
        f"executable = {python.executable}",
    )
    (making / "pyvenv.cfg").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (making / "bin/python").symlink_to(python.executable)
    for name in ("python3", f"python{python.minor}"):
        (making / "bin" / name).symlink_to("python")


def _copy_file(source: str, target: str) -> None:
    """Never a link: Python's library in the cache is what images are compiled with."""
    clone_file(source, target, link=False)
