"""Watches one attempt's command to its end: what it prints, how long it takes, and whether it has to end.

Waits on the process, its two pipes and the signal to stop at once, in the thread that calls, without polling. When the command has
ended, so have all that it left; nothing of theirs is waited for.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from dataclasses import dataclass

from wherry.model.job import TIME_IS_UP, JobState
from wherry.run.sweep_launch import Begun
from wherry.run.sweep_streams import PIECE, KeptStream
from wherry.store.posix import open_process

GRACE = 10.0
Streams = tuple[KeptStream, KeptStream]  # stdout and stderr


class StopSign:
    """Told once, seen by every thread that waits: `handle` can be read from then on."""

    def __init__(self) -> None:
        self.handle, self._writing = os.pipe()
        self.given = False

    def give(self) -> None:
        """May be called by a signal's handler."""
        self.given = True
        os.write(self._writing, b"x")

    def wait(self, seconds: float) -> bool:
        """Wait for it for a while; whether it was given."""
        return bool(select.select([self.handle], [], [], max(0.0, seconds))[0])

    def close(self) -> None:
        os.close(self.handle)
        os.close(self._writing)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEnd:
    """How an attempt ended. CANCELLED is one that was ended because of the stop sign."""

    state: JobState
    exit_code: int
    seconds: float


def watch_attempt(begun: Begun, streams: Streams, stop: StopSign, seconds: float | None, grace: float = GRACE) -> WatchEnd:
    """Watch a command to its end. It is asked to end when its time is up or `stop` was given, and ended after `grace` seconds."""
    began = time.monotonic()
    watch = _Watch(begun, streams)
    try:
        state = _wait(watch, stop, began, seconds, grace)
    finally:
        _finish(begun, watch)
    code = begun.read_code(begun.process.returncode)
    spent = time.monotonic() - began
    if state is not None:
        return WatchEnd(state=state, exit_code=TIME_IS_UP if state is JobState.TIMED_OUT else code, seconds=spent)
    return WatchEnd(state=JobState.FAILED if code else JobState.SUCCEEDED, exit_code=code, seconds=spent)


def _finish(begun: Begun, watch: _Watch) -> None:
    """Nothing of the attempt is left after this, also where ending it, or keeping its last words, fails."""
    try:
        begun.end()
    finally:
        begun.process.kill()
        begun.process.wait()
        try:
            watch.drain()
        finally:
            watch.close()


def _wait(watch: _Watch, stop: StopSign, began: float, seconds: float | None, grace: float) -> JobState | None:
    """None: the command ended by itself. One that hears the request and succeeds has still not done what it was to do."""
    limit = None if seconds is None else began + seconds
    if watch.until(limit, stop.handle):
        return None
    state = JobState.CANCELLED if stop.given else JobState.TIMED_OUT
    watch.begun.ask()
    watch.until(time.monotonic() + grace, None)
    return state


class _Watch:
    def __init__(self, begun: Begun, streams: Streams) -> None:
        self.begun = begun
        out, err = begun.process.stdout, begun.process.stderr
        assert out is not None and err is not None  # noqa: S101, PT018
        self._ends = dict(zip((out.fileno(), err.fileno()), streams, strict=True))
        self._pipes = (out, err)
        self._process = open_process(begun.process.pid)
        self._poll = select.poll()
        for handle in (*self._ends, self._process):
            self._poll.register(handle, select.POLLIN)
        for handle in self._ends:
            os.set_blocking(handle, False)

    def until(self, limit: float | None, sign: int | None) -> bool:
        """Take what is printed until the process has ended; False when the time or the sign came first."""
        if sign is not None:
            self._poll.register(sign, select.POLLIN)
        try:
            while True:
                patience = None if limit is None else max(0.0, limit - time.monotonic())
                ready = [handle for handle, _ in self._poll.poll(None if patience is None else patience * 1000)]
                if self._process in ready:
                    return True
                if sign in ready or (not ready and patience is not None):
                    return False
                for handle in ready:
                    self._take(handle)
        finally:
            if sign is not None:
                self._poll.unregister(sign)

    def _take(self, handle: int) -> None:
        data = os.read(handle, PIECE)
        if data:
            self._ends[handle].take(data)
        else:
            self._poll.unregister(handle)

    def drain(self) -> None:
        """Take what lies in the pipes; a process that has left the group and holds one open is not waited for."""
        for handle, stream in self._ends.items():
            with suppress(BlockingIOError):
                while data := os.read(handle, PIECE):
                    stream.take(data)

    def close(self) -> None:
        for stream in self._ends.values():
            stream.close()
        for pipe in self._pipes:
            pipe.close()
        os.close(self._process)
