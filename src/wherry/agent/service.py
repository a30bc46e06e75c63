"""The agent that is always there: looks for news at its times, updates, and has the container running.

One poll is one conditional request. What came is kept until it was dealt with, across restarts, so nothing is fetched twice. A
parcel that this device cannot use as its image is gone or altered is given up for the full one, within the budget.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from wherry.agent.parcel_source import open_parcel_file
from wherry.agent.preparation import BaseUnusable
from wherry.agent.processes import Apart, work_apart
from wherry.agent.settings import AgentSettings
from wherry.agent.update import Outcome, Say, Updater
from wherry.agent.windows import next_opening
from wherry.errors import DeviceError, EngineError, StoreError, TransferError, WherryError
from wherry.model.digest import Digest
from wherry.model.release import locate_parcel
from wherry.store.posix import write_hint

_TICK = 10.0  # seconds between looks at the container
_SOON, _DOUBLED = 900.0, 16  # seconds until the next attempt after one that the link or the engine stopped; how often doubled
_POLLED = "polled"


class Service:
    """The work of one device, around its `Updater`."""

    def __init__(self, settings: AgentSettings, updater: Updater, apart: Apart, say: Say) -> None:
        self._settings = settings
        self._updater = updater
        self._apart = apart
        self._say = say

    def update_once(self, *, patience: float = 0.0) -> Outcome:
        """Look for news and take them. Raises what stops it; what came over the link is then still there."""
        record = self._updater.read_base()
        base = record.target.manifest if record else None
        try:
            return self._take_news(base, patience)
        except BaseUnusable as error:
            place = f" ({error.where})" if error.where else ""
            self._say(f"{error.what}{place}; the full parcel is fetched")
            return self._take_news(None, patience)

    def run(self, stop: threading.Event) -> None:
        """Go on until `stop` is set."""
        self._attempt("after the start", self._updater.recover)
        due, failures = self._next_poll(), 0
        while not stop.wait(min(_TICK, max(0.0, due - time.monotonic()))):
            if time.monotonic() >= due:
                write_hint(self._settings.state / _POLLED, str(int(time.time())).encode())
                failures = 0 if self._attempt("update", self.update_once) else failures + 1
                due = time.monotonic() + self._pause(failures)
            elif not self._updater.is_running():
                self._attempt("container", self._updater.recover)

    def _take_news(self, base: Digest | None, patience: float) -> Outcome:
        if _is_folder(self._settings.channel.url):
            return self._take_from_folder(base, patience)
        place = work_apart(self._apart, "fetch_news", self._settings, base)
        if place is None:
            self._updater.recover()
            return Outcome.SAME
        try:
            outcome = self._apply(Path(place), patience)
        except (EngineError, StoreError):
            raise  # not the parcel's fault: it is tried again
        except WherryError:
            self._settle()
            raise
        if outcome is not Outcome.WAITING:
            self._settle()
        return outcome

    def _settle(self) -> None:
        work_apart(self._apart, "settle_news", self._settings, self._updater.read_base() is not None)

    def _take_from_folder(self, base: Digest | None, patience: float) -> Outcome:
        folder = Path(self._settings.channel.url.removeprefix("file://"))
        places = [folder / locate_parcel(self._settings.platform, one) for one in (base, None)]
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise DeviceError("no parcel for this device", where=str(folder), hint="wherry channel check")
        return self._apply(place, patience)

    def _apply(self, place: Path, patience: float) -> Outcome:
        with open_parcel_file(place) as source:
            return self._updater.apply(source, patience=patience)

    def _attempt(self, what: str, work: Callable[[], object]) -> bool:
        """Do it; False if another attempt soon may help."""
        try:
            outcome = work()
        except (TransferError, EngineError, StoreError) as error:
            self._say(f"{what}: {error}")
            return False
        except WherryError as error:
            self._say(f"{what}: {error}")
            return True
        return outcome is not Outcome.WAITING

    def _next_poll(self) -> float:
        """When the next poll is due, by the monotonic clock: a restart is no reason for one."""
        try:
            passed = time.time() - int((self._settings.state / _POLLED).read_bytes())
        except (OSError, ValueError):
            return time.monotonic()
        left = max(0.0, self._settings.channel.poll.total_seconds() - passed) if passed >= 0 else 0.0
        return time.monotonic() + self._shorten(left)

    def _pause(self, failures: int) -> float:
        """Seconds to the next poll: after failures fewer, but twice as many each time, as each costs a handshake."""
        period = self._settings.channel.poll.total_seconds()
        return self._shorten(min(period, _SOON * 2.0 ** min(failures - 1, _DOUBLED)) if failures else period)

    def _shorten(self, pause: float) -> float:
        """A pause that begins outside of all windows ends when one opens, or no poll might ever fall into one."""
        now = datetime.now().astimezone()
        opening = (next_opening(self._settings.budget.windows, now) - now).total_seconds()
        return min(pause, opening) if opening > 0 else pause


def _is_folder(url: str) -> bool:
    return url.startswith(("/", "file://"))
