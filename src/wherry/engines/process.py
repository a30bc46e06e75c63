"""Starts other programs: no shell, a given environment, errors shortened to what helps.

Knows four ways: ask (small output), feed (a stream into stdin), pour (a stream out of stdout), supervise (the program has our
terminal, and signals that reach us stop it in an orderly way).
"""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from shutil import which
from types import FrameType
from typing import IO

from wherry.errors import EngineError

NOT_FOUND = 127  # a shell's answer to a command that is nowhere
_NOISE = re.compile(r'^(time="[^"]*" level=\w+ msg=|Error: |error: |docker: |podman: |ctr: |bwrap: )+')
_LONGEST = 300
_PATIENCE = 60.0
_CHUNK = 1 << 16


def find_program(name: str, env: Mapping[str, str]) -> str | None:
    """The program's path, looked up in the PATH of `env`."""
    return which(name, path=env.get("PATH", "/usr/local/bin:/usr/bin:/bin"))


def ask(argv: Sequence[str], env: Mapping[str, str], timeout: float = _PATIENCE) -> subprocess.CompletedProcess[bytes]:
    """Run a short command to its end, without stdin. A missing program or no answer in time is an `EngineError`."""
    try:
        return subprocess.run(
            list(argv), env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{argv[0]} {argv[1]} gave no answer within {timeout:.0f} s") from error
    except OSError as error:
        raise EngineError(f"cannot start {argv[0]}: {error.strerror}") from error


def demand(argv: Sequence[str], env: Mapping[str, str], what: str, hint: str | None = None) -> bytes:
    """`ask`, where failing is an `EngineError` that begins with `what`; the output."""
    done = ask(argv, env)
    if done.returncode != 0:
        raise EngineError(f"{what}: {shorten_errors(done.stderr)}", hint=hint)
    return done.stdout


def start_with_pipes(argv: Sequence[str], env: Mapping[str, str], keep: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start a program in a group of its own, with nothing to read; its stdout and stderr are pipes, `keep` stays open for it."""
    try:
        return subprocess.Popen(
            list(argv),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=tuple(keep),
            process_group=0,
        )
    except OSError as error:
        raise EngineError(f"cannot start {argv[0]}: {error.strerror}") from error


def feed(argv: Sequence[str], env: Mapping[str, str], chunks: Iterable[bytes], what: str, hint: str | None = None) -> None:
    """Pipe `chunks` into a command. If the chunks fail half-way the command is killed, so that it never sees a clean end."""
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(list(argv), env=dict(env), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors)
        except OSError as error:
            raise EngineError(f"cannot start {argv[0]}: {error.strerror}") from error
        pipe = process.stdin
        assert pipe is not None  # noqa: S101
        try:
            broken = _pump(chunks, pipe)
        except BaseException:
            process.kill()
            process.wait()
            _close(pipe)
            raise
        broken = _close(pipe) or broken
        if process.wait() != 0 or broken:
            errors.seek(0)
            raise EngineError(f"{what}: {shorten_errors(errors.read(1 << 20))}", hint=hint)


def pour(argv: Sequence[str], env: Mapping[str, str], what: str) -> Iterator[bytes]:
    """What a command prints, in pieces. Its failing is an `EngineError` at the end; left early, it is killed."""
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(list(argv), env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        except OSError as error:
            raise EngineError(f"cannot start {argv[0]}: {error.strerror}") from error
        with process:
            assert process.stdout is not None  # noqa: S101
            try:
                while chunk := process.stdout.read(_CHUNK):
                    yield chunk
            except GeneratorExit:
                process.kill()
                raise
        if process.returncode != 0:
            errors.seek(0)
            raise EngineError(f"{what}: {shorten_errors(errors.read(1 << 20))}")


def _pump(chunks: Iterable[bytes], pipe: IO[bytes]) -> bool:
    for chunk in chunks:
        try:
            pipe.write(chunk)
        except BrokenPipeError:
            return True
    return False


def _close(pipe: IO[bytes]) -> bool:
    try:
        pipe.close()
    except BrokenPipeError:
        return True
    return False


def supervise(process: subprocess.Popen[bytes], stop: Callable[[float], None], grace: float = 10.0) -> int:
    """Wait for a program that has our stdin and stdout; its exit code as a shell would give it.

    The first SIGINT or SIGTERM calls `stop(grace)`, the second `stop(0)`. The result is then 130 or 143, whatever
    the program answered.
    """
    received: list[int] = []
    stopper: list[threading.Thread] = []

    def begin_stop(number: int, _frame: FrameType | None) -> None:
        # A thread, because a second signal must get through while the first one's `stop` waits.
        received.append(number)
        thread = threading.Thread(target=stop, args=(grace if len(received) == 1 else 0.0,), daemon=True)
        stopper.append(thread)
        thread.start()

    with _handle_signals(begin_stop):
        code = process.wait()
        for thread in stopper:
            thread.join(grace + _PATIENCE)
    if received:
        return 128 + received[0]
    return 128 - code if code < 0 else code


@contextmanager
def _handle_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers; there, whoever calls us minds the signals
        return
    former = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, action in former.items():
            signal.signal(number, action)


def shorten_errors(raw: bytes) -> str:
    """The last line of an engine's stderr that says something, without its decoration."""
    lines = [_NOISE.sub("", line.strip()) for line in raw.decode("utf-8", "replace").splitlines()]
    told = [line.strip('"') for line in lines if line and not line.startswith(("See '", "Run '", "Usage:"))]
    if not told:
        return "it failed and did not say why"
    return told[-1] if len(told[-1]) <= _LONGEST else told[-1][: _LONGEST - 1] + "…"
