"""Tasks: each a process of ours that outlives whoever began it, watches one command, and says in a file how it ended.

A task's folder has ``lock``, held by the supervisor from before it exists until its end, however it ends; ``begun.json``, with its
process number; ``stdout`` and ``stderr``; ``cancelled``, if somebody asked for its end; and at last ``end.json``.
So whoever looks knows: an end, or a held lock, or a task that is lost. No process is believed to run because a file says so.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from wherry.errors import WherryError
from wherry.model.job import TIME_IS_UP, JobState, TaskEnd
from wherry.run.port import TaskLogs
from wherry.store.posix import KILL, detach_process, explain_os_errors, lock_handle, set_alarm, write_atomically

_STOPPED = (130, 143)  # what a supervised command gives when our end was asked for
_PATIENCE = 10.0
_TICK = 0.02


def task_folder(job_folder: str | Path, index: int) -> Path:
    return Path(job_folder) / "tasks" / str(index)


def list_tasks(job_folder: str | Path) -> tuple[int, ...]:
    """The indices of the tasks that were begun."""
    tasks = Path(job_folder) / "tasks"
    return tuple(sorted(int(place.name) for place in tasks.iterdir() if place.name.isdigit())) if tasks.is_dir() else ()


def find_logs(job_folder: str | Path, index: int) -> TaskLogs:
    folder = task_folder(job_folder, index)
    return TaskLogs(stdout=folder / "stdout", stderr=folder / "stderr")


def start_task(
    folder: Path,
    work: Callable[[], int],
    then: Callable[[], None],
    *,
    seconds: float | None,
    stdin: bool,
) -> None:
    """Begin a task. `work` runs the command to its end, with our stdout and stderr; while it does, SIGTERM is its to handle.

    `then` is told when ``end.json`` is there. Both are called in the supervisor.
    """
    with explain_os_errors(folder):
        folder.mkdir(parents=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        lock_handle(handle, exclusive=True, wait=True)
        sys.stdout.flush()
        sys.stderr.flush()
        if detach_process() == 0:
            _supervise(folder, work, then, seconds, stdin)
    finally:
        os.close(handle)


def _supervise(folder: Path, work: Callable[[], int], then: Callable[[], None], seconds: float | None, stdin: bool) -> None:
    """The whole life of the supervisor; never returns."""
    try:
        signal.signal(signal.SIGTERM, _keep_signal)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _redirect(folder, stdin)
        write_atomically(folder / "begun.json", json.dumps({"pid": os.getpid()}).encode())  # from here on others may signal us
        end = _watch(folder, work, seconds)
        write_end(folder, end)
        then()
    except BaseException:  # noqa: BLE001 - nobody is above us, and the file that we write to is the task's own
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(0)


def _redirect(folder: Path, stdin: bool) -> None:
    """Our streams become the task's files; what the command reads is our stdin or nothing."""
    places = {1: folder / "stdout", 2: folder / "stderr"}
    for number, place in places.items():
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    if not stdin:
        handle = os.open(os.devnull, os.O_RDONLY)
        os.dup2(handle, 0)
        os.close(handle)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)


def _watch(folder: Path, work: Callable[[], int], seconds: float | None) -> TaskEnd:
    late: list[bool] = []

    def ring() -> None:
        late.append(True)
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        if seconds is not None:
            set_alarm(seconds, ring)
        code = work()
    except WherryError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it comes too late to matter
    sys.stderr.flush()
    return _judge(code, late=bool(late), cancelled=(folder / "cancelled").exists())


def _keep_signal(number: int, _frame: object) -> None:
    """SIGTERM before the command is watched: handed on to whoever watches it then. Ending now might leave a half-started one."""

    def hand_on() -> None:
        while signal.getsignal(number) is _keep_signal:
            time.sleep(_TICK)
        os.kill(os.getpid(), number)

    threading.Thread(target=hand_on, daemon=True).start()


def _judge(code: int, *, late: bool, cancelled: bool) -> TaskEnd:
    state = JobState.FAILED if code else JobState.SUCCEEDED
    if late and code in _STOPPED:
        state, code = JobState.TIMED_OUT, TIME_IS_UP
    elif cancelled and code in _STOPPED:
        state = JobState.CANCELLED
    return TaskEnd(state=state, exit_code=code, ended=time.time())


def write_end(folder: Path, end: TaskEnd) -> None:
    value = {"state": end.state.value, "exit_code": end.exit_code, "ended": end.ended}
    write_atomically(folder / "end.json", json.dumps(value).encode())


def read_end(folder: Path) -> TaskEnd:
    """How far a task is."""
    end = _read_written_end(folder)
    if end is None and not is_held(folder / "lock"):
        # Between the two looks it may have come to its end.
        end = _read_written_end(folder) or TaskEnd(state=JobState.LOST)
    return end or TaskEnd(state=JobState.RUNNING)


def _read_written_end(folder: Path) -> TaskEnd | None:
    try:
        value = json.loads((folder / "end.json").read_bytes())
        return TaskEnd(state=JobState(value["state"]), exit_code=value["exit_code"], ended=value["ended"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_held(lock: Path) -> bool:
    """Whether a process holds this lock."""
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not lock_handle(handle, exclusive=False, wait=False)
    finally:
        os.close(handle)


def stop_task(folder: Path, grace: float, clear: Callable[[], None]) -> None:
    """Ask a task to end; end it after `grace` seconds. What a dead supervisor left is ended with `clear`."""
    if _read_written_end(folder) is not None:
        return
    (folder / "cancelled").touch()
    if grace > 0 and _ask_to_end(folder) and _wait_for_end(folder, grace):
        return
    # A second one ends the command at once.
    if _ask_to_end(folder) and (_wait_for_end(folder, 1.0) or (_ask_to_end(folder) and _wait_for_end(folder, _PATIENCE))):
        return
    _signal_supervisor(folder, KILL)
    clear()


def _ask_to_end(folder: Path) -> bool:
    return _signal_supervisor(folder, signal.SIGTERM)


def _signal_supervisor(folder: Path, number: signal.Signals) -> bool:
    """Signal the supervisor, if it lives: its number may be another process's when the lock is free."""
    end = time.monotonic() + _PATIENCE
    while is_held(folder / "lock"):
        try:
            os.kill(int(json.loads((folder / "begun.json").read_bytes())["pid"]), number)
        except ProcessLookupError:
            return False
        except (OSError, ValueError, KeyError, TypeError):
            if time.monotonic() > end:
                return False
            time.sleep(_TICK)
        else:
            return True
    return False


def _wait_for_end(folder: Path, patience: float) -> bool:
    end = time.monotonic() + patience
    while not read_end(folder).state.is_final:
        if time.monotonic() > end:
            return False
        time.sleep(_TICK)
    return True
