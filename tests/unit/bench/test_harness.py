"""The harness sees whole process trees, and says why something was not measured."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from bench.harness import NotMeasured, Run, descend, run_process

_HOLD = "import time; held = bytearray(64 << 20); held[::4096] = b'x' * len(held[::4096]); time.sleep(0.5)"
_WAIT = "import time; time.sleep(0.6)"


def test_memory_of_a_grandchild_counts() -> None:
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_HOLD!r}], check=True)"
    assert run_process([sys.executable, "-c", parent], memory=True).peak > 64 << 20


def test_pages_that_processes_share_count_once() -> None:
    fork = f"import os; held = bytearray(64 << 20); held[::4096] = b'x' * len(held[::4096]); [os.fork() for _ in range(2)]; {_WAIT}"
    assert 64 << 20 < run_process([sys.executable, "-c", fork], memory=True, shared_once=True).peak < 128 << 20


def test_memory_of_a_daemon_beside_counts() -> None:
    ready = _HOLD.replace("time.sleep(0.5)", "print(1, flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", ready], stdout=subprocess.PIPE) as daemon:
        try:
            assert daemon.stdout is not None
            daemon.stdout.readline()
            run = run_process([sys.executable, "-c", "import time; time.sleep(0.3)"], memory=True, beside=(daemon.pid,))
        finally:
            daemon.kill()
    assert run.peak > 64 << 20


def test_a_failed_command_is_not_measured_and_its_last_words_are_kept() -> None:
    with pytest.raises(NotMeasured, match=r"ended with 3: no luck"):
        run_process([sys.executable, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"])


def test_a_missing_program_is_not_measured() -> None:
    with pytest.raises(NotMeasured, match="does not start"):
        run_process(["no-such-program-anywhere"])


def test_steps_add_up() -> None:
    assert Run(seconds=1.0, peak=5) + Run(seconds=2.0, peak=3) == Run(seconds=3.0, peak=5)


def test_a_process_that_is_gone_has_no_children() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert descend(child.pid) == [child.pid]
    assert os.getpid() in descend(os.getpid())
