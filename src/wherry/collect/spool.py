"""What a collector has taken and not laid out yet, and what it has ever taken: a database of SQLite's beside the tables.

Rules: a message is confirmed when `take` returned. A record is known by its device and id, and taken once. Rows are given to a
numbered batch before a file of it is written, so that after a kill the same batch is written again, to the same files: each row is
in exactly one of them. What a column is is decided in the same transaction, and never changes.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from wherry.collect.columns import ColumnKind, learn_columns
from wherry.errors import StoreError
from wherry.formats.telemetry import parse_record, render_record
from wherry.model.telemetry import Message, Record

_SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting (seq INTEGER PRIMARY KEY, day TEXT, device TEXT, body BLOB NOT NULL, batch INTEGER);
CREATE INDEX IF NOT EXISTS batches ON waiting (batch, day, device);
CREATE TABLE IF NOT EXISTS seen (device TEXT, id TEXT, taken INTEGER, PRIMARY KEY (device, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS columns (name TEXT PRIMARY KEY, kind TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS lost (device TEXT, name TEXT, value INTEGER, PRIMARY KEY (device, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO numbers VALUES ('batch', 0);
"""
_DAY = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The rows of one batch that go to one file. `day` is of the records' own time, in UTC."""

    batch: int
    day: str
    device: str


class Spool:
    """`remember` are the days for which a record that comes again is known."""

    def __init__(self, path: Path, remember: int) -> None:
        self._path, self._remember = path, remember
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"telemetry cannot be taken there: {error}", where=str(path)) from error
        with self._transact():
            self._db.execute("INSERT OR IGNORE INTO names VALUES ('collector', ?)", (os.urandom(6).hex(),))
        (self.name,) = self._db.execute("SELECT value FROM names WHERE name = 'collector'").fetchone()

    def take(self, message: Message) -> int:
        """Keep what is new of a message; how many records that were."""
        new = 0
        with self._transact():
            today = int(time.time()) // _DAY
            for record in message.records:
                query = "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)"
                if self._db.execute(query, (message.device, record.id, today)).rowcount:
                    new += 1
                    day = datetime.fromtimestamp(record.time, UTC).strftime("%Y-%m-%d")
                    row = (day, message.device, render_record(record))
                    self._db.execute("INSERT INTO waiting (day, device, body) VALUES (?, ?, ?)", row)
            for name, value in message.counts.items():
                query = "INSERT INTO lost VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = max(value, excluded.value)"
                self._db.execute(query, (message.device, name, min(value, 1 << 62)))
        return new

    def waits(self) -> int:
        """Records that no batch has yet."""
        return int(self._db.execute("SELECT count(*) FROM waiting WHERE batch IS NULL").fetchone()[0])

    def begin_batch(self, most: int) -> None:
        """Give at most so many records to a batch, and decide what their columns are."""
        with self._transact():
            rows = self._db.execute("SELECT seq, body FROM waiting WHERE batch IS NULL ORDER BY seq LIMIT ?", (most,))
            columns, last = self.columns(), None
            for seq, body in rows:
                new = learn_columns(columns, parse_record(body))
                columns.update(new)
                self._db.executemany("INSERT INTO columns VALUES (?, ?)", [(name, kind.value) for name, kind in new.items()])
                last = seq
            if last is not None:
                self._db.execute("UPDATE numbers SET value = value + 1 WHERE name = 'batch'")
                query = (
                    "UPDATE waiting SET batch = (SELECT value FROM numbers WHERE name = 'batch') WHERE batch IS NULL AND seq <= ?"
                )
                self._db.execute(query, (last,))

    def open_parts(self) -> list[Part]:
        """Of all batches that were begun what is not known to be on the disk."""
        query = "SELECT DISTINCT batch, day, device FROM waiting WHERE batch IS NOT NULL ORDER BY batch, day, device"
        return [Part(batch=batch, day=day, device=device) for batch, day, device in self._db.execute(query)]

    def read_part(self, part: Part, most: int) -> Iterator[list[Record]]:
        """The records of a part, so many at once."""
        query = "SELECT body FROM waiting WHERE batch = ? AND day = ? AND device = ? ORDER BY seq"
        found = self._db.execute(query, (part.batch, part.day, part.device))
        while rows := found.fetchmany(most):
            yield [parse_record(body) for (body,) in rows]

    def columns(self) -> dict[str, ColumnKind]:
        return {name: ColumnKind(kind) for name, kind in self._db.execute("SELECT name, kind FROM columns ORDER BY name")}

    def finish_parts(self, parts: Sequence[Part]) -> None:
        """These are on the disk."""
        with self._transact():
            for part in parts:
                query = "DELETE FROM waiting WHERE batch = ? AND day = ? AND device = ?"
                self._db.execute(query, (part.batch, part.day, part.device))
            self._db.execute("DELETE FROM seen WHERE taken < ?", (int(time.time()) // _DAY - self._remember,))

    def lost(self) -> dict[str, dict[str, int]]:
        """What devices say that they lost, by device."""
        found: dict[str, dict[str, int]] = {}
        for device, name, value in self._db.execute("SELECT device, name, value FROM lost ORDER BY device, name"):
            found.setdefault(device, {})[name] = value
        return found

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _transact(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise StoreError(f"telemetry cannot be taken: {error}", where=str(self._path)) from error
            raise
