"""Runs a sweep's tasks in a long-lived process: takes them one by one from the store, runs some at once, commits their ends.

Rules (docs/explanation/batch.md): a task is taken by a conditional put, so that of many workers one has it; what an attempt leaves
lies below its own number; its end counts when `_DONE` could be put, and never otherwise. Exit 75 is tried again, other failures as
often as `retries` says. Trouble of this machine (an image that is missing, a full disk) fails no task: the worker takes no more,
says why, and others take over what it had.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from wherry.engines.sandbox_process import end_processes
from wherry.errors import StoreError, WherryError
from wherry.model.job import Job, JobState
from wherry.model.sweep import Beat, Lease, SweepSpec, TakenInput, TaskDone
from wherry.run.sweep_claims import Claims, keep_numbers, may_try_again, pause_before
from wherry.run.sweep_inputs import Brought, TaskInputs
from wherry.run.sweep_launch import Attempt, CommandError, Launcher
from wherry.run.sweep_pulse import Pulse
from wherry.run.sweep_results import STDERR, STDOUT, send_metrics, send_outputs, send_streams
from wherry.run.sweep_state import SweepState
from wherry.run.sweep_streams import KeptStream
from wherry.run.sweep_watch import GRACE, StopSign, Streams, WatchEnd, watch_attempt
from wherry.run.variables import METRICS, OUTPUTS
from wherry.store.posix import explain_os_errors

_STILL = 3  # beats that may fail to come
_LITTLE = 1 << 20  # bytes free on a disk that is full


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a worker works. `worker` is its name, unique; `round` the job it is of; `scratch` its own folder; `share` which worker
    of how many it is."""

    worker: str
    host: str
    round: str = ""
    scratch: Path
    slots: int
    share: tuple[int, int] = (0, 1)
    grace: float = GRACE

    def describe(self) -> Beat:
        """A sign of life of a worker that has nothing in hand."""
        return Beat(worker=self.worker, host=self.host, round=self.round, number=0, slots=self.slots, spent=0.0)


def run_tasks(
    state: SweepState,
    spec: SweepSpec,
    indices: Iterable[int],
    launcher: Launcher,
    place: Place,
    stop: StopSign,
    inputs: TaskInputs | None = None,
) -> Beat:
    """Run those of the tasks that nobody has run or runs now; how the worker was in the end.

    Returns when none is left for this worker, or after `stop` was given. Trouble of this machine is raised, after its last beat.
    `inputs` brings what a sweep with inputs has declared.
    """
    pulse = Pulse(state, spec, place.describe(), stop)
    with pulse.beating():
        claims = Claims(state, place.worker, indices, stop, _STILL * spec.beat, place.share)
        worker = _Worker(state, spec, launcher, place, pulse, stop, inputs)
        # Twice as many as slots: while what one command left is sent and committed, its slot has the next command.
        threads = [threading.Thread(target=worker.work, args=(claims,), name=f"slot-{number}") for number in range(2 * place.slots)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        end_processes(f"WHERRY_WORKER={place.worker}")
        if inputs is not None:
            inputs.close()
    if pulse.trouble is not None:
        raise pulse.trouble
    return pulse.tell()


class _Worker:
    """What the slots of a worker share."""

    def __init__(
        self,
        state: SweepState,
        spec: SweepSpec,
        launcher: Launcher,
        place: Place,
        pulse: Pulse,
        stop: StopSign,
        inputs: TaskInputs | None,
    ) -> None:
        self._state = state
        self._spec = spec
        self._launcher = launcher
        self._place = place
        self._pulse = pulse
        self._stop = stop
        self._inputs = inputs
        self._slots = threading.BoundedSemaphore(place.slots)

    def work(self, claims: Claims) -> None:
        """Take tasks and carry them to their ends, each in a slot for as long as its command runs."""
        lease: Lease | None = None
        try:
            while not self._stop.given and self._pulse.trouble is None:
                with ExitStack() as slot:
                    slot.enter_context(self._slots)
                    lease = lease or claims.next()
                    if lease is None:
                        return
                    lease = self._attempt(lease, slot.close)
        except WherryError as error:
            self._pulse.trouble = self._pulse.trouble or error
        except OSError as error:
            trouble = StoreError(error.strerror or str(error), where=str(error.filename or self._place.scratch))
            self._pulse.trouble = self._pulse.trouble or trouble

    def _attempt(self, lease: Lease, leave_slot: Callable[[], None]) -> Lease | None:
        """One attempt; the lease for the next one, if there is to be one."""
        folder = self._place.scratch / f"{lease.task}.{lease.attempt}"
        with explain_os_errors(folder, "free some space where TMPDIR is"):
            for name in (OUTPUTS, METRICS):
                (folder / name).mkdir(parents=True, mode=0o700)
        streams = (KeptStream(folder / STDOUT, self._spec.log_cap), KeptStream(folder / STDERR, self._spec.log_cap))
        self._pulse.begin(lease, streams)
        try:
            end, taken = self._watch(lease, folder, streams)
            if end.state is JobState.FAILED:
                self._refuse_full_disk()
            leave_slot()
            return self._conclude(lease, folder, streams, end, taken)
        finally:
            self._pulse.finish(lease)
            if self._inputs is not None:
                self._inputs.drop(lease.task, lease.attempt)
            shutil.rmtree(folder, ignore_errors=True)

    def _watch(self, lease: Lease, folder: Path, streams: Streams) -> tuple[WatchEnd, tuple[TakenInput, ...]]:
        """How the attempt ended, and the inputs that it had."""
        job = self.job_of(lease)
        try:
            brought = self._inputs.bring(lease.task, lease.attempt) if self._inputs is not None else Brought()
            if brought is None:
                return WatchEnd(state=JobState.CANCELLED, exit_code=-1, seconds=0.0), ()
            begun = self._launcher.begin(
                Attempt(job=job, index=lease.task, number=lease.attempt, folder=folder, inputs=brought.folder)
            )
        except CommandError as error:
            streams[1].take(f"{error}\n".encode())
            streams[1].close()
            return WatchEnd(state=JobState.FAILED, exit_code=error.code, seconds=0.0), ()
        with explain_os_errors(folder, "free some space where TMPDIR is"):
            return watch_attempt(begun, streams, self._stop, job.limits.seconds, self._place.grace), brought.taken

    def job_of(self, lease: Lease) -> Job:
        """The task as a job."""
        sweep = self._spec.sweep
        return Job(
            id=self._spec.id,
            root=self._spec.root,
            folder=str(self._place.scratch),
            command=sweep.command_of(lease.task),
            limits=sweep.limits,
            env=(*sweep.env, ("WHERRY_WORKER", self._place.worker)),
            data=sweep.data,
        )

    def _refuse_full_disk(self) -> None:
        if shutil.disk_usage(self._place.scratch).free < _LITTLE:
            raise StoreError("the disk is full", where=str(self._place.scratch), hint="free some space where TMPDIR is")

    def _conclude(self, lease: Lease, folder: Path, streams: Streams, end: WatchEnd, taken: tuple[TakenInput, ...]) -> Lease | None:
        send_streams(self._state, lease, streams)
        metrics = send_metrics(self._state, lease, folder / METRICS / f"{lease.task}.jsonl")
        outputs, refused = send_outputs(self._state, lease, folder / OUTPUTS, self._spec.sweep.keep)
        if end.state is JobState.CANCELLED:
            return None  # no end: the task is done by whoever resumes
        if may_try_again(self._spec, lease, end.state, end.exit_code):
            return self._try_again(lease, end)
        done = TaskDone(
            task=lease.task,
            attempt=lease.attempt,
            state=end.state if refused is None or end.state is not JobState.SUCCEEDED else JobState.FAILED,
            exit_code=end.exit_code,
            worker=self._place.worker,
            seconds=round(end.seconds, 3),
            ended=round(time.time(), 3),
            metrics=keep_numbers(metrics),
            told=metrics.parameters,
            outputs=outputs,
            inputs=taken,
            note=refused,
        )
        if self._state.commit(done):
            self._pulse.add(done)
        return None

    def _try_again(self, lease: Lease, end: WatchEnd) -> Lease | None:
        """The next attempt's lease, after a while; None where somebody else has taken the task over."""
        held = self._state.read_lease(lease.task)
        following = replace(lease, attempt=lease.attempt + 1, failures=lease.failures + 1)
        if held is None or held[0] != lease or not self._state.claim(following, held[1]):
            return None
        pause = pause_before(self._spec, lease, end.exit_code)
        return None if self._stop.wait(pause) else following
