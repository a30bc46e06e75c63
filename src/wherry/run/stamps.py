"""Stamps models that a job wrote, and finds the stamp of a model again.

A stamp is the job's record, found by the digest of the model's bytes; so a copy under any name has it, on the machine that the
job ran on. Elsewhere it is a file beside the model, which is written where the job left its model and goes along with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from wherry.errors import FormatError, StoreError
from wherry.formats.model_stamp import MAX_STAMP, parse_stamp, render_stamp
from wherry.model.job import JobRecord, Output
from wherry.model.stamp import STAMP_SUFFIX, ModelStamp
from wherry.run.records import JobRecords
from wherry.store.posix import write_atomically


def stamp_of(record: JobRecord, sha256: str) -> ModelStamp | None:
    """What a record says of a model that its job wrote; None where no lock was known."""
    if record.lock is None or not sha256:
        return None
    return ModelStamp(sha256=sha256, job=record.id, lock=record.lock, platform=record.platform, python=record.python)


def write_stamps(folder: Path, record: JobRecord, outputs: Iterable[Output], suffixes: tuple[str, ...]) -> None:
    """Lay a stamp beside each output whose name ends like a model's. `folder` is where the outputs lie."""
    for output in outputs:
        stamp = stamp_of(record, output.sha256)
        if stamp is not None and output.path.lower().endswith(suffixes):
            place = folder / f"{output.path}{STAMP_SUFFIX}"
            with suppress(OSError, StoreError):  # the record says the same: no job is lost for it
                write_atomically(place, render_stamp(stamp))


def find_stamps(records: JobRecords | None, digests: Collection[str], beside: Iterable[Path]) -> Mapping[str, ModelStamp]:
    """The stamps of models by sha256: those that lie beside the files `beside`, else what `records` know."""
    found: dict[str, ModelStamp] = {}
    for path in beside:
        stamp = _read_stamp(path.with_name(path.name + STAMP_SUFFIX))
        if stamp is not None and stamp.sha256 in digests:
            found[stamp.sha256] = stamp
    for sha256 in digests:
        record = records.find_maker(sha256) if records is not None and sha256 not in found else None
        stamp = stamp_of(record, sha256) if record is not None else None
        if stamp is not None:
            found[sha256] = stamp
    return found


def _read_stamp(path: Path) -> ModelStamp | None:
    try:
        with path.open("rb") as file:
            return parse_stamp(file.read(MAX_STAMP + 1), str(path))
    except (OSError, FormatError):
        return None  # no stamp, or none that says anything
