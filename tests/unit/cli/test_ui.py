"""`wherry ui`: as a process that listens, is asked and ends; and what it says when it cannot."""

from __future__ import annotations

import queue
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from wherry.cli.ui import run_ui
from wherry.errors import DeclarationError, UsageError

PROGRAM = [sys.executable, "-c", "import sys; sys.argv[0] = 'wherry'; from wherry.cli.front import main; main()", "ui"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_it_listens_on_loopback_until_it_is_told_to_end(tmp_path: Path, number: signal.Signals, code: int) -> None:
    server = subprocess.Popen([*PROGRAM, "--no-browser"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        with urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(address) as answer:
            assert answer.status == 200
            assert "server" not in answer.headers
        port = int(address.split(":")[2].partition("/")[0])
        listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"]
        assert f"0100007F:{port:04X}" in listening
        assert f"00000000:{port:04X}" not in listening
    finally:
        server.send_signal(number)
        out, err = server.communicate(timeout=30)
    assert (server.returncode, out, err) == (code, "", "")


def test_the_browser_gets_an_address_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = queue.Queue[str]()

    def serve(_desk: object, _port: object, tell: Callable[[str, str], None]) -> None:
        tell("http://printed", "http://opened")

    monkeypatch.setattr("wherry.ui.server.serve_pages", serve)
    monkeypatch.setattr("webbrowser.open", opened.put)
    run_ui(project=tmp_path)
    assert opened.get(timeout=30) == "http://opened"
    assert capsys.readouterr().out == "http://printed\n"


def test_a_port_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UsageError, match="is taken"):
            run_ui(port=other.getsockname()[1], browser=False)


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(DeclarationError, match="there is no such folder"):
        run_ui(project=Path("nowhere"))


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    program = PROGRAM[2].replace("import sys; ", "import sys; sys.modules['starlette.types'] = None; ")
    done = subprocess.run(
        [sys.executable, "-c", program, "ui"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: the page needs starlette, which is not installed\ntry: pip install 'wherry[ui]'\n"
