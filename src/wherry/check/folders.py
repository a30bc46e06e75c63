"""Examines what lies in a folder of this machine: an environment with the machine around it, or the root of an image."""

from __future__ import annotations

import os
from pathlib import Path

from wherry.check.contents import LocalContents
from wherry.check.doctor import examine_local, examine_unpacked
from wherry.check.gpu import DeclaredGpu
from wherry.check.scan import scan_folder
from wherry.model.report import Report


def is_environment(folder: Path) -> bool:
    """Whether a folder is a virtual environment, or a prefix of conda's or of another Python."""
    return (folder / "pyvenv.cfg").is_file() or (folder / "conda-meta").is_dir() or any(folder.glob("lib/python3*/site-packages"))


def is_root(folder: Path) -> bool:
    """Whether a folder is the root of a system, such as an unpacked or a mounted image."""
    return (folder / "usr").is_dir() and (folder / "etc").is_dir()


def examine_environment(folder: Path, *, files: bool = False, measured: bool = False, gpu: DeclaredGpu | None = None) -> Report:
    """An environment: it is judged with the libraries and the interpreter of this machine."""
    absolute = Path(os.path.abspath(folder))  # noqa: PTH100 - links stay: an environment is what its path says
    return examine_local(scan_folder(absolute), str(folder), files=files, measured=measured, gpu=gpu)


def examine_root(folder: Path, *, files: bool = False, measured: bool = False, gpu: DeclaredGpu | None = None) -> Report:
    """The root of an image: nothing outside it counts."""
    root = folder.resolve()
    facts = scan_folder(root, as_root=True)
    contents = LocalContents((entry.path for entry in facts.entries), root) if files else None
    return examine_unpacked(facts, str(folder), contents, measured=measured, gpu=gpu)
