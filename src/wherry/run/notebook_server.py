"""JupyterLab as a process of ours: on loopback, with a token of its own each time, ended in an orderly way.

The token goes by the environment, not the command line, which others on the machine can read. The server has a session of
its own, so that Ctrl-C reaches it by us alone: it ends its kernels, and asks nothing.
"""

from __future__ import annotations

import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wherry.errors import EngineError, UsageError
from wherry.store.posix import end_group, is_root

USUAL_PORT = 8888
BOARD_PORT = 6006
_PATIENCE = 120.0  # seconds until it answers; a slow disk imports slowly
_GRACE = 15.0


@dataclass(frozen=True, slots=True)
class NotebookServer:
    """A running server. `url` holds the token."""

    url: str
    process: subprocess.Popen[bytes]

    def wait(self) -> int:
        return self.process.wait()


@contextmanager
def run_notebooks(
    root: Path, overlay: Path, prefix: Path, values: Mapping[str, str], env: Mapping[str, str], port: int | None
) -> Iterator[NotebookServer]:
    """A server over the project's folder until the end of the block. `values` are the environment's own variables."""
    chosen = choose_port(port)
    token = secrets.token_hex(24)
    argv = [f"{overlay}/bin/python", "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1"]
    argv += [
        f"--ServerApp.port={chosen}",
        "--ServerApp.port_retries=0",
        "--LabApp.extension_manager=readonly",
        f"--ServerApp.root_dir={root}",
    ]
    argv += ["--allow-root"] if is_root() else []
    surroundings = render_surroundings(overlay, prefix, {**env, **values, "JUPYTER_TOKEN": token})
    process = subprocess.Popen(argv, cwd=root, env=surroundings, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        _await_answer(process, chosen)
        yield NotebookServer(f"http://127.0.0.1:{chosen}/lab?token={token}", process)
    finally:
        _stop(process)


@contextmanager
def run_tensorboard(root: Path, overlay: Path, folder: Path, surroundings: Mapping[str, str]) -> Iterator[str]:
    """TensorBoard over a folder until the end of the block; its address. It knows no token: it shows what it reads, and no more."""
    chosen = choose_port(None, usual=BOARD_PORT)
    argv = [f"{overlay}/bin/python", "-m", "tensorboard.main", "--host=127.0.0.1", f"--port={chosen}", f"--logdir={folder}"]
    process = subprocess.Popen(argv, cwd=root, env=dict(surroundings), stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        _await_answer(process, chosen, "TensorBoard")
        yield f"http://127.0.0.1:{chosen}/"
    finally:
        _stop(process)


def render_surroundings(overlay: Path, prefix: Path, env: Mapping[str, str]) -> dict[str, str]:
    """The project's programs come first; of Jupyter's own files those count that the project's packages bring, too."""
    values = {name: value for name, value in env.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    values["PATH"] = f"{prefix}/bin:{overlay}/bin:{env.get('PATH', '')}"
    for name, folder in (("JUPYTER_PATH", "share/jupyter"), ("JUPYTER_CONFIG_PATH", "etc/jupyter")):
        values[name] = ":".join(filter(None, (f"{prefix}/{folder}", env.get(name, ""))))
    if not (overlay / "share/jupyter/lab").is_dir():  # the project locks JupyterLab itself
        values["JUPYTERLAB_DIR"] = f"{prefix}/share/jupyter/lab"
    return values


def choose_port(port: int | None, *, usual: int = USUAL_PORT) -> int:
    """A port of loopback: the one that was asked for; else the usual one if it is free; else any."""
    for wanted in (port,) if port else (usual, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UsageError(f"port {port} is taken", where="--port", hint="another one, or leave it away")


def _await_answer(process: subprocess.Popen[bytes], port: int, name: str = "JupyterLab") -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise EngineError(f"{name} ended with {process.returncode} before it answered", where=f"port {port}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise EngineError(f"{name} did not answer within {_PATIENCE:.0f} s", where=f"port {port}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and its kernels; what is left after the grace is killed."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            end_group(process.pid)
            process.wait()
