"""A kernel or JupyterLab in a container, for who sits at this machine: by sockets in a folder of the session, nothing published.

The project lies in the container at the image's working folder and read-only, its `data/` and `notebooks/` (or what the target
declares) writable there. What is written belongs to whoever began the session, and the container ends with the process that did.
The folder is that user's alone; in it are the token, or the key by which a kernel knows its Jupyter.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from wherry.engines.port import Engine, EngineImage, Mount, MountKind, RunSpec
from wherry.errors import JobError, UsageError
from wherry.model.job import DataFolder, Target
from wherry.run import notebook_start
from wherry.run.backends.container import choose_user, render_limits
from wherry.run.relay import Entrance, relay_sockets

_CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
_PREFIX = "wherry-session-"
_ALIVE = "alive"
_SOCKET = "ipc"
_TICK = 0.1  # seconds between two looks whether JupyterLab listens


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSession:
    """What all sessions of a target have in common. `engine` has the image. `here` is the folder to start in, on this machine."""

    engine: Engine
    image: EngineImage
    target: Target
    root: Path
    here: Path
    start: str  # the program in the image, see `notebook_start`
    say: Callable[[str], None]

    def serve_kernel(self, connection: Path) -> int:
        """Run a kernel until it ends, for the Jupyter that wrote the connection file; its exit code."""
        asked = _read_connection(connection)
        with _open_folder() as folder:
            inside = {**asked, "transport": "ipc", "ip": f"{notebook_start.SESSION}/{_SOCKET}"}
            ways: dict[Entrance, Path] = {}
            for number, channel in enumerate(_CHANNELS, start=1):
                port = asked[f"{channel}_port"]
                ways[port if asked.get("transport") != "ipc" else f"{asked['ip']}-{port}"] = folder / f"{_SOCKET}-{number}"
                inside[f"{channel}_port"] = number
            _write_own(folder / "kernel.json", json.dumps(inside))
            with relay_sockets(folder / _ALIVE, ways):
                return self.engine.run(self._render_spec(folder, "kernel"))

    def serve_lab(self, port: int, tell: Callable[[str], None], board: tuple[str, int] | None = None) -> int:
        """Run JupyterLab behind a port of loopback until it ends; `tell` is given its address, once it answers.

        `board` is a folder of the project that TensorBoard shows, and its port.
        """
        token = secrets.token_hex(24)
        with _open_folder() as folder:
            _write_own(folder / "token", token)
            lab = folder / "lab.sock"
            address = f"http://127.0.0.1:{port}/lab?token={token}"
            threading.Thread(target=_await_lab, args=(lab, partial(tell, address)), daemon=True).start()
            ways: dict[Entrance, Path] = {port: lab}
            if board is not None:
                ways[board[1]] = folder / "board.sock"
            with relay_sockets(folder / _ALIVE, ways):
                return self.engine.run(self._render_spec(folder, "lab", *(board[:1] if board else ())))

    def _render_spec(self, folder: Path, *what: str) -> RunSpec:
        workdir = self.image.config.workdir
        if workdir in ("", "/"):
            raise JobError("the image has no working folder that the project could lie at", hint='workdir = "/app"')
        mounts = [Mount(kind=MountKind.BIND, source=str(self.root), target=workdir, read_only=True)]
        for data in self._list_data():
            place = {"source": f"{self.root}/{data.path}", "target": f"{workdir}/{data.path}"}
            mounts.append(Mount(kind=MountKind.BIND, **place, read_only=not data.writable))
        mounts.append(Mount(kind=MountKind.BIND, source=str(folder), target=str(notebook_start.SESSION)))
        spec = RunSpec(
            image=self.image,
            name=folder.name,
            command=("python", self.start, *what),
            env=tuple({"HOME": "/tmp", **dict(self.target.env)}.items()),  # noqa: S108 - nobody's home is writable in there
            mounts=tuple(mounts),
            workdir=f"{workdir}/{self._find_below()}".rstrip("/"),
            user=choose_user(self.engine),
            network=self.target.network,
            gpus=self.target.limits.gpus,
            interactive=False,
        )
        for note in self.engine.list_notes(spec):
            self.say(note)
        return spec if self.engine.name == "bubblewrap" else replace(spec, options=render_limits(self.target.limits))

    def _list_data(self) -> list[DataFolder]:
        """Of the folders that are there; `notebooks/` is always one of them."""
        usual = (DataFolder(path="data", writable=True),)
        chosen = {folder.path: folder for folder in (self.target.data if self.target.data is not None else usual)}
        chosen.setdefault("notebooks", DataFolder(path="notebooks", writable=True))
        return [folder for folder in chosen.values() if (self.root / folder.path).is_dir()]

    def _find_below(self) -> str:
        """Where to start, seen from the project's folder."""
        here, root = self.here.resolve(), self.root.resolve()
        return here.relative_to(root).as_posix() if here.is_relative_to(root) and here != root else ""


@contextmanager
def _open_folder() -> Iterator[Path]:
    """A short path, for sockets have room for 108 bytes. Those of sessions that were killed go."""
    for former in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if _is_abandoned(former / _ALIVE):
            shutil.rmtree(former, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _is_abandoned(alive: Path) -> bool:
    """Whether there is a socket that nobody holds the other end of; one that is not there yet is no sign."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(alive))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False


def _await_lab(lab: Path, tell: Callable[[], None]) -> None:
    """Tell once it listens; nothing, when the session is over before and its folder gone."""
    while lab.parent.is_dir():
        if _listens(lab):
            tell()
            return
        time.sleep(_TICK)


def _listens(place: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(place))
        except OSError:
            return False
        return True


def _write_own(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="ascii")


def _read_connection(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_bytes())
        if all(isinstance(value[f"{channel}_port"], int) for channel in _CHANNELS) and isinstance(value["ip"], str):
            return dict(value)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UsageError("not a connection file of Jupyter's", where=str(path))
