"""An update from its first byte to its last: prepare, exchange, watch, keep or take back; and what to do after a power cut.

Preparing changes nothing that counts. Then three moments are written down, each as one file that is replaced as a whole:

    the image goes on trial   from here on a restart tries it again, three times in all
    it is to be taken back    from here on a restart puts the former one back
    it stays, or the former   nothing is pending any more

At every moment the image that is written down as current is in the engine, whole. Only after the last moment is anything
removed. Taking back moves no byte: the former image never left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Protocol

from wherry.agent.containers import Containers
from wherry.agent.health import Verdict, watch_container
from wherry.agent.parcel_source import ParcelSource
from wherry.agent.preparation import BaseUnusable, Preparation
from wherry.agent.processes import Apart
from wherry.agent.settings import AgentSettings
from wherry.agent.state import DeviceState, ImageRecord, Installed, Pending, Phase, StateFolder, describe_found
from wherry.engines.device import DeviceEngine
from wherry.errors import DeviceError, EngineError, WherryError
from wherry.store.posix import explain_os_errors, hold_lock

MAX_TRIES = 3
Say = Callable[[str], None]


class Clock(Protocol):
    """Time as the agent sees it."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class Outcome(Enum):
    """What an update came to. One that was taken back is a `TakenBack` error."""

    UPDATED = "updated"
    SAME = "same"
    WAITING = "waiting"  # the application holds the update lock


class TakenBack(DeviceError):
    """The release was not well; the former one is back."""


class Updater:
    """The updates of one device. Each public call holds the device's lock; a second agent is a `DeviceError`."""

    def __init__(self, settings: AgentSettings, engine: DeviceEngine, apart: Apart, clock: Clock, say: Say) -> None:
        self._settings = settings
        self._engine = engine
        self._clock = clock
        self._say = say
        self._folder = StateFolder(settings.state)
        self._containers = Containers(engine, settings.container, settings.state / "bytecode", apart)
        self._preparation = Preparation(settings, engine, self._folder, self._containers, apart)

    def read_state(self) -> DeviceState:
        return self._folder.read()

    def read_current(self) -> ImageRecord | None:
        """The record of the image that is on."""
        current = self._folder.read().current
        return self._folder.read_record(current.manifest) if current else None

    def read_base(self) -> ImageRecord | None:
        """The record of the image that parcels can start from: the one that is on, unless somebody removed it."""
        state = self._folder.read()
        here = [each for each in (state.current, state.former) if each and not self._is_lost(each)]
        return self._folder.read_record(here[0].manifest) if here else None

    def is_running(self) -> bool:
        """Whether the container is as it should be, as far as the engine says; also while another agent is at work."""
        try:
            current = self.read_current()
            return current is None or self._containers.is_running(current)
        except WherryError:
            return False

    def recover(self) -> None:
        """After a start: end what was begun, and have the container running."""
        with self._hold():
            self._recover()

    def apply(self, source: ParcelSource, *, patience: float = 0.0, again: bool = False) -> Outcome:
        """Update by a parcel. `patience` is how many seconds the update lock is waited for; `again` allows a release that was
        taken back before."""
        with self._hold():
            self._recover_or_mend()
            base = self.read_current()
            arrival = self._preparation.verify(source, base, self._clock.now())
            if arrival.expired_for:
                self._say(f"the channel's timestamp expired {arrival.expired_for} ago; this device allows that")
            image, state = arrival.record.installed, self._folder.read()
            lost = state.current is not None and self._is_lost(state.current)
            if state.current and state.current.manifest == image.manifest and not lost:
                if state.current != image:
                    self._folder.write(replace(state, current=image))
                self._tidy()
                return Outcome.SAME
            refusal = state.find_refusal(image)
            if refusal and not again:
                raise TakenBack(f"release {image.release} was taken back before: {refusal.reason}", hint="release it anew")
            self._say(f"release {image.release}: preparing")
            if lost and not arrival.is_full:
                what = f"{self._engine.name} has not the image any more that this parcel starts from"
                raise BaseUnusable(what, hint="the full parcel")
            record = self._preparation.bring(source, arrival, None if lost else base)
            self._containers.prepare(record)
            return self._exchange(record, patience)

    def roll_back(self, *, patience: float = 0.0) -> Outcome:
        """Put the former image back, by the operator's wish: without a byte on the link. The release is not tried again."""
        with self._hold():
            self._recover()
            state = self._folder.read()
            if state.former is None or state.current is None:
                raise DeviceError("there is no former image on this device")
            left = state.current
            record = self._folder.read_record(state.former.manifest)
            if not self._engine.has(self._containers.name_image(record)):
                raise DeviceError(f"{self._engine.name} has not the former image any more", hint="release it anew")
            outcome = self._exchange(record, patience)
            if outcome is Outcome.UPDATED:
                self._folder.write(self._folder.read().refuse(left, "rolled back by the operator"))
            return outcome

    def adopt(self, manifest: bytes, config: bytes) -> ImageRecord:
        """Begin with an image that the engine has already: parcels start from it, and its container is started anew as ours."""
        with self._hold():
            if self._folder.read().current:
                raise DeviceError("this device has an image already", hint="wherry-agent status")
            record = describe_found(manifest, config)
            if record.target.platform != self._settings.platform:
                raise DeviceError(f"the image is for {record.target.platform}, this device is {self._settings.platform}")
            image = self._containers.name_image(record)
            if not self._engine.has(image):
                raise DeviceError(f"{self._engine.name} has no image {image.image_id}", hint=f"pull it, or tag it {image.name}")
            self._folder.write_record(record)
            self._containers.ensure_running(record)
            self._folder.write(replace(self._folder.read(), current=record.installed))
            return record

    # -- the exchange

    def _exchange(self, record: ImageRecord, patience: float) -> Outcome:
        with self._hold_application(patience) as held:
            if not held:
                self._say("the application holds the update lock: the update waits")
                return Outcome.WAITING
            self._folder.write(replace(self._folder.read(), pending=Pending(image=record.installed, phase=Phase.TRIAL)))
            self._say(f"release {record.target.release}: on trial")
            try:
                self._containers.exchange(record)
            except EngineError as error:
                self._conclude(self._judge_failure(error))
                return Outcome.UPDATED
        self._conclude(self._watch(record))
        return Outcome.UPDATED

    def _watch(self, record: ImageRecord) -> Verdict:
        health = self._settings.update.health or record.target.health
        try:
            return watch_container(self._engine, self._settings.container, health, self._clock)
        except EngineError as error:
            return self._judge_failure(error)

    def _judge_failure(self, error: EngineError) -> Verdict:
        """An image that cannot be started is not well; an engine that does not answer says nothing about the image."""
        if not self._engine.probe().usable:
            raise error
        return Verdict(well=False, reason=error.what)

    def _conclude(self, verdict: Verdict) -> None:
        state = self._folder.read()
        pending = _demand_pending(state)
        if verdict.well:
            former = state.current if state.current and state.current.manifest != pending.image.manifest else state.former
            self._folder.write(replace(state, current=pending.image, former=former, pending=None))
            self._say(f"release {pending.image.release}: kept")
            self._tidy()
            return
        self._folder.write(replace(state, pending=replace(pending, phase=Phase.RETURN, reason=verdict.reason)))
        self._take_back()
        raise TakenBack(f"release {pending.image.release} was taken back: {verdict.reason}")

    def _take_back(self) -> None:
        state = self._folder.read()
        pending = _demand_pending(state)
        self._say(f"release {pending.image.release}: not well ({pending.reason}); the former one comes back")
        if state.current and not self._is_lost(state.current):
            self._containers.ensure_running(self._folder.read_record(state.current.manifest))
        else:
            self._containers.remove()
        self._folder.write(replace(state, pending=None).refuse(pending.image, pending.reason))
        self._tidy()

    # -- after a restart

    def _recover(self) -> None:
        state = self._folder.read()
        if state.pending is None:
            if state.current:
                self._keep_running(state, state.current)
        elif state.pending.phase is Phase.RETURN:
            self._take_back()
        else:
            self._try_again(state, state.pending)

    def _recover_or_mend(self) -> None:
        """Recover; an image that somebody removed from the engine is no hindrance to one that comes."""
        try:
            self._recover()
        except EngineError as error:
            state = self._folder.read()
            if state.pending or not state.current or not self._is_lost(state.current):
                raise
            self._say(error.what)

    def _is_lost(self, image: Installed) -> bool:
        """Whether an engine that answers has this image no longer."""
        record = self._folder.read_record(image.manifest)
        return not self._engine.has(self._containers.name_image(record)) and self._engine.probe().usable

    def _keep_running(self, state: DeviceState, current: Installed) -> None:
        try:
            if self._containers.ensure_running(self._folder.read_record(current.manifest)):
                self._say(f"release {current.release}: started")
        except WherryError as error:
            if state.former is None or not self._engine.probe().usable:
                raise
            # Nothing that we do leads here; an image that somebody removed does.
            self._say(f"release {current.release} cannot be started: {error.what}")
            reason = f"it could not be started any more: {error.what}"
            self._containers.ensure_running(self._folder.read_record(state.former.manifest))
            after = replace(state, current=state.former, former=None)
            self._folder.write(after if self._is_lost(current) else after.refuse(current, reason))

    def _try_again(self, state: DeviceState, pending: Pending) -> None:
        info = self._engine.probe()
        if not info.usable:
            raise EngineError(f"{info.name} is not usable: {info.reason}", hint=info.hint or None)
        try:
            if pending.tries >= MAX_TRIES:
                self._conclude(Verdict(well=False, reason=f"its trial was interrupted {pending.tries} times"))
                return
            self._folder.write(replace(state, pending=replace(pending, tries=pending.tries + 1)))
            self._conclude(self._start_trial(pending))
        except TakenBack as error:
            self._say(error.what)

    def _start_trial(self, pending: Pending) -> Verdict:
        record = self._folder.read_record(pending.image.manifest)
        try:
            self._containers.ensure_running(record)
        except EngineError as error:
            return self._judge_failure(error)
        return self._watch(record)

    # -- order in the house

    def _tidy(self) -> None:
        """Remove what nothing names any more. Interrupted, it is done again at the next update's end; so is an image that
        somebody still uses."""
        state = self._folder.read()
        records: Mapping[bool, list[ImageRecord]] = {True: [], False: []}
        for manifest in self._folder.list_records():
            records[manifest in state.named].append(self._folder.read_record(manifest))
        kept = {self._containers.name_image(record).image_id for record in records[True]}
        for record in records[False]:
            image = self._containers.name_image(record)
            if image.image_id not in kept:
                try:
                    self._engine.remove_image(image)
                except EngineError as error:
                    self._say(f"{image.name} stays for now: {error.what}")
                    continue
            self._folder.remove_record(record.target.manifest)
        self._containers.forget_caches(records[True])
        self._preparation.spool.clear()
        self._folder.tidy()

    @contextmanager
    def _hold(self) -> Iterator[None]:
        path: Path = self._settings.state
        with explain_os_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        with hold_lock(path / "lock", exclusive=True, wait=False) as held:
            if not held:
                raise DeviceError("another agent is at work on this device", where=str(path))
            yield

    @contextmanager
    def _hold_application(self, patience: float) -> Iterator[bool]:
        """Hold the file that the application holds while it must not be stopped; False if it does not let go in time."""
        path = self._settings.update.lock
        end = self._clock.monotonic() + patience
        while True:
            with hold_lock(path, exclusive=True, wait=False) if path else nullcontext(True) as held:
                if held or self._clock.monotonic() >= end:
                    yield held
                    return
            self._clock.sleep(1.0)


class SystemClock:
    """This machine's time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def _demand_pending(state: DeviceState) -> Pending:
    if state.pending is None:
        raise DeviceError("no update is pending")
    return state.pending
