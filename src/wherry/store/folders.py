"""Folders of the cache that appear whole or not at all, however many make the same at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def make_folder(final: Path) -> Iterator[Path]:
    """An empty folder to fill; when the block ends well it gets the name `final`, otherwise it goes."""
    making = final.with_name(f"{final.name}.{os.getpid()}-{os.urandom(8).hex()}")
    making.mkdir(parents=True)
    try:
        yield making
        rename_unless_there(making, final)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def rename_unless_there(made: Path, final: Path) -> None:
    """Two that make the same at once make equal things: the first one's stays."""
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        made.rename(final)
    except OSError:
        if not final.is_dir():
            raise
