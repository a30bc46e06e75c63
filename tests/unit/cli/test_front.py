"""How the command line ends when somebody ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

AT_WORK = """
import sys, time
from wherry.cli import app, front

def lock():
    try:
        print("at work", flush=True)
        time.sleep(60)
    finally:
        print("cleared away", flush=True)

app.app = lambda **_: lock()
sys.argv = ["wherry", "lock"]
front.main()
"""


def test_sigterm_leaves_nothing_half_done(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", AT_WORK], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30)[0] == "cleared away\n"
    assert process.returncode == 143
