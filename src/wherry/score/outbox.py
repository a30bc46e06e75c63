"""Where telemetry waits until somebody has taken it: a file of SQLite's that survives a kill and a power cut at any moment.

Rules: what `take` returned from is on the disk; a record leaves when the broker has confirmed it, so it may be sent twice, under
one id, and never be lost; what does not fit is the oldest, and is counted. Windows that are not over wait here, too: a record that
is to be reduced is as safe as one that is not. A window is over when a reading of a later one came, or when none came for as long
as it is. In a window a record counts once, however often it came.

Used by several threads, each call one transaction.
"""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wherry.errors import StoreError
from wherry.formats.telemetry import MAX_MESSAGE, parse_record, render_record
from wherry.model.scoring import Method, Reduction
from wherry.model.telemetry import Record
from wherry.score.reduction import choose_points, has_left_band, is_set, read_field

_SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS waiting (
    seq INTEGER PRIMARY KEY, rule INTEGER, topic TEXT, start REAL, id TEXT, time REAL, arrived REAL, body BLOB NOT NULL,
    UNIQUE (rule, topic, start, id)
);
CREATE TABLE IF NOT EXISTS sent (rule INTEGER, topic TEXT, time REAL, fields TEXT, PRIMARY KEY (rule, topic));
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_LARGEST = MAX_MESSAGE - (64 << 10)  # of a record, so that a message has room for it
# Names of counts: records that came, that were confirmed, that were lost, and that were left away; and bytes.
CAME, SENT, SENT_BYTES, DROPPED, REDUCED, SAVED = "came", "sent", "sent_bytes", "dropped", "reduced", "saved_bytes"
REFUSED, FAILED = "refused", "failed"  # readings that the script did not take, and those that have no score


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record on its way."""

    seq: int
    body: bytes


class Outbox:
    """`keep` are the bytes of records that wait at most; `rules` decide what of them is sent."""

    def __init__(self, path: Path, keep: int, rules: Sequence[Reduction] = ()) -> None:
        self._path, self._keep, self._rules = path, keep, tuple(rules)
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"telemetry cannot wait there: {error}", where=str(path), hint="a folder that may be written, WHERRY_SCORE_DATA"
            ) from error
        with self._transact():
            self._db.execute("INSERT OR IGNORE INTO names VALUES ('store', ?)", (os.urandom(4).hex(),))
            (self._name,) = self._db.execute("SELECT value FROM names WHERE name = 'store'").fetchone()
            self._bytes = sum(self._sum(table) for table in ("outbox", "waiting"))

    def take(self, records: Iterable[tuple[Record, int | None]], now: float) -> None:
        """Store records that came now, each with the number of the rule that it is under. One without an id gets one of its own."""
        with self._transact():
            for record, rule in records:
                self._take(record, rule, now)
            self._close_windows(now)
            self._make_room()

    def close_windows(self, now: float) -> None:
        """Decide what of the windows is sent that are over."""
        with self._transact():
            self._close_windows(now)
            self._make_room()

    def read(self, after: int, most: int, size: int) -> list[Waiting]:
        """The records that are next to be sent: at most `most`, of `size` bytes together, but for one that is larger alone."""
        found: list[Waiting] = []
        with self._use():
            for seq, body in self._db.execute("SELECT seq, body FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?", (after, most)):
                size -= len(body)
                if found and size < 0:
                    break
                found.append(Waiting(seq, body))
        return found

    def forget(self, records: Iterable[Waiting]) -> None:
        """Records that the broker has."""
        with self._transact():
            for record in records:
                gone = self._db.execute("DELETE FROM outbox WHERE seq = ?", (record.seq,)).rowcount
                self._bytes -= len(record.body) * gone
                self._count({SENT: gone, SENT_BYTES: len(record.body) * gone})

    def count(self, name: str) -> None:
        """One more of something that happened."""
        with self._transact():
            self._count({name: 1})

    def counts(self) -> dict[str, int]:
        """Totals since this store began."""
        with self._use():
            return dict(self._db.execute("SELECT name, value FROM counts ORDER BY name").fetchall())

    @property
    def size(self) -> int:
        """Bytes of the records that wait."""
        return self._bytes

    def waits(self) -> int:
        """How many records wait to be sent, open windows among them."""
        with self._use():
            return sum(self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("outbox", "waiting"))  # noqa: S608

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _use(self) -> Iterator[None]:
        """One thread at a time; what a full disk or a broken file does to it is a `StoreError`."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise StoreError(f"telemetry cannot be stored: {error}", where=str(self._path)) from error

    @contextmanager
    def _transact(self) -> Iterator[None]:
        """One transaction."""
        with self._use():
            before = getattr(self, "_bytes", 0)
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._bytes = before
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _sum(self, table: str) -> int:
        return int(self._db.execute(f"SELECT coalesce(sum(length(body)), 0) FROM {table}").fetchone()[0])  # noqa: S608 - ours

    def _count(self, more: Mapping[str, int]) -> None:
        rows = [(name, value) for name, value in more.items() if value]
        self._db.executemany("INSERT INTO counts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value", rows)

    def _take(self, record: Record, number: int | None, now: float) -> None:
        named = record if record.id else replace(record, id=self._next_id())
        try:
            body = render_record(named)
        except (ValueError, TypeError):  # half a pair of surrogates, say; nothing would take it
            body = b""
        if not 0 < len(body) <= _LARGEST:
            self._count({FAILED: 1})
            return
        self._count({CAME: 1})
        shown = {"reading": named.reading, "result": named.result}
        rule = self._rules[number] if number is not None else None
        if number is None or rule is None or is_set(shown, rule.always):
            self._send(body)
        elif rule.method.has_window:
            start = named.time // rule.window * rule.window
            row = (number, named.topic, start, named.id, named.time, now, body)
            columns = "rule, topic, start, id, time, arrived, body"
            query = f"INSERT OR IGNORE INTO waiting ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - ours
            self._bytes += len(body) * self._db.execute(query, row).rowcount
        elif self._has_left_band(number, rule, named, shown):
            self._send(body)
        else:
            self._count({REDUCED: 1, SAVED: len(body)})

    def _next_id(self) -> str:
        """Of the store's own, whatever happens between: the number is taken in the transaction that stores the record."""
        self._count({"ids": 1})
        (number,) = self._db.execute("SELECT value FROM counts WHERE name = 'ids'").fetchone()
        return f"{self._name}-{number}"

    def _send(self, body: bytes) -> None:
        self._db.execute("INSERT INTO outbox (body) VALUES (?)", (body,))
        self._bytes += len(body)

    def _has_left_band(self, number: int, rule: Reduction, record: Record, shown: Mapping[str, Any]) -> bool:
        now = {field: read_field(shown, field) for field in rule.fields}
        row = self._db.execute("SELECT time, fields FROM sent WHERE rule = ? AND topic = ?", (number, record.topic)).fetchone()
        silent = row is not None and rule.silence is not None and record.time - row[0] >= rule.silence
        if row is not None and not silent and not has_left_band(rule, json.loads(row[1]), now):
            return False
        values = (number, record.topic, record.time, json.dumps(now))
        self._db.execute(
            "INSERT INTO sent VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET time = excluded.time, fields = excluded.fields", values
        )
        return True

    def _close_windows(self, now: float) -> None:
        query = "SELECT rule, topic, start, max(arrived) FROM waiting GROUP BY rule, topic, start ORDER BY start DESC"
        latest: dict[tuple[int, str], float] = {}
        over = []
        for rule, topic, start, arrived in self._db.execute(query).fetchall():
            # A rule that a newer image does not have any more reduces nothing.
            known = rule < len(self._rules) and self._rules[rule].method.has_window
            if not known or latest.setdefault((rule, topic), start) > start or arrived + self._rules[rule].window <= now:
                over.append((rule, topic, start))
        for rule, topic, start in reversed(over):
            self._close_window(rule, topic, start)

    def _close_window(self, number: int, topic: str, start: float) -> None:
        where = (number, topic, start)
        query = "SELECT body FROM waiting WHERE rule = ? AND topic = ? AND start = ? ORDER BY time, seq"
        bodies = [body for (body,) in self._db.execute(query, where)]
        known = number < len(self._rules) and self._rules[number].method.has_window
        kept = _reduce(self._rules[number], bodies) if known else bodies
        self._db.execute("DELETE FROM waiting WHERE rule = ? AND topic = ? AND start = ?", where)
        self._bytes -= sum(map(len, bodies))
        for body in kept:
            self._send(body)
        self._count({REDUCED: len(bodies) - len(kept), SAVED: sum(map(len, bodies)) - sum(map(len, kept))})

    def _make_room(self) -> None:
        """The oldest go first; the newest record stays, whatever its size."""
        while self._bytes > self._keep:
            table = (
                "outbox" if self._db.execute("SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT 2)").fetchone()[0] > 1 else "waiting"
            )
            row = self._db.execute(f"SELECT seq, length(body) FROM {table} ORDER BY seq LIMIT 1").fetchone()  # noqa: S608 - ours
            if row is None:
                return
            self._db.execute(f"DELETE FROM {table} WHERE seq = ?", (row[0],))  # noqa: S608
            self._bytes -= row[1]
            self._count({DROPPED: 1})


def _reduce(rule: Reduction, bodies: Sequence[bytes]) -> list[bytes]:
    """What of a window is sent."""
    records = [parse_record(body) for body in bodies]
    shown = [{"reading": record.reading, "result": record.result} for record in records]
    values = {field: [read_field(one, field) for one in shown] for field in rule.fields}
    if rule.method is not Method.MEAN:
        return [bodies[index] for index in choose_points(rule, [record.time for record in records], values)]
    means = {
        field: statistics.mean(known) for field, found in values.items() if (known := [one for one in found if one is not None])
    }
    if not means:
        return list(bodies)
    mean: dict[str, Any] = {"reading": {}, "result": {}}
    for path, value in means.items():
        *folders, name = path.split(".")
        place = mean
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = value
    first = records[0]
    record = replace(first, reading=mean["reading"], result=mean["result"] or None, time=first.time // rule.window * rule.window)
    return [render_record(replace(record, count=len(records)))]
