"""The project's own files as tar entries: code, and each model. Contents are read while the layer is written.

A file that changes its size while it is read fails the build; nothing of the layer is kept.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from wherry.errors import DeclarationError
from wherry.formats.tar import TarEntry
from wherry.model.declaration import ModelFile

_CHUNK = 1 << 20


def path_in_image(workdir: str, path: str) -> str:
    """Where a project's file lies in the image, without a leading slash."""
    return f"{workdir.strip('/')}/{path}"


def disk_entry(path: str, source: Path, size: int, mode: int) -> TarEntry:
    """An entry whose content is a file on disk."""
    return TarEntry(path=path, mode=0o755 if mode & 0o100 else 0o644, size=size, content=_reader(source, size))


def _reader(source: Path, size: int) -> Callable[[], Iterator[bytes]]:
    def read() -> Iterator[bytes]:
        done = 0
        try:
            with source.open("rb") as file:
                while done <= size and (chunk := file.read(_CHUNK)):
                    done += len(chunk)
                    if done <= size:
                        yield chunk
        except OSError as error:
            raise DeclarationError(f"cannot be read: {error.strerror}", where=str(source)) from error
        if done != size:
            hint = "build again when nothing writes to it, or leave it out with a line in .dockerignore"
            raise DeclarationError("the file changed while it was read", where=str(source), hint=hint)

    return read


def model_files(root: Path, model: ModelFile) -> tuple[tuple[str, os.stat_result], ...]:
    """A model's files, as (path in the project, stat), sorted; a folder's are all of those below it.

    Empty when the model is optional and missing. Links inside the project are followed: a model layer holds bytes.
    """
    top = root / model.path
    try:
        found = tuple(_walk(top, model.path))
    except FileNotFoundError:
        found = ()
    except OSError as error:
        raise DeclarationError(f"cannot be read: {error.strerror}", where=model.path) from error
    if not found and not model.optional:
        hint = f'train it first, or models = [{{ path = "{model.path}", optional = true }}]'
        raise DeclarationError("the model is missing", where=model.path, hint=hint)
    if not top.resolve().is_relative_to(root.resolve()):
        raise DeclarationError("the model lies outside the project", where=model.path, hint="copy it into the project's folder")
    return found


def _walk(top: Path, path: str) -> Iterator[tuple[str, os.stat_result]]:
    state = top.stat()
    if stat.S_ISREG(state.st_mode):
        yield path, state
    elif stat.S_ISDIR(state.st_mode):
        for name in sorted(os.listdir(top)):  # noqa: PTH208 - names alone
            yield from _walk(top / name, f"{path}/{name}")
    else:
        raise DeclarationError("neither a file nor a folder", where=path)
