"""Bodies of deltas that were cut before: for a release after its dry run, or after one that was interrupted.

A file a body, under the digest of what it was made of: the layer, the base's layers, and who made it. It begins with its
own sha256. Whoever takes one out gets what was proven when it was made; a damaged file counts as none, and trouble with
the folder is passed over, for all of it can be made again. What nobody wanted for a month may go.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from wherry.deliver.encoder import LayerDelta
from wherry.errors import FormatError, StoreError
from wherry.formats.codec import codec_version
from wherry.formats.delta import Limits, parse_body
from wherry.model.digest import DiffId, Digest
from wherry.store.posix import write_atomically
from wherry.store.spooled import SpooledFile
from wherry.version import VERSION

BOUNDLESS = Limits(memory=1 << 40, entries=1 << 40, listed=1 << 40, operations=1 << 48, index_size=1 << 40)
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class BodyCache:
    """Bodies in `folder`."""

    folder: Path

    def find(self, diff_id: DiffId, base: Sequence[DiffId]) -> LayerDelta | None:
        """The body that makes a layer from an image of the layers `base`; of none, for a whole layer."""
        with suppress(OSError, FormatError):
            with self._path(diff_id, base).open("rb") as file:
                told = file.read(32)
                body = SpooledFile(iter(lambda: file.read(_CHUNK), b""))
                os.utime(file.fileno())
            if body.digest.hex == told.hex():
                return describe_body(diff_id, body)
            body.close()
        return None

    def keep(self, delta: LayerDelta, base: Sequence[DiffId]) -> None:
        path = self._path(delta.diff_id, base)
        with suppress(OSError, StoreError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, _with_digest(delta.body))

    def forget(self, before: float) -> None:
        """Remove what was last wanted before that time, in seconds since 1970."""
        with suppress(OSError):
            for path in self.folder.iterdir():
                if path.stat().st_mtime < before:
                    path.unlink(missing_ok=True)

    def _path(self, diff_id: DiffId, base: Sequence[DiffId]) -> Path:
        made_of = "\n".join((describe_encoder(), str(diff_id), *map(str, base)))
        return self.folder / Digest.of(made_of.encode()).hex


@cache
def describe_encoder() -> str:
    """What a body's bytes depend on: the codec, and the encoder's own source, which changes more often than versions do."""
    package = Path(__file__).parent.parent
    sources = sorted((*package.glob("deliver/enc*.py"), package / "deliver/matching.py", *package.glob("formats/delta*.py")))
    hasher = hashlib.sha256()
    with suppress(OSError):
        for path in sources:
            hasher.update(path.read_bytes())
    return f"{VERSION} {codec_version('zstd')} {hasher.hexdigest()}"


def describe_body(diff_id: DiffId, body: SpooledFile) -> LayerDelta:
    """A body with what its head says. One that is none is a `FormatError`, and closed."""
    try:
        head = parse_body(body.read, body.size, BOUNDLESS)
    except BaseException:
        body.close()
        raise
    return LayerDelta(diff_id=diff_id, size=head.target_size, form=head.form, body=body)


def _with_digest(body: SpooledFile) -> Iterator[bytes]:
    yield bytes.fromhex(body.digest.hex)
    yield from body.chunks()
