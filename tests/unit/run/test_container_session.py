"""A kernel's session with an engine that is only pretended: what the container is given, and what goes through its sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wherry.engines.port import EngineImage, RunSpec
from wherry.errors import JobError, UsageError
from wherry.formats.oci_json import parse_config, render_config
from wherry.model.job import BackendKind, DataFolder, Limits, Target
from wherry.run.container_session import ContainerSession
from wherry.store.host import read_host_platform

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


class Pretended:
    """Runs `inside` in the container's place; its folder of the session is that of this machine."""

    name = "podman"

    def __init__(self, inside: Callable[[RunSpec], int]) -> None:
        self._inside = inside

    def list_notes(self, _spec: RunSpec) -> tuple[str, ...]:
        return ("a note",)

    def run(self, spec: RunSpec) -> int:
        return self._inside(spec)


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def write_connection(place: Path, **more: Any) -> dict[str, Any]:
    ports = {f"{channel}_port": port for channel, port in zip(CHANNELS, free_ports(5), strict=True)}
    document = {"transport": "tcp", "ip": "127.0.0.1", "key": "k3y-of-messages", "signature_scheme": "hmac-sha256", **ports, **more}
    place.write_text(json.dumps(document))
    return document


def make_image(workdir: str) -> EngineImage:
    config = render_config(platform=read_host_platform(), created="1980-01-01T00:00:00Z", diff_ids=[], workdir=workdir)
    return EngineImage(config=parse_config(config, where="test"))


def make_session(root: Path, inside: Callable[[RunSpec], int], *, workdir: str = "/app", **target: Any) -> ContainerSession:
    (root / "notebooks").mkdir(exist_ok=True)
    return ContainerSession(
        engine=Pretended(inside),  # type: ignore[arg-type]
        image=make_image(workdir=workdir),
        target=Target(name="container", backend=BackendKind.CONTAINER, **target),
        root=root,
        here=root / "notebooks",
        start="/opt/notebook/start.py",
        say=lambda _text: None,
    )


def source_of(spec: RunSpec, target: str) -> Path:
    return Path(next(mount.source for mount in spec.mounts if mount.target == target))


def test_what_a_kernel_says_reaches_its_jupyter(tmp_path: Path) -> None:
    asked = write_connection(tmp_path / "connection.json")
    heard: list[bytes] = []
    starters: list[socket.socket] = []

    def inside(spec: RunSpec) -> int:
        folder = source_of(spec, "/run/wherry/session")
        document = json.loads((folder / "kernel.json").read_text())
        assert (document["transport"], document["ip"], document["key"]) == ("ipc", "/run/wherry/session/ipc", "k3y-of-messages")
        assert (folder / "kernel.json").stat().st_mode & 0o777 == 0o600
        assert folder.stat().st_mode & 0o777 == 0o700
        starters.append(socket.socket(socket.AF_UNIX))
        starters[0].connect(str(folder / "alive"))
        for channel in CHANNELS:
            with socket.create_connection(("127.0.0.1", asked[f"{channel}_port"])) as jupyter:  # before anybody listens
                jupyter.sendall(channel.encode())
                with socket.socket(socket.AF_UNIX) as kernel:
                    kernel.bind(str(folder / f"ipc-{document[f'{channel}_port']}"))
                    kernel.listen()
                    inner, _ = kernel.accept()
                    with inner:
                        heard.append(inner.recv(100))
                        inner.sendall(b"answer")
                        assert jupyter.recv(100) == b"answer"
        return 7

    assert make_session(tmp_path, inside).serve_kernel(tmp_path / "connection.json") == 7
    assert heard == [channel.encode() for channel in CHANNELS]
    with starters[0] as starter:
        starter.settimeout(60)
        assert starter.recv(1) == b"", "the container does not hear that its starter is gone"


def test_where_the_project_lies(tmp_path: Path) -> None:
    write_connection(tmp_path / "connection.json")
    (tmp_path / "data").mkdir()
    specs: list[RunSpec] = []

    def note(spec: RunSpec) -> int:
        specs.append(spec)
        return 0

    declared = (DataFolder(path="data"), DataFolder(path="absent"))
    for words in ({"env": (("LEVEL", "1"),), "limits": Limits(cpus=2)}, {"data": declared}):
        make_session(tmp_path, note, **words).serve_kernel(tmp_path / "connection.json")

    usual, own = ({mount.target: mount.read_only for mount in spec.mounts[:-1]} for spec in specs)
    assert usual == {"/app": True, "/app/data": False, "/app/notebooks": False}
    assert own == {"/app": True, "/app/data": True, "/app/notebooks": False}
    assert specs[0].workdir == "/app/notebooks"
    assert dict(specs[0].env) == {"HOME": "/tmp", "LEVEL": "1"}
    assert specs[0].options == ("--cpus", "2")
    assert specs[0].command == ("python", "/opt/notebook/start.py", "kernel")
    assert "k3y-of-messages" not in str(specs[0])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"ip": "127.0.0.1", "shell_port": "1"}'])
def test_what_is_no_connection_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "connection.json").write_text(text)
    with pytest.raises(UsageError, match="not a connection file"):
        make_session(tmp_path, lambda _spec: 0).serve_kernel(tmp_path / "connection.json")


def test_an_image_without_a_working_folder(tmp_path: Path) -> None:
    write_connection(tmp_path / "connection.json")
    with pytest.raises(JobError, match="no working folder"):
        make_session(tmp_path, lambda _spec: 0, workdir="/").serve_kernel(tmp_path / "connection.json")


def test_jupyterlab_behind_a_port(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    told: list[str] = []
    tokens: list[str] = []

    def inside(spec: RunSpec) -> int:
        folder = source_of(spec, "/run/wherry/session")
        tokens.append((folder / "token").read_text())
        assert (folder / "token").stat().st_mode & 0o777 == 0o600
        assert tokens[0] not in str(spec)
        with socket.socket(socket.AF_UNIX) as lab:
            lab.bind(str(folder / "lab.sock"))
            lab.listen()
            with socket.create_connection(("127.0.0.1", port)) as browser:
                browser.sendall(b"GET")
                browser.shutdown(socket.SHUT_WR)
                while True:  # whoever looks whether it listens says nothing
                    inner, _ = lab.accept()
                    with inner:
                        if inner.recv(100) == b"GET":
                            inner.sendall(b"200")
                            break
                assert browser.recv(100) == b"200"
            while not told:
                lab.accept()[0].close()
        return 130

    assert make_session(tmp_path, inside).serve_lab(port, told.append) == 130
    assert told == [f"http://127.0.0.1:{port}/lab?token={tokens[0]}"]
    assert len(tokens[0]) == 48


def test_tensorboard_has_a_way_of_its_own(tmp_path: Path) -> None:
    first, second = free_ports(2)

    def inside(spec: RunSpec) -> int:
        assert spec.command == ("python", "/opt/notebook/start.py", "lab", "runs")
        with socket.socket(socket.AF_UNIX) as board:
            board.bind(str(source_of(spec, "/run/wherry/session") / "board.sock"))
            board.listen()
            with socket.create_connection(("127.0.0.1", second)) as browser:
                inner, _ = board.accept()
                with inner:
                    inner.sendall(b"charts")
                assert browser.recv(100) == b"charts"
        return 0

    assert make_session(tmp_path, inside).serve_lab(first, lambda _url: None, ("runs", second)) == 0


def test_what_killed_sessions_left_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead, begun, living = (tmp_path / f"wherry-session-{name}" for name in ("dead", "begun", "living"))
    for folder in (dead, begun, living):
        folder.mkdir()
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(dead / "alive"))
    with socket.socket(socket.AF_UNIX) as held:
        held.bind(str(living / "alive"))
        held.listen()
        write_connection(tmp_path / "connection.json")
        make_session(tmp_path, lambda _spec: 0).serve_kernel(tmp_path / "connection.json")
    assert [folder.exists() for folder in (dead, begun, living)] == [False, True, True]
