"""Jobs on this machine: what `wherry run --on` begins and `wherry job` looks after.

A job is a folder (logs, outputs, metrics, how its task ended) and a record. The folder is the truth about a job that runs; the
record is written from it once, by the job's supervisor or, where that was killed, by whoever looks next. So a record says
"running" only as long as something runs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from wherry.errors import EngineError, JobError
from wherry.formats.job_metrics import LONGEST_LINE, JobMetrics, summarise
from wherry.model.job import (
    BackendKind,
    DataFolder,
    Job,
    JobRecord,
    JobState,
    Limits,
    Output,
    Target,
    TaskEnd,
    combine_ends,
    read_parameters,
)
from wherry.model.stamp import MODEL_SUFFIXES, STAMP_SUFFIX
from wherry.run.backends.catalogue import open_backend
from wherry.run.backends.local import LocalBackend
from wherry.run.port import Backend, Prepared
from wherry.run.provenance import Provenance, read_provenance
from wherry.run.records import JobFilter, SqliteRecords
from wherry.run.stamps import write_stamps
from wherry.run.tasks import is_held
from wherry.run.variables import METRICS, OUTPUTS, seed_variables
from wherry.store.host import read_host_name, read_host_platform
from wherry.store.places import jobs_path
from wherry.store.posix import explain_os_errors, hold_lock, open_untrusted

# Given what the job's supervisor is to call at its end, a backend that is ready to take the job.
OpenBackend = Callable[[Callable[[], None]], Backend]
NO_LIMITS = Limits()
_SUBMIT = "submit.lock"
_DATA = "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWish:
    """A job to be begun. `passed` are the names in `env` whose values were taken from a shell: these are not recorded.

    `seed` None: that of the job that is done again, else a new one.
    """

    root: Path
    name: str
    target: Target
    command: tuple[str, ...]
    limits: Limits = NO_LIMITS
    env: tuple[tuple[str, str], ...] = ()
    passed: frozenset[str] = frozenset()
    again: JobRecord | None = None
    seed: int | None = None


class Jobs:
    """The jobs of one place. `env` says where that is, and what backends need to be reached."""

    def __init__(self, env: Mapping[str, str], say: Callable[[str], None] = lambda _text: None) -> None:
        self.place = jobs_path(env)
        self.records = SqliteRecords(self.place / "jobs.sqlite")
        self._env = env
        self._say = say

    def begin(self, wish: JobWish, open_backend: OpenBackend) -> JobRecord:
        """Make ready what the job needs, keep its record, start it."""
        name = os.urandom(5).hex()
        backend = open_backend(lambda: self._settle_own(name))
        prepared = backend.up()
        seed = _choose_seed(wish)
        record = replace(self._describe(name, wish, prepared, read_provenance(wish.root, self._env)), seed=seed)
        if wish.again is not None:
            for difference in list_differences(wish.again, record):
                self._say(f"not as in {wish.again.id}: {difference}")
        job = replace(self.job_of(record), env=tuple({**seed_variables(seed), **dict(wish.env)}.items()))
        folder = Path(job.folder)
        with explain_os_errors(folder):
            for part in (folder, folder / OUTPUTS, folder / METRICS):
                part.mkdir(parents=True, mode=0o700)
        try:
            with hold_lock(folder / _SUBMIT, exclusive=True):
                self.records.add(record)
                backend.submit(job, (0,))
        except BaseException:
            backend.cancel(job, 0)
            self.records.remove(name)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return record

    def job_of(self, record: JobRecord) -> Job:
        """A record's job, as backends know it; without variables, whose values may be nowhere."""
        limits, data = Limits(**record.limits), tuple(map(_parse_data, record.data))
        folder = str(self.place / record.id)
        return Job(id=record.id, root=record.project, folder=folder, command=record.command, limits=limits, data=data)

    def backend_of(self, record: JobRecord) -> Backend:
        """A backend that looks after the job."""
        return self.backend_at(BackendKind(record.backend), record.engine)

    def backend_at(self, kind: BackendKind, engine: str | None, address: str | None = None) -> Backend:
        """A backend that looks after jobs and tells how it is, but begins none."""
        return open_backend(kind, self._env, engine, address)

    def settle(self, record: JobRecord) -> JobRecord:
        """The record as it is by now: one whose job has ended, or is lost, says so from here on."""
        if record.state.is_final or record.host != read_host_name():
            return record
        end = self.look(record)
        if not end.state.is_final:
            return record
        if end.state is JobState.LOST:
            self._clear(record)
        folder = self.place / record.id / OUTPUTS
        outputs = tuple(list_outputs(folder))
        write_stamps(folder, record, outputs, MODEL_SUFFIXES)
        self.records.finish(record.id, end, outputs)
        return self.records.find(record.id)

    def _clear(self, record: JobRecord) -> None:
        """End what is left of a lost job. Where its engine cannot be reached that is said, and the job is lost all the same."""
        try:
            self.backend_of(record).cancel(self.job_of(record), 0)
        except EngineError as error:
            self._say(f"what is left of the lost job {record.id} could not be ended: {error.what}")

    def look(self, record: JobRecord) -> TaskEnd:
        """How far a job of this machine is, whatever its record says."""
        held = is_held(self.place / record.id / _SUBMIT)  # before the tasks: whoever begins them holds it until they are there
        ends = LocalBackend(self._env).poll(self.job_of(record))
        if not ends:
            return TaskEnd(state=JobState.RUNNING if held else JobState.LOST)
        return combine_ends(tuple(ends.values()))

    def _settle_own(self, name: str) -> None:
        """Called in the job's supervisor, once the end is written down."""
        self.settle(self.records.find(name))

    def find(self, text: str) -> JobRecord:
        return self.settle(self.records.find(text))

    def read_page(self, wanted: JobFilter, *, skip: int, most: int) -> tuple[tuple[JobRecord, ...], int]:
        """Some of the wanted records, the youngest first, as they are by now, and how many there are in all."""
        self._settle_running()
        return self.records.read_page(wanted, skip=skip, most=most)

    def _settle_running(self) -> None:
        for record in self.records.read(running=True):
            self.settle(record)

    def list(self, project: Path | None, most: int | None) -> tuple[JobRecord, ...]:
        """Records, the youngest first, as they are by now."""
        self._settle_running()
        return self.records.read(project=str(project.resolve()) if project is not None else None, most=most)

    def cancel(self, record: JobRecord, grace: float) -> JobRecord:
        """Stop a job."""
        if record.host != read_host_name() and not record.state.is_final:
            raise JobError(f"job {record.id} runs on {record.host}", hint="stop it there")
        self.backend_of(record).cancel(self.job_of(record), grace)
        return self.settle(record)

    def remove(self, record: JobRecord) -> None:
        """Forget a job that has ended: its record, logs and outputs."""
        if not self.settle(record).state.is_final:
            raise JobError(f"job {record.id} is running", hint=f"wherry job stop {record.id}")
        with explain_os_errors(self.place):
            if (self.place / record.id).exists():
                shutil.rmtree(self.place / record.id)
        self.records.remove(record.id)

    def read_metrics(self, record: JobRecord) -> JobMetrics:
        """What the job told of itself by now."""
        return summarise(_read_lines(self.metrics_file(record)))

    def metrics_file(self, record: JobRecord) -> Path:
        return self.place / record.id / METRICS / "0.jsonl"

    def _describe(self, name: str, wish: JobWish, prepared: Prepared, provenance: Provenance) -> JobRecord:
        limits = wish.target.limits.narrowed_by(wish.limits)
        return JobRecord(
            id=name,
            project=str(wish.root),
            name=wish.name,
            target=wish.target.name,
            backend=wish.target.backend.value,
            engine=prepared.engine,
            command=wish.command,
            parameters=read_parameters(wish.command),
            env={key: None if key in wish.passed else value for key, value in wish.env},
            limits=asdict(limits),
            data=tuple(f"{folder.path}:{'rw' if folder.writable else 'ro'}" for folder in _choose_data(wish)),
            network=wish.target.network,
            platform=str(read_host_platform()),
            lock=prepared.lock,
            image=prepared.image,
            python=prepared.python,
            commit=provenance.commit,
            dirty=provenance.dirty,
            again=wish.again.id if wish.again else None,
            host=read_host_name(),
            started=time.time(),
        )


def _choose_seed(wish: JobWish) -> int:
    former = wish.again.seed if wish.again else None
    chosen = former if wish.seed is None else wish.seed
    return int.from_bytes(os.urandom(4), "big") if chosen is None else chosen


def _choose_data(wish: JobWish) -> tuple[DataFolder, ...]:
    if wish.target.data is not None:
        return wish.target.data
    return (DataFolder(path=_DATA),) if (wish.root / _DATA).is_dir() else ()


def _parse_data(text: str) -> DataFolder:
    path, _, mode = text.rpartition(":")
    return DataFolder(path=path, writable=mode == "rw")


def target_of(record: JobRecord) -> Target:
    """The target that a job went to, as it was then."""
    return Target(
        name=record.target,
        backend=BackendKind(record.backend),
        engine=record.engine,
        limits=Limits(**record.limits),
        data=tuple(map(_parse_data, record.data)),
        network=record.network,
    )


def list_differences(former: JobRecord, now: JobRecord) -> tuple[str, ...]:
    """What of a job that is done again is not as it was: nothing here can make it so."""
    named = {
        "lock": "the locked packages",
        "image": "the image",
        "python": "Python",
        "seed": "the seed",
        "commit": "the commit",
        "dirty": "what differs from the commit",
        "platform": "the platform",
        "host": "the machine",
    }
    found = []
    for field, words in named.items():
        before, after = getattr(former, field), getattr(now, field)
        if before != after:
            found.append(f"{words}: {_shorten(before)} then, {_shorten(after)} now")
    unrecorded = sorted(key for key, value in former.env.items() if value is None)
    if unrecorded:
        found.append(f"values of {', '.join(unrecorded)}, which were not recorded: this shell's are taken")
    return tuple(found)


def _shorten(value: str | int | None) -> str:
    text = "none" if value is None else str(value)
    return text[:19] if text.startswith("sha256:") else text


def list_outputs(folder: Path) -> Iterable[Output]:
    """The regular files in an outputs folder, but for stamps; links are not followed. One that cannot be read has no digest."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if path.is_symlink() or not path.is_file() or name.endswith(STAMP_SUFFIX):
                continue
            size, sha256 = _digest(path)
            text = os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")
            yield Output(path=text, size=size, sha256=sha256)


def _digest(path: Path) -> tuple[int, str]:
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            return os.fstat(file.fileno()).st_size, sha256
    except OSError:
        return 0, ""


def _read_lines(path: Path) -> Iterable[bytes]:
    try:
        with open_untrusted(path) as file:
            while line := file.readline(LONGEST_LINE + 1):
                yield line
    except OSError:
        return
