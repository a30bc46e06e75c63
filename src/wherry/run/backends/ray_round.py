"""What runs on a Ray cluster for a round of workers: a keeper that remembers the round, and a holder beside each worker.

The keeper is a named, detached actor: it outlives whoever asked for it, is found by its name alone, keeps the round's deadline, and
goes away some time after the last worker's end. Holders are actors with the resources of one worker, which is a process that they
start; they go with the keeper, and their workers with them. What a worker that was killed leaves is found by a mark.

Both classes travel to the nodes as values (cloudpickle): nothing of wherry is imported there, but the standard library and Ray.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypedDict

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

NAMESPACE = "wherry"
GRACE = 10.0  # between the asking and the ending of workers whose time is up
_REMEMBERED = 600.0  # seconds for which the ends of a round are known when all of it has ended
_PATIENCE = 15.0
_SAID = 16 << 10  # bytes that are kept of the end of a worker's stream
_ON_HEAD = {"node:__internal_head__": 0.001}
_MARK = "WHERRY_HOLDER"
_OF_RAY = ("PYTHONBREAKPOINT", "OMP_NUM_THREADS", "SPT_NOENV")  # what Ray sets for programs of its own
# A worker is asked to end when its holder is gone, however that one went: prctl(PR_SET_PDEATHSIG, SIGTERM).
_TIED = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit(143)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]}: {error.strerror}")
"""


class Asked(TypedDict):
    """A round: its name, its workers (index to variables), the command, the resources of each, seconds to the deadline."""

    round: str
    owner: str
    workers: dict[str, dict[str, str]]
    command: list[str]
    share: dict[str, float]
    seconds: float | None


class End(TypedDict):
    """How far a worker is: `ended` is None while it runs. `how` is ``code``, or ``lost``, ``cancelled``, ``late``."""

    how: str
    code: int | None
    ended: float | None
    out: str
    err: str


class Holder:
    """One worker's holder, on the worker's node."""

    def __init__(self, command: list[str], env: dict[str, str], name: str) -> None:
        self._command = [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *command]
        own = {key: value for key, value in os.environ.items() if not key.startswith("RAY_") and key not in _OF_RAY}
        self._mark = f"{_MARK}={name}"
        self._env = {**own, **env, _MARK: name}
        self._streams = tuple(tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115 - they go with this process
        self._process: Any = None

    async def start(self) -> str:
        """Start the worker; the node that it is on."""
        out, err = self._streams
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd="/", env=self._env, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=err, process_group=0
        )
        return str(ray.get_runtime_context().get_node_id())

    async def wait(self) -> int:
        """The worker's exit code, when nothing of it is left."""
        code = int(await self._process.wait())
        end_marked(self._mark)
        return code

    async def read(self) -> tuple[str, str]:
        """What the worker has said so far, the end of it."""
        out, err = (read_tail(stream) for stream in self._streams)
        return out, err

    async def end(self, grace: float) -> None:
        """SIGTERM, and the end of all that is left after `grace` seconds."""
        if grace > 0:
            self._signal(signal.SIGTERM)
            end = time.monotonic() + grace
            while self._process.returncode is None and time.monotonic() < end:
                await asyncio.sleep(0.02)
        self._signal(signal.SIGKILL)
        end_marked(self._mark)

    def _signal(self, number: int) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


class Keeper:
    """One round's keeper."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._holders: dict[str, Any] = {}
        self._begun: dict[str, str] = {}  # and on which node
        self._ends: dict[str, End] = {}
        self._why: str | None = None
        self._minding: dict[str, asyncio.Task[None]] = {}
        self._aside: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        for index, env in self._asked["workers"].items():
            make = ray.remote(Holder).options(scheduling_strategy="SPREAD", **self._asked["share"])
            self._holders[index] = make.remote(self._asked["command"], env, self._name(index))
            self._minding[index] = asyncio.create_task(self._mind(index))
        self._aside.append(asyncio.create_task(self._leave()))

    async def look(self, known: list[str]) -> dict[str, End | None]:
        """How each worker is, None for one that runs; what they said is left out for those that are `known`."""
        silent = {"out": "", "err": ""}
        return {
            index: None if (end := self._ends.get(index)) is None else {**end, **silent} if index in known else end  # type: ignore[misc]
            for index in self._asked["workers"]
        }

    async def read(self, index: str) -> tuple[str, str]:
        end = self._ends.get(index)
        if end is None and index in self._begun:
            out, err = await self._holders[index].read.remote()
            return out, err
        return (end["out"], end["err"]) if end else ("", "")

    async def describe(self) -> str:
        running, workers = len(self._asked["workers"]) - len(self._ends), len(self._asked["workers"])
        return f"{running} of {workers} workers run, of {self._asked['owner']}"

    async def end(self, grace: float, why: str = "cancelled") -> None:
        """End all workers. One that waits for its place is taken back at once."""
        left = [index for index in self._holders if index not in self._ends]
        self._why = self._why or why
        for index in left:
            if index not in self._begun:
                ray.kill(self._holders[index])
        asked = [self._holders[index].end.remote(grace) for index in left if index in self._begun]
        if asked:
            await asyncio.wait([asyncio.ensure_future(self._swallow(one)) for one in asked], timeout=grace + _PATIENCE)
        await asyncio.wait(self._minding.values(), timeout=_PATIENCE)
        for index in left:
            if index not in self._ends:
                ray.kill(self._holders[index])
        await asyncio.wait(self._minding.values(), timeout=_PATIENCE)

    async def _mind(self, index: str) -> None:
        holder = self._holders[index]
        out = err = ""
        cleared = True
        try:
            self._note_begun(index, await holder.start.remote())
            code = await holder.wait.remote()
            out, err = await holder.read.remote()
            how = self._why if self._why and code else "code"
        except ray.exceptions.RayError as error:
            code, how, err, cleared = None, self._why or "lost", f"{str(error).strip()}\n", False
        self._ends[index] = End(how=how, code=code, ended=time.time(), out=out, err=err)
        ray.kill(holder)  # its place is somebody else's now
        if not cleared:
            await self._clear(index)

    async def _clear(self, index: str) -> None:
        """A holder that was killed ends nothing any more. Its worker hears of it, and has its time to end in order."""
        if (node := self._begun.get(index)) is not None:
            place = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
            clear = ray.remote(end_marked).options(num_cpus=0, max_retries=0, scheduling_strategy=place)
            await self._swallow(clear.remote(f"{_MARK}={self._name(index)}", 0.0 if self._why else GRACE))

    def _name(self, index: str) -> str:
        return f"{self._asked['round']}/{index}"

    def _note_begun(self, index: str, node: str) -> None:
        """The deadline counts from here, for those that wait cost nothing."""
        if not self._begun and self._asked["seconds"] is not None:
            self._aside.append(asyncio.create_task(self._keep_deadline(self._asked["seconds"])))
        self._begun[index] = node

    async def _keep_deadline(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.end(GRACE, "late")

    async def _leave(self) -> None:
        await asyncio.wait(self._minding.values())
        await asyncio.sleep(_REMEMBERED)
        os._exit(0)

    async def _swallow(self, asked: Any) -> None:
        """One that is gone has ended."""
        try:
            await asked
        except ray.exceptions.RayError:
            return


def begin_round(asked: Asked) -> None:
    """Make a round's keeper, on the head: that stays longest, and without it no round could be kept."""
    make = ray.remote(Keeper).options(
        name=asked["round"], namespace=NAMESPACE, lifetime="detached", num_cpus=0, resources=_ON_HEAD, max_concurrency=100
    )
    ray.get(make.remote(asked).begin.remote())


def find_keeper(name: str) -> Any:
    """A round's keeper; None where the cluster knows none, or none any more."""
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return None


def list_rounds() -> list[str]:
    """The names of the rounds whose keepers stand."""
    found = ray.util.list_named_actors(all_namespaces=True)
    return [str(one["name"]) for one in found if one["namespace"] == NAMESPACE]


def read_tail(stream: IO[bytes]) -> str:
    size = os.fstat(stream.fileno()).st_size
    return os.pread(stream.fileno(), _SAID, max(0, size - _SAID)).decode(errors="replace")


def end_marked(mark: str, grace: float = 0.0) -> None:
    """End whatever was started below a worker and is there still after `grace` seconds."""
    end, missed = time.monotonic() + grace, 0
    while missed < 2:  # one that just becomes another program shows no mark for a moment
        left = _find_marked(os.fsencode(mark))
        missed = 0 if left else missed + 1
        for process in left if time.monotonic() >= end else ():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)


def _find_marked(mark: bytes) -> list[int]:
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        with suppress(OSError):
            if name.isdigit() and mark in Path("/proc", name, "environ").read_bytes().split(b"\0"):
                found.append(int(name))
    return found
