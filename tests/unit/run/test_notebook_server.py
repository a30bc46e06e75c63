"""The server of notebooks as a process, with small programs in JupyterLab's place; the real one is in tests/flow."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

import pytest

from wherry.errors import EngineError, UsageError
from wherry.run.notebook_server import run_notebooks, run_tensorboard

SERVE = """#!{python}
import os, pathlib, re, signal, socket, sys
pathlib.Path("seen").write_text("\\n".join([*sys.argv, *(f"{{k}}={{v}}" for k, v in os.environ.items())]))
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path("ended").write_text("yes"), os._exit(0)))
port = int(re.search(r"ServerApp.port=(\\d+)", " ".join(sys.argv))[1])
server = socket.create_server(("127.0.0.1", port))
while True:
    server.accept()[0].close()
"""


def overlay_with(folder: Path, program: str) -> Path:
    (folder / "overlay/bin").mkdir(parents=True)
    (folder / "overlay/bin/python").write_text(program)
    (folder / "overlay/bin/python").chmod(0o755)
    return folder / "overlay"


def test_a_server_has_a_token_and_ends_in_order(tmp_path: Path) -> None:
    overlay = overlay_with(tmp_path, SERVE.format(python=sys.executable))
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": "/elsewhere", "JUPYTER_PATH": "/mine"}
    with run_notebooks(tmp_path, overlay, tmp_path / "env", {"LEVEL": "1"}, env, None) as server:
        found = re.fullmatch(r"http://127\.0\.0\.1:\d+/lab\?token=([0-9a-f]{48})", server.url)
        assert found
        said = (tmp_path / "seen").read_text().splitlines()
    assert (tmp_path / "ended").read_text() == "yes"
    assert f"JUPYTER_TOKEN={found[1]}" in said
    assert f"PATH={tmp_path}/env/bin:{overlay}/bin:{env['PATH']}" in said
    assert f"JUPYTER_PATH={tmp_path}/env/share/jupyter:/mine" in said
    assert "LEVEL=1" in said
    assert not any(line.startswith("PYTHONPATH=") for line in said)
    assert not any(found[1] in line for line in said if line.startswith("-"))


def test_tensorboard_over_a_folder(tmp_path: Path) -> None:
    overlay = overlay_with(tmp_path, SERVE.format(python=sys.executable).replace("ServerApp.port", "--port"))
    with run_tensorboard(tmp_path, overlay, tmp_path / "runs", {"PATH": os.environ["PATH"]}) as url:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
        said = (tmp_path / "seen").read_text().splitlines()
    assert (tmp_path / "ended").read_text() == "yes"
    assert f"--logdir={tmp_path}/runs" in said
    assert "--host=127.0.0.1" in said


def test_a_server_that_ends_at_once_is_an_error(tmp_path: Path) -> None:
    overlay = overlay_with(tmp_path, "#!/bin/sh\nexit 3\n")
    with (
        pytest.raises(EngineError, match="ended with 3 before it answered"),
        run_notebooks(tmp_path, overlay, tmp_path / "env", {}, os.environ, None),
    ):
        pass


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UsageError, match=f"port {port} is taken"),
            run_notebooks(tmp_path, tmp_path, tmp_path, {}, os.environ, port),
        ):
            pass
