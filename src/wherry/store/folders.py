"""Folders that appear whole or not at all, however many make the same at once."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wherry.store.posix import hold_lock


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


@contextmanager
def replace_folder(final: Path) -> Iterator[Path]:
    """An empty folder to fill; when the block ends well it takes the place of `final`. What others left behind goes.

    There is never half a folder at `final`; for a moment, between two renames, there may be none.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    beside = re.compile(re.escape(f".{final.name}.") + r"(?:new|old)-[0-9a-f]{16}")
    with hold_lock(final.parent / ".lock", exclusive=True):
        for left in (path for path in final.parent.iterdir() if beside.fullmatch(path.name)):
            shutil.rmtree(left, ignore_errors=True)
        making = final.with_name(f".{final.name}.new-{os.urandom(8).hex()}")
        making.mkdir()
        try:
            yield making
            if final.exists():
                final.rename(final.with_name(f".{final.name}.old-{os.urandom(8).hex()}"))
            making.rename(final)
        finally:
            for left in (path for path in final.parent.iterdir() if beside.fullmatch(path.name)):
                shutil.rmtree(left, ignore_errors=True)
