"""Files sent as they are: to be kept, or drawn as pictures, but never shown as pages, whatever is in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from wherry.store.objects import ObjectStore

_CHUNK = 1 << 20


def send_file(file: BinaryIO, name: str) -> Response:
    """All of an open file, which is closed at the end. One that grows meanwhile is sent as far as it was."""
    size = os.fstat(file.fileno()).st_size
    return _send(_read(file, size), size, name)


def send_picture(file: BinaryIO, kind: str) -> Response:
    """A file that is drawn in a page. A browser that is told its kind takes it for nothing else."""
    size = os.fstat(file.fileno()).st_size
    return StreamingResponse(_read(file, size), media_type=kind, headers={"Content-Length": str(size)})


def send_object(store: ObjectStore, key: str, size: int, name: str) -> Response:
    """All of an object, range by range."""
    return _send((store.read(key, start, _CHUNK) for start in range(0, size, _CHUNK)), size, name)


def _send(chunks: Iterator[bytes], size: int, name: str) -> Response:
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name.encode('utf-8', 'backslashreplace'), safe='')}",
    }
    return StreamingResponse(chunks, media_type="application/octet-stream", headers=headers)


def _read(file: BinaryIO, size: int) -> Iterator[bytes]:
    with file:
        while size > 0 and (chunk := file.read(min(_CHUNK, size))):
            size -= len(chunk)
            yield chunk
