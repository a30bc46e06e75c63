"""Files that look like models, for a project that does not name its own.

By suffix and size alone; nothing is opened. Imports stay lean: the 0.1 s rebuild asks whether a new model has come.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from wherry.model.declaration import ModelFile
from wherry.model.stamp import MODEL_SUFFIXES

MODEL_LIMIT = 16  # of the 40 layers that an image may have
NO_MODELS_IN = ("tests", "test", "node_modules", "site-packages", "__pycache__", "build", "dist")


def default_models(root: Path) -> tuple[tuple[ModelFile, ...], tuple[str, ...]]:
    """Files with a model's suffix: the largest `MODEL_LIMIT` of them, by path; and a note about the rest."""
    found = sorted(_model_files(root, ""), key=lambda item: (-item[1], item[0]))
    kept = sorted(path for path, _ in found[:MODEL_LIMIT])
    notes: tuple[str, ...] = ()
    if len(found) > MODEL_LIMIT:
        notes = (f"{len(found)} files look like models; the {MODEL_LIMIT} largest get a layer each: name them in wherry.toml",)
    return tuple(ModelFile(path=path) for path in kept), notes


def _model_files(root: Path, folder: str) -> Iterator[tuple[str, int]]:
    """Regular files, hidden folders and environments left out. .gitignore is not asked: models often are not in git."""
    try:
        with os.scandir(root / folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        return  # the walk over the code reports it
    if any(entry.name == "pyvenv.cfg" or entry.name == "conda-meta" for entry in entries):
        return
    for entry in entries:
        path = f"{folder}/{entry.name}" if folder else entry.name
        if entry.name.startswith(".") or not entry.name.isprintable():
            continue
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in NO_MODELS_IN:
                yield from _model_files(root, path)
        elif entry.name.lower().endswith(MODEL_SUFFIXES) and entry.is_file(follow_symlinks=False):
            yield path, entry.stat(follow_symlinks=False).st_size
