"""The ledger: every byte that the device moved over its metered link, what that is billed, and what may still be moved.

One file a month, `YYYY-MM.jsonl`, only ever appended to; each line carries its own checksum, so that a line torn by a power cut is
known and passed over. Bytes are written down *before* they move, 64 KiB or a sixteenth at a time, and settled when the session
ends: after a crash the ledger says a little too much, never too little. The budget is of billed bytes, rounded as the tariff rounds
each session; what would exceed it is not begun, and a transfer that turns out longer than announced is stopped. A month begins at
midnight UTC of its first day. `now` is the caller's clock, which must not fall below the newest signed time: a clock at 1970 opens
no new month.
"""

from __future__ import annotations

import json
import os
import secrets
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from wherry.agent.windows import Window, is_open, next_opening
from wherry.errors import BudgetError, DeviceError
from wherry.model.tariff import Tariff, bill_session, flat_tariff, price_volume
from wherry.model.traffic import Traffic, estimate_wire
from wherry.store.posix import explain_os_errors, sync_folder

FIRST = 28 << 10  # bytes written down before a session begins, and
STEP = 64 << 10  # later on, as soon as fewer than
MARGIN = 20 << 10  # of what is written down are left; of a long transfer
SHARE = 16  # one part in so many of what has moved, so that a large one does not write a line every second
KEPT_MONTHS = 13


class OutsideWindow(DeviceError):
    """No time window is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """`budget` is in billed bytes a month; None: no limit."""

    budget: int | None = None
    tariff: Tariff = field(default_factory=flat_tariff)
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """What a month's file says. `wire` is with the headers of packets; `open_sessions` ended in a crash and are counted in full."""

    name: str
    sent: int
    received: int
    wire: int
    billed: int
    amount: Decimal
    currency: str
    sessions: int
    open_sessions: int
    damaged: int
    budget: int | None

    @property
    def left(self) -> int | None:
        return None if self.budget is None else max(0, self.budget - self.billed)


class Ledger:
    """The folder of a device's months. One process writes at a time; the agent's lock sees to that."""

    def __init__(self, folder: Path, rules: Rules, now: Callable[[], float]) -> None:
        self._folder, self.rules, self._now = folder, rules, now

    def read_month(self, name: str | None = None) -> Month:
        """The month of now, or ``YYYY-MM``."""
        name = name or self._month()
        sessions, damaged = self._read_sessions(name)
        tariff = self.rules.tariff
        billed = sum(bill_session(entry["wire"], tariff) for entry in sessions.values() if entry["wire"])
        return Month(
            name=name,
            sent=sum(entry.get("sent", 0) for entry in sessions.values()),
            received=sum(entry.get("received", 0) for entry in sessions.values()),
            wire=sum(entry["wire"] for entry in sessions.values()),
            billed=billed,
            amount=price_volume(billed, tariff),
            currency=tariff.currency,
            sessions=sum(entry["wire"] > 0 for entry in sessions.values()),
            open_sessions=sum("sent" not in entry for entry in sessions.values()),
            damaged=damaged,
            budget=self.rules.budget,
        )

    def months(self) -> tuple[str, ...]:
        """The names of the months on record, oldest first."""
        return tuple(sorted(path.stem for path in self._folder.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9].jsonl")))

    @contextmanager
    def open_session(self, what: str) -> Iterator[Session]:
        """What a carrier takes for one session: a poll with its download. `what` stands in the ledger.

        Raises `OutsideWindow`, and `BudgetError` where nothing is left.
        """
        self.ensure_open()
        name = self._month()
        before = self.read_month(name)
        session = Session(self, name, what, before.billed)
        session.ensure_room(1)
        session.note(FIRST)
        try:
            yield session
        finally:
            session.close()

    def ensure_open(self) -> None:
        """Raise `OutsideWindow` while no window is open."""
        moment = datetime.fromtimestamp(self._now(), UTC).astimezone()
        if not is_open(self.rules.windows, moment):
            opens = next_opening(self.rules.windows, moment)
            raise OutsideWindow(f"no time window is open before {opens:%a %H:%M}", where="agent.toml: windows")

    def append(self, month: str, entry: dict[str, Any]) -> None:
        """Add a line, durably. The oldest months go when a new one begins."""
        path = self._folder / f"{month}.jsonl"
        text = json.dumps({"at": int(self._now()), **entry}, separators=(",", ":"))
        line = f"{text} {zlib.crc32(text.encode()):08x}\n".encode()
        with explain_os_errors(path):
            fresh = not path.exists()
            if fresh:
                self._folder.mkdir(parents=True, exist_ok=True)
                for old in self.months()[: 1 - KEPT_MONTHS]:
                    (self._folder / f"{old}.jsonl").unlink()
            handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(handle).st_size
                torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
                os.write(handle, b"\n" * torn + line)
                os.fdatasync(handle)
            finally:
                os.close(handle)
            if fresh:
                sync_folder(self._folder)

    def _month(self) -> str:
        return datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m")

    def _read_sessions(self, month: str) -> tuple[dict[str, dict[str, Any]], int]:
        """The last line of each session, and how many lines are damaged."""
        path = self._folder / f"{month}.jsonl"
        sessions: dict[str, dict[str, Any]] = {}
        damaged = 0
        with explain_os_errors(path):
            lines = path.read_bytes().splitlines() if path.exists() else []
        for line in lines:
            entry = _parse_line(line)
            if entry is not None:
                sessions[entry["session"]] = entry
            elif line:
                damaged += 1
        return sessions, damaged


class Session:
    """The account of the connections of one session: of `billed` bytes before it, so many are allowed after."""

    def __init__(self, ledger: Ledger, month: str, what: str, billed: int) -> None:
        self._ledger, self._month, self._what, self._billed = ledger, month, what, billed
        self._name = secrets.token_hex(4)
        self._settled: list[Traffic] = []
        self._sent = self._received = 0  # of the connections that are open
        self._noted = 0

    @property
    def sent(self) -> int:
        return self._sent + sum(traffic.sent for traffic in self._settled)

    @property
    def received(self) -> int:
        return self._received + sum(traffic.received for traffic in self._settled)

    @property
    def wire(self) -> int:
        """What has moved, with headers: counted for connections that ended, estimated for those that are open."""
        running = estimate_wire(self._sent, self._received) if self._sent + self._received else 0
        return running + sum(traffic.wire_bytes for traffic in self._settled)

    def ensure_room(self, more: int) -> None:
        """Raise `BudgetError` unless so many more bytes, headers included, stay within the month's budget."""
        rules = self._ledger.rules
        if rules.budget is None:
            return
        after = self._billed + bill_session(self.wire + more, rules.tariff)
        if after > rules.budget:
            left = max(0, rules.budget - self._billed - bill_session(self.wire, rules.tariff) * bool(self.wire))
            needs = f"this needs {more} bytes more, and " if more else ""
            raise BudgetError(
                f"{needs}of the month's {rules.budget} billed bytes {left} are left",
                where=f"ledger {self._month}",
                hint="wait for the next month, or raise the budget in agent.toml",
            )

    def count(self, sent: int, received: int) -> None:
        """Bytes that just passed the socket; writes down ahead, and stops what exceeds the budget or outlasts the window."""
        self._sent += sent
        self._received += received
        self.ensure_room(0)
        if self.wire + MARGIN > self._noted:
            self._ledger.ensure_open()
            self.note(max(STEP, self.wire // SHARE))

    def note(self, ahead: int) -> None:
        """Write down what has moved and so much more."""
        self._noted = self.wire + ahead
        self._ledger.append(self._month, {"session": self._name, "what": self._what, "wire": self._noted})

    def settle(self, traffic: Traffic) -> None:
        """A connection ended."""
        self._sent -= traffic.sent
        self._received -= traffic.received
        self._settled.append(traffic)
        self._sent, self._received = max(0, self._sent), max(0, self._received)

    def close(self) -> None:
        """Settle the session: its last line says what it moved."""
        counts = {"wire": self.wire, "sent": self.sent, "received": self.received}
        packets = sum(traffic.packets_out + traffic.packets_in for traffic in self._settled)
        self._ledger.append(self._month, {"session": self._name, "what": self._what, **counts, "packets": packets})


def _parse_line(line: bytes) -> dict[str, Any] | None:
    text, _, checksum = line.rpartition(b" ")
    with suppress(ValueError):
        entry = json.loads(text) if f"{zlib.crc32(text):08x}".encode() == checksum else None
        if isinstance(entry, dict) and isinstance(entry.get("session"), str) and isinstance(entry.get("wire"), int):
            return entry
    return None
