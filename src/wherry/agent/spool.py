"""Where an update's layers lie until the engine has them: one tar each, reserved on the disk before the first byte is made.

    spool/<diff_id>.part    reserved, being written
    spool/<diff_id>.tar     whole: it got this name after its digest was right and it was on the disk
    spool/room              as much again, which the engine is going to need; given up just before it does

A tar that is whole is used again after an interruption.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from wherry.errors import TrustError
from wherry.formats.tar import Content
from wherry.model.digest import DiffId
from wherry.store.posix import explain_os_errors, reserve_space, sync_folder

_CHUNK = 1 << 18
_ROOM = "room"
_HINT = "free some space, or set `state` in agent.toml to a folder on another disk"


class Spool:
    """The tars below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def reserve(self, sizes: Mapping[DiffId, int]) -> None:
        """Make room for these layers and for the engine's copy of them; drop whatever else is here."""
        with explain_os_errors(self._folder, _HINT):
            self._folder.mkdir(parents=True, exist_ok=True)
            wanted = {f"{diff_id.hex}.tar" for diff_id in sizes}
            for path in self._folder.iterdir():
                if path.name not in wanted:
                    path.unlink()
            try:
                for diff_id, size in sizes.items():
                    if not self.has(diff_id):
                        _reserve_file(self._part(diff_id), size)
                _reserve_file(self._folder / _ROOM, sum(sizes.values()))
            except OSError:
                self.clear()
                raise

    def has(self, diff_id: DiffId) -> bool:
        return self._tar(diff_id).exists()

    def write_layer(self, diff_id: DiffId, size: int, chunks: Iterable[bytes]) -> None:
        """Keep a layer's tar. `chunks` end with an error when they are not `diff_id`; then nothing is kept."""
        part, written = self._part(diff_id), 0
        with explain_os_errors(self._folder, _HINT):
            with part.open("r+b") as file:
                for chunk in chunks:
                    written += len(chunk)
                    if written > size:
                        break
                    file.write(chunk)
                if written != size:
                    raise TrustError(f"a layer of another size than the {size} bytes that were signed", where=str(diff_id))
                file.flush()
                os.fsync(file.fileno())
            part.rename(self._tar(diff_id))
            sync_folder(self._folder)

    def open_layer(self, diff_id: DiffId) -> Content:
        """A function that reads the tar from its start."""
        return lambda: _read_chunks(self._tar(diff_id))

    def give_room(self) -> None:
        """Free what was kept for the engine."""
        (self._folder / _ROOM).unlink(missing_ok=True)

    def clear(self) -> None:
        with explain_os_errors(self._folder):
            for path in self._folder.glob("*"):
                path.unlink(missing_ok=True)

    def _tar(self, diff_id: DiffId) -> Path:
        return self._folder / f"{diff_id.hex}.tar"

    def _part(self, diff_id: DiffId) -> Path:
        return self._folder / f"{diff_id.hex}.part"


def _reserve_file(path: Path, size: int) -> None:
    with path.open("wb") as file:
        reserve_space(file.fileno(), size)


def _read_chunks(path: Path) -> Iterator[bytes]:
    with explain_os_errors(path), path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
