"""A few transfers at once. The first that fails stops the others, and Ctrl-C waits for none of them.

Threads are daemons: whoever interrupts is not held up by a connection that stalls.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable

Job = Callable[[], object]
_GRACE = 2.0  # seconds in which workers that were told to stop may clean up


def run_jobs(jobs: Iterable[Job], workers: int, stop: threading.Event) -> None:
    """Do all jobs, `workers` at a time; raises the first error, after setting `stop`, which the jobs look at."""
    todo: queue.SimpleQueue[Job] = queue.SimpleQueue()
    count = 0
    for job in jobs:
        todo.put(job)
        count += 1
    failed: list[BaseException] = []
    threads = [
        threading.Thread(target=_work, args=(todo, failed, stop), name=f"transfer-{number}", daemon=True)
        for number in range(min(workers, count))
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)  # not for ever at once, so that Ctrl-C is seen on every platform
                if failed:
                    break
    except BaseException:
        stop.set()
        raise
    finally:
        if stop.is_set():
            for thread in threads:
                thread.join(_GRACE / len(threads))
    if failed:
        raise failed[0]


def _work(todo: queue.SimpleQueue[Job], failed: list[BaseException], stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            job = todo.get_nowait()
        except queue.Empty:
            return
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, whatever it is
            failed.append(error)
            stop.set()
