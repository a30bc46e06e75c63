"""How the command line ends when somebody ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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


HOSTILE = os.fsdecode(b"a\n  error  x\x1b[2J\xff.so")


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "en_US.UTF-8"])
def test_names_cannot_steer_the_terminal(tmp_path: Path, locale: str) -> None:
    """A folder's names may be no text, break lines and carry codes; what is printed is text, in lines of ours."""
    site = tmp_path / "env/lib/python3.11/site-packages"
    site.mkdir(parents=True)
    (tmp_path / "env/pyvenv.cfg").write_text("home = /usr/bin\n")
    (site / HOSTILE).write_bytes(b"\x7fELF")
    command = [sys.executable, "-c", "from wherry.cli.front import main; main()", "check", "--offline", str(tmp_path / "env")]
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "WHERRY_CACHE": str(tmp_path / "cache")}
    shown = subprocess.run(command, env=environment, capture_output=True, check=False).stdout
    assert b"\x1b" not in shown
    assert rb"/a\n  error  x\x1b[2J" in shown
    found = json.loads(subprocess.run([*command, "--json"], env=environment, capture_output=True, check=False).stdout)
    assert any(os.fsencode(where).endswith(b"[2J\xff.so") for each in found["reports"][0]["findings"] for where in each["where"])


STREAMS = """
import os, subprocess, sys
from wherry.cli import app, front

def use_streams():
    sys.stdout = os.fdopen(1, "w", closefd=False)  # as whoever watches a job does
    print("said")
    os._exit(subprocess.call("cat && echo out && echo err >&2", shell=True) or len(sys.stdin.read()))

app.app = lambda **_: use_streams()
sys.argv = ["wherry", "lock"]
front.main()
"""


def test_whoever_starts_it_may_have_closed_everything(tmp_path: Path) -> None:
    """Programs that it starts have streams all the same, and no file of ours is taken for one."""
    (tmp_path / "streams.py").write_text(STREAMS)
    command = f"exec {sys.executable} {tmp_path / 'streams.py'} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0
