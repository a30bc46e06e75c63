"""A process in a sandbox of bubblewrap's: started, found again by its number, stopped in an orderly way.

bwrap makes a first process in the sandbox, and that one starts the command. A signal to the first does nothing (it is
the first of its process namespace), so it is the command that is asked to end; when it has, the sandbox is gone.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from wherry.engines.process import find_program, shorten_errors, start_with_pipes
from wherry.errors import EngineError


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """What a sandbox reads and writes: ours, pipes, or, `detached`, a log in its scratch folder, in a session of its own."""

    stdin: int | None
    piped: bool = False
    detached: bool = False


class Sandbox:
    """A running sandbox and its scratch folder, which is cleared away after it.

    `command_path` is where in the image the command lies, None if it will not be found.
    """

    def __init__(
        self,
        options: list[str],
        command: tuple[str, ...],
        command_path: str | None,
        env: Mapping[str, str],
        scratch: Path,
        streams: Streams,
        starter: tuple[str, ...] = (),
    ) -> None:
        self.command_path = command_path
        self._scratch = scratch
        self._init: int | None = None
        self._info, writing = os.pipe()
        try:
            log = scratch / "log" if streams.detached else None
            self.process = _launch(starter, options, command, env, writing, log, streams)
        except BaseException:
            os.close(self._info)
            raise
        finally:
            os.close(writing)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End whatever is left of it, and forget it."""
        if self.process.poll() is None:
            self.stop(0)
            self.process.wait()
        os.close(self._info)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def ask(self) -> None:
        """SIGTERM for the command."""
        if (command := self._find_command(2.0)) is not None:
            _send(command, signal.SIGTERM)

    def stop(self, grace: float) -> None:
        """SIGTERM for the command, SIGKILL for the whole sandbox after `grace` seconds."""
        command = self._find_command(2.0)
        if command is not None and grace > 0:
            _send(command, signal.SIGTERM)
            _wait_until(lambda: self.process.poll() is not None, grace)
        if self.process.poll() is None:
            _send(self._init or self.process.pid, signal.SIGKILL)

    def release(self) -> int:
        """Let the sandbox outlive us; the process number of its command."""
        command = self._find_command(10.0)
        if self.command_path is None and _wait_until(lambda: self.process.poll() is not None, 10.0):
            command = None  # bwrap's own child was seen, before it could not become the command
        os.close(self._info)
        if command is None:
            self.process.kill()
            self.process.wait()
            told = shorten_errors((self._scratch / "log").read_bytes()[-4096:])
            shutil.rmtree(self._scratch, ignore_errors=True)
            raise EngineError(f"the container ended at once: {told}")
        self.process.returncode = 0  # nobody will wait for it here
        return command

    def _find_command(self, patience: float) -> int | None:
        """The command's process, the child of the sandbox's first one."""
        if self._init is None:
            raw = _read_all(self._info)  # bwrap writes and closes it before it starts the command
            self._init = int(json.loads(raw)["child-pid"]) if raw else None
        if self._init is None:
            return None
        init = self._init
        _wait_until(lambda: bool(_list_children(init)) or self.process.poll() is not None, patience)
        children = _list_children(init)
        return children[0] if children else None


def _read_all(handle: int) -> bytes:
    """All that comes until the other end is closed; bwrap writes its lines one by one."""
    parts = []
    while part := os.read(handle, 4096):
        parts.append(part)
    return b"".join(parts)


def stop_process(process: int, grace: float) -> None:
    """Ask a process to end; end it after `grace` seconds."""
    _send(process, signal.SIGTERM)
    if not _wait_until(lambda: not _is_running(process), grace):
        _send(process, signal.SIGKILL)
        _wait_until(lambda: not _is_running(process), 10)


def end_processes(mark: str) -> None:
    """End at once whatever has the variable `mark` (``NAME=value``) in the surroundings it was started with."""
    found = _find_processes(mark)
    for process in found:
        _send(process, signal.SIGKILL)
    for process in found:
        _wait_until(lambda process=process: not _is_running(process), 10)  # type: ignore[misc]


def ask_processes(mark: str, client: int) -> bool:
    """Ask whatever has the variable `mark` to end, but for the group of `client`; False: there is nothing else."""
    found = [process for process in _find_processes(mark) if _group_of(process) not in (client, None)]
    for process in found:
        _send(process, signal.SIGTERM)
    return bool(found)


def _find_processes(mark: str) -> list[int]:
    wanted = os.fsencode(mark)
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and wanted in _read_environment(int(name))]  # noqa: PTH208


def _group_of(process: int) -> int | None:
    try:
        return os.getpgid(process)
    except ProcessLookupError:
        return None


def _read_environment(process: int) -> list[bytes]:
    try:
        return Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _launch(
    starter: tuple[str, ...],
    options: list[str],
    command: tuple[str, ...],
    env: Mapping[str, str],
    info: int,
    log: Path | None,
    streams: Streams,
) -> subprocess.Popen[bytes]:
    """Start bwrap; with a `log` in a session of its own, writing there."""
    path = find_program("bwrap", env)
    if path is None:
        raise EngineError("bubblewrap is not installed", hint="apt install bubblewrap, or --on podman")
    # Through a file in memory, not on the command line: what -e gives may be secret.
    handle = os.memfd_create("arguments")
    try:
        _write_all(handle, b"".join(os.fsencode(option) + b"\0" for option in options))
        os.lseek(handle, 0, os.SEEK_SET)
        argv = [*starter, path, "--args", str(handle), "--info-fd", str(info), "--", *command]
        if streams.piped:
            return start_with_pipes(argv, env, (handle, info))
        if log is None:
            return subprocess.Popen(argv, env=dict(env), stdin=streams.stdin, pass_fds=(handle, info))
        with log.open("wb") as output:
            return subprocess.Popen(
                argv,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(handle, info),
                start_new_session=True,
            )
    except OSError as error:
        raise EngineError(f"cannot start bubblewrap: {error.strerror}") from error
    finally:
        os.close(handle)


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _list_children(process: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def _is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _send(process: int, number: signal.Signals) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return


def _wait_until(done: Callable[[], bool], patience: float) -> bool:
    end = time.monotonic() + patience
    while not done():
        if time.monotonic() >= end:
            return False
        time.sleep(0.02)
    return True
