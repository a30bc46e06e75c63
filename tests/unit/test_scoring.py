"""The scoring runtime as a wheel: the same bytes always, whole by itself, and truthful about what it requires."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from wherry.formats.scoring import parse_service, render_service
from wherry.model.scoring import ScoreService
from wherry.scoring import _METADATA, bring_runtime, render_runtime

ROOT = Path(__file__).resolve().parents[2]
# Without `site`, so that the checkout's own wherry is not to be seen.
ALONE = "import runpy, sys; sys.path[:0] = sys.argv[1:3]; del sys.argv[1:3]; runpy.run_module('wherry.score', run_name='__main__')"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def ask(port: int, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body), timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def await_ready(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        try:
            if ask(port, "/health")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise AssertionError("the service is not ready")


def start_alone(folder: Path, settings: ScoreService) -> subprocess.Popen[bytes]:
    """The service out of the wheel, with nothing of the checkout; its packages are this interpreter's."""
    with zipfile.ZipFile(bring_runtime(folder / "cache")[0]) as wheel:
        wheel.extractall(folder / "runtime")
    site = next(path for path in sys.path if path.endswith("site-packages"))
    command = [sys.executable, "-I", "-S", "-c", ALONE, str(folder / "runtime"), site, settings.script]
    env = {**os.environ, "WHERRY_SCORE": render_service(settings)}
    return subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE)


def test_it_runs_by_itself_and_ends_in_order(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text(
        "import time, sys\ndef init(): print('loading', sys.modules['wherry'].__path__)\n"
        "def run(raw):\n    print('scoring', file=sys.stderr, flush=True)\n    time.sleep(0.5)\n    return {'got': raw}\n"
    )
    settings = ScoreService(script="score.py", port=free_port())
    with start_alone(tmp_path, settings) as process:
        await_ready(process, settings.port)
        with socket.create_connection(("127.0.0.1", settings.port), 60) as asked:
            asked.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\n7")
            assert process.stderr is not None
            while b"scoring" not in process.stderr.readline():
                pass
            process.send_signal(signal.SIGTERM)
            answer = asked.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b'{"got": "7"}')
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_strangers_bytes_end_nothing(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text("def run(data: dict): return 1\n")
    settings, drawn = ScoreService(script="score.py", port=free_port(), max_body=1000), random.Random(3)
    post = b"POST /score HTTP/1.1\r\nHost: x\r\n"
    odd = [
        b"", b"\0" * 100, b"GET", b"\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", post + b"X: " + b"y" * 200_000,
        post + b"Content-Length: -1\r\n\r\n{}", post + b"Content-Length: 9999999999\r\n\r\n{}",
        post + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", post + b"Content-Length: 50\r\n\r\n{",
        post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", post + b"Transfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"[" * 1024,
        *(drawn.randbytes(drawn.randrange(300)) for _ in range(40)),
        *(post + b"\r\n" + drawn.randbytes(drawn.randrange(300)) for _ in range(20)),
    ]  # fmt: skip
    with start_alone(tmp_path, settings) as process:
        await_ready(process, settings.port)
        for data in odd:
            with socket.create_connection(("127.0.0.1", settings.port), 60) as asked, contextlib.suppress(OSError):
                asked.sendall(data)
                asked.shutdown(socket.SHUT_WR)
                assert not asked.makefile("rb").readline().startswith((b"HTTP/1.1 200", b"HTTP/1.1 500"))
        assert ask(settings.port, "/score", b"{}") == (200, b"1")
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_script_that_does_not_start_ends_the_service(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text("def init(): raise RuntimeError('no model')\ndef run(raw): return 1\n")
    with start_alone(tmp_path, ScoreService(script="score.py", port=free_port())) as process:
        said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 1
    assert "RuntimeError: no model" in said


def test_a_port_that_somebody_has(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text("def run(raw): return 1\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with start_alone(tmp_path, ScoreService(script="score.py", port=port)) as process:
            said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 1
    assert f"score: cannot listen on 127.0.0.1:{port}" in said


def test_it_is_the_same_wheel_always(tmp_path: Path) -> None:
    path, digest = bring_runtime(tmp_path)
    assert path.read_bytes() == render_runtime()
    path.write_bytes(b"cut")
    assert bring_runtime(tmp_path) == (path, digest)
    assert path.read_bytes() == render_runtime()


def test_it_requires_what_the_extra_does() -> None:
    """One place says which versions do: whoever serves a script on this machine has the same."""
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["score"]
    required = {line.removeprefix("Requires-Dist: ").partition(";")[0].strip() for line in _METADATA.splitlines() if "Dist" in line}
    assert required <= set(extra)


def test_settings_go_through_a_variable() -> None:
    settings = ScoreService(script="a/score.py", port=81, batch_wait=0.25)
    assert json.loads(render_service(settings)) == {"script": "a/score.py", "port": 81, "batch_wait": 0.25}
    assert parse_service(render_service(settings)) == settings
