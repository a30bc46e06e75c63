"""The records of jobs, behind a small port, in an embedded SQLite database that many processes write at once.

Rules: one short transaction a call; write-ahead logging, so that whoever reads waits for nobody; a record that is final is never
changed. A record is a JSON document of a fixed version beside the columns that lists are made of. No connection outlives a call,
for a process that forks must not share one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from wherry.errors import StoreError, UsageError
from wherry.model.job import JobRecord, JobState, Output, TaskEnd
from wherry.store.posix import hold_lock

SCHEMA = 1
_TARGET = "json_extract(document, '$.target')"
_PATIENCE = 60.0  # seconds to wait for other writers
_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, started REAL NOT NULL, project TEXT NOT NULL, state TEXT NOT NULL, document TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS jobs_by_time ON jobs (started DESC, id);
CREATE INDEX IF NOT EXISTS jobs_of_project ON jobs (project, started DESC, id);
CREATE INDEX IF NOT EXISTS jobs_running ON jobs (state) WHERE state = 'running';
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which records are wanted; None: whatever it is."""

    project: str | None = None
    state: JobState | None = None
    target: str | None = None


class JobRecords(Protocol):
    """Where records are kept."""

    def add(self, record: JobRecord) -> None:
        """Keep a new record."""
        ...

    def finish(self, job: str, end: TaskEnd, outputs: Sequence[Output]) -> bool:
        """Set how a job ended; False if that is known already, or the record is gone."""
        ...

    def find(self, text: str) -> JobRecord:
        """The record whose ID is `text` or alone begins so."""
        ...

    def read(self, *, project: str | None = None, running: bool = False, most: int | None = None) -> tuple[JobRecord, ...]:
        """Records, the youngest first."""
        ...

    def read_page(self, wanted: JobFilter, *, skip: int, most: int) -> tuple[tuple[JobRecord, ...], int]:
        """Some of the wanted records, the youngest first, and how many there are in all."""
        ...

    def list_choices(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The projects and the targets that there are records of."""
        ...

    def find_maker(self, sha256: str) -> JobRecord | None:
        """The youngest job that left a file of this digest (hex) among its outputs."""
        ...

    def remove(self, job: str) -> None:
        """Forget a record; one that is gone is fine."""
        ...


class SqliteRecords:
    """Records in one file. A file that is none of ours is an error, and stays as it is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, record: JobRecord) -> None:
        values = (record.id, record.started, record.project, record.state.value, render_record(record))
        with self._open() as database:
            database.execute("INSERT INTO jobs VALUES (?, ?, ?, ?, ?)", values)

    def finish(self, job: str, end: TaskEnd, outputs: Sequence[Output]) -> bool:
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            row = database.execute("SELECT document FROM jobs WHERE id = ? AND state = 'running'", (job,)).fetchone()
            if row is None:
                return False
            record = parse_record(row[0])
            record = replace(record, state=end.state, exit_code=end.exit_code, ended=end.ended, outputs=tuple(outputs))
            database.execute("UPDATE jobs SET state = ?, document = ? WHERE id = ?", (end.state.value, render_record(record), job))
        return True

    def find(self, text: str) -> JobRecord:
        if not text.isalnum():
            raise UsageError(f"{text!r} is no job's ID", hint="wherry job ls")
        with self._open() as database:
            rows = database.execute(
                "SELECT id, document FROM jobs WHERE id >= ? AND id < ? ORDER BY id LIMIT 8", (text, text + "\x7f")
            ).fetchall()
        exact = [document for name, document in rows if name == text]
        if not rows:
            raise StoreError(f"no job {text!r}", where=str(self._path), hint="wherry job ls --all")
        if not exact and len(rows) > 1:
            raise StoreError(f"{text!r} means several jobs: {', '.join(name for name, _ in rows)}", hint="more of the ID")
        return parse_record(exact[0] if exact else rows[0][1])

    def read(self, *, project: str | None = None, running: bool = False, most: int | None = None) -> tuple[JobRecord, ...]:
        conditions = ["project = :project"] if project is not None else []
        conditions += ["state = 'running'"] if running else []
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        query = f"SELECT document FROM jobs {where} ORDER BY started DESC, id LIMIT :most"  # noqa: S608 - words of ours alone
        with self._open() as database:
            rows = database.execute(query, {"project": project, "most": -1 if most is None else most}).fetchall()
        return tuple(parse_record(document) for (document,) in rows)

    def read_page(self, wanted: JobFilter, *, skip: int, most: int) -> tuple[tuple[JobRecord, ...], int]:
        columns = {"project": wanted.project, "state": wanted.state and wanted.state.value, _TARGET: wanted.target}
        given = {column: value for column, value in columns.items() if value is not None}
        where = f"WHERE {' AND '.join(f'{column} = ?' for column in given)}" if given else ""
        query = f"SELECT document FROM jobs {where} ORDER BY started DESC, id LIMIT ? OFFSET ?"  # noqa: S608 - words of ours alone
        with self._open() as database:
            (count,) = database.execute(f"SELECT count(*) FROM jobs {where}", tuple(given.values())).fetchone()  # noqa: S608
            rows = database.execute(query, (*given.values(), most, skip)).fetchall()
        return tuple(parse_record(document) for (document,) in rows), count

    def list_choices(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        with self._open() as database:
            found = (database.execute(f"SELECT DISTINCT {column} FROM jobs ORDER BY 1") for column in ("project", _TARGET))  # noqa: S608
            projects, targets = (tuple(str(value) for (value,) in rows) for rows in found)
        return projects, targets

    def find_maker(self, sha256: str) -> JobRecord | None:
        # The digest's place in the document is fixed; ten thousand records are looked through in some 20 ms, without an index.
        query = "SELECT document FROM jobs WHERE instr(document, ?) ORDER BY started DESC LIMIT 1"
        with self._open() as database:
            row = database.execute(query, (f'"sha256":"{sha256}"',)).fetchone()
        return parse_record(row[0]) if row else None

    def remove(self, job: str) -> None:
        with self._open() as database:
            database.execute("DELETE FROM jobs WHERE id = ?", (job,))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with closing(sqlite3.connect(self._path, timeout=_PATIENCE)) as database:
                self._prepare(database)
                with database:
                    yield database
        except sqlite3.Error as error:
            # A damaged file, or none of SQLite's, is just this class; what the machine refuses is one derived of it.
            damaged = type(error) is sqlite3.DatabaseError
            hint = (
                "move the file away if it is no list of jobs" if damaged else "a folder that may be written, with room on its disk"
            )
            raise StoreError(f"the list of jobs cannot be used: {error}", where=str(self._path), hint=hint) from error
        except OSError as error:
            raise StoreError(error.strerror or str(error), where=str(self._path), hint="WHERRY_JOBS says where jobs lie") from error

    def _prepare(self, database: sqlite3.Connection) -> None:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise StoreError("the list of jobs is of a newer wherry", where=str(self._path), hint="use that one")
        if version < SCHEMA:
            # Both settings stay in the file. One at a time: nobody waits for a change of journal mode.
            with hold_lock(self._path.with_suffix(".lock"), exclusive=True):
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(f"BEGIN IMMEDIATE; {_TABLE} PRAGMA user_version = {SCHEMA}; COMMIT;")
        database.execute("PRAGMA synchronous = NORMAL")


def render_record(record: JobRecord) -> str:
    """The document of a record. In ASCII: words of a command line need not be text."""
    return json.dumps({**asdict(record), "state": record.state.value}, separators=(",", ":"))


def record_values(record: JobRecord) -> dict[str, Any]:
    """A record as plain values that can be shown."""
    values: dict[str, Any] = _make_printable({**asdict(record), "state": record.state.value})
    return values


def _make_printable(value: Any) -> Any:
    """What a command line or a file's name has that is no text is shown by its codes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_make_printable(key): _make_printable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_make_printable(inner) for inner in value]
    return value


def parse_record(document: str) -> JobRecord:
    """Read what `render_record` wrote. Keys that this version does not know are left out."""
    try:
        value = json.loads(document)
        known: Mapping[str, Any] = {key: one for key, one in value.items() if key in JobRecord.__dataclass_fields__}
        outputs = tuple(Output(**output) for output in value["outputs"])
        state, command, data = JobState(value["state"]), tuple(value["command"]), tuple(value["data"])
        return JobRecord(**{**known, "state": state, "command": command, "data": data, "outputs": outputs})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"the record of a job is damaged: {document[:80]!r}", where="jobs.sqlite") from error
