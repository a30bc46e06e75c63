"""Nodes of a simulated Azure Batch pool: each runs its start task and then tasks, as real processes in folders of its own.

What a node does is what Azure documents of its agent: the ``AZ_BATCH_*`` variables, ``stdout.txt`` and ``stderr.txt`` beside
``wd``, retries, wall clock limits, resource files before, output files after by condition. A task in a container is started
by whatever the test gives, as there is no docker on a node.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

TICK = 0.02
Document = dict[str, Any]
# Given image, options and argv: the argv that runs them in a container of that image.
StartContainer = Callable[[str, str, Sequence[str]], Sequence[str]]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_of(duration: str | None) -> float | None:
    """What an ISO 8601 duration such as ``PT1H30M`` or ``P1DT2.5S`` is; None for none, and for the service's own longest."""
    found = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?", duration or "")
    if not found:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return None if total > 10_000 * 86_400 else total


@dataclass
class Running:
    """One process of a node."""

    process: subprocess.Popen[bytes]
    ended_by: str | None = None

    def end(self, why: str) -> None:
        self.ended_by = self.ended_by or why
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@dataclass
class Node:
    """A machine. `folder` is its disk; it is gone when the node is."""

    id: str
    pool: str
    dedicated: bool
    folder: Path
    state: str = "creating"
    start_info: Document | None = None
    running: dict[tuple[str, str], Running] = field(default_factory=dict)
    total: int = 0

    def describe(self) -> Document:
        document = {"id": self.id, "state": self.state, "isDedicated": self.dedicated, "schedulingState": "enabled"}
        document |= {"runningTasksCount": len(self.running), "totalTasksRun": self.total, "ipAddress": "127.0.0.1"}
        return document | ({"startTaskInfo": self.start_info} if self.start_info else {})

    def leave(self, why: str) -> None:
        for one in list(self.running.values()):
            one.end(why)


class Runner:
    """Runs what the service hands out. `variables` are those that every process of a node has."""

    def __init__(self, start_container: StartContainer | None, variables: Mapping[str, str]) -> None:
        self.start_container = start_container
        self.variables = dict(variables)

    def run(self, node: Node, key: tuple[str, str], task: Document, common: Sequence[Document], attempt: int) -> Document:
        """One attempt at a task: how ``executionInfo`` tells its end, and ``ended_by`` where it was ended."""
        folder = node.folder / "workitems" / key[0] / "job-1" / key[1]
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "wd").mkdir(parents=True)
        env = self._environment(node, key, folder, (*common, *task.get("environmentSettings", ())), attempt)
        started = now()
        try:
            self._fetch(task.get("resourceFiles", ()), folder / "wd")
            code, why = self._execute(node, key, task, folder, env)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong on a node is told as the task's failure
            code, why = -1, f"{type(error).__name__}: {error}"
            (folder / "stderr.txt").write_text(why)
        info: Document = {
            "startTime": started,
            "endTime": now(),
            "exitCode": code,
            "result": "failure" if code or why else "success",
        }
        if why:
            info["failureInfo"] = {"category": "usererror", "code": "TaskEnded", "message": why}
        elif code:
            info["failureInfo"] = {"category": "usererror", "code": "FailureExitCode", "message": f"exit code {code}"}
        if why not in ("preempted", "node left"):
            info |= self._send(task.get("outputFiles", ()), folder / "wd", info)
        return info | {"ended_by": why}

    def _environment(
        self, node: Node, key: tuple[str, str], folder: Path, settings: Sequence[Document], attempt: int
    ) -> dict[str, str]:
        shared = node.folder / "shared"
        shared.mkdir(parents=True, exist_ok=True)
        own = {
            "AZ_BATCH_JOB_ID": key[0],
            "AZ_BATCH_TASK_ID": key[1],
            "AZ_BATCH_POOL_ID": node.pool,
            "AZ_BATCH_NODE_ID": node.id,
            "AZ_BATCH_NODE_ROOT_DIR": str(node.folder),
            "AZ_BATCH_NODE_SHARED_DIR": str(shared),
            "AZ_BATCH_TASK_DIR": str(folder),
            "AZ_BATCH_TASK_WORKING_DIR": str(folder / "wd"),
            "AZ_BATCH_NODE_IS_DEDICATED": str(node.dedicated).lower(),
            "HOME": str(folder / "wd"),
            "TASK_ATTEMPT": str(attempt),
        }
        return self.variables | own | {each["name"]: each.get("value", "") for each in settings}

    def _execute(
        self, node: Node, key: tuple[str, str], task: Document, folder: Path, env: dict[str, str]
    ) -> tuple[int, str | None]:
        argv: Sequence[str] = shlex.split(task["commandLine"])
        if settings := task.get("containerSettings"):
            if self.start_container is None:
                raise RuntimeError("this node runs no containers")
            argv = self.start_container(settings["imageName"], settings.get("containerRunOptions", ""), argv)
        with (folder / "stdout.txt").open("wb") as out, (folder / "stderr.txt").open("wb") as err:
            process = subprocess.Popen(
                argv, cwd=folder / "wd", env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )
        running = node.running[key] = Running(process)
        limit = seconds_of(task.get("constraints", {}).get("maxWallClockTime"))
        end = None if limit is None else time.monotonic() + limit
        try:
            while process.poll() is None:
                if end is not None and time.monotonic() > end:
                    running.end("The task exceeded its maximum wall clock time")
                time.sleep(TICK)
        finally:
            running.end("")
            del node.running[key]
        return process.returncode, running.ended_by or None

    def _fetch(self, files: Sequence[Document], folder: Path) -> None:
        for file in files:
            target = folder / file["filePath"]
            target.parent.mkdir(parents=True, exist_ok=True)
            with urllib.request.urlopen(file["httpUrl"], timeout=20) as answer, target.open("wb") as sink:
                shutil.copyfileobj(answer, sink)

    def _send(self, files: Sequence[Document], folder: Path, info: Document) -> Document:
        """What is said where files cannot be sent, if nothing else was wrong."""
        try:
            self._upload(files, folder, succeeded=info["result"] == "success")
        except OSError as error:
            code = "FileUploadAccessDenied" if getattr(error, "code", 0) == 403 else "FileUploadMiscError"
            failure = {"category": "usererror", "code": code, "message": str(error)}
            return {"result": "failure", "failureInfo": info.get("failureInfo", failure)}
        return {}

    def _upload(self, files: Sequence[Document], folder: Path, *, succeeded: bool) -> None:
        for file in files:
            condition = file["uploadOptions"]["uploadCondition"].lower()
            if condition not in ("taskcompletion", "tasksuccess" if succeeded else "taskfailure"):
                continue
            container, pattern = file["destination"]["container"], file["filePattern"]
            if "*" not in pattern:
                put_blob(container["containerUrl"], container.get("path", ""), folder / pattern)
                continue
            top = (folder / pattern.split("*")[0].rpartition("/")[0]).resolve()
            for path in sorted(top.rglob("*")):
                if path.is_file() and _matches(os.path.relpath(path, folder), pattern):
                    name = f"{container.get('path', '')}/{path.relative_to(top)}".lstrip("/")
                    put_blob(container["containerUrl"], name, path)


def _matches(path: str, pattern: str) -> bool:
    """``**`` goes through folders, ``*`` does not."""
    return fnmatchcase(path, pattern.replace("**/*", "*")) and ("**" in pattern or path.count("/") == pattern.count("/"))


def put_blob(container: str, name: str, path: Path) -> None:
    """Put a file to a container's SAS."""
    parts = urlsplit(container)
    url = urlunsplit((parts.scheme, parts.netloc, f"{parts.path}/{quote(name)}", parts.query, ""))
    request = urllib.request.Request(url, data=path.read_bytes(), method="PUT", headers={"x-ms-blob-type": "BlockBlob"})
    urllib.request.urlopen(request, timeout=20).close()
