"""containerd, by `ctr`. `CONTAINERD_ADDRESS` and `CONTAINERD_NAMESPACE` are ctr's to read.

ctr knows images by name only, so an image is recognised by following its name to the config's digest. containerd has
no network of its own: containers get the host's, unless told ``none``.

`ctr run` never tells a container that stdin has ended (1.6). So stdin that is no terminal goes through a named pipe, which
the host's busybox, mounted read-only, puts in the command's place of stdin before it becomes the command.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from wherry.engines.busybox import SHELL, TARGET, prepare_busybox
from wherry.engines.port import EngineImage, EngineInfo, Mount, MountKind, RunSpec
from wherry.engines.process import ask, demand, feed, find_program, shorten_errors, supervise
from wherry.errors import EngineError, UsageError
from wherry.model.digest import DiffId
from wherry.model.reference import Reference
from wherry.store.posix import make_pipe

_STDIN = "/.wherry/stdin"
_REMEDY = "start containerd, or set CONTAINERD_ADDRESS; --on bubblewrap needs no daemon"


class ContainerdEngine:
    """Needs a daemon, and in general root."""

    name = "containerd"

    def __init__(self, env: Mapping[str, str], cache: Path) -> None:
        self._env = env
        self._cache = cache

    def probe(self) -> EngineInfo:
        path = find_program("ctr", self._env)
        if path is None:
            return EngineInfo(name=self.name, usable=False, reason="ctr is not installed", hint=_REMEDY)
        try:
            done = ask([path, "--connect-timeout", "3s", "version"], self._env, timeout=20)
        except EngineError as error:
            return EngineInfo(name=self.name, usable=False, reason=error.what, hint=_REMEDY)
        if done.returncode != 0:
            return EngineInfo(name=self.name, usable=False, reason=shorten_errors(done.stderr), hint=_REMEDY)
        versions = [line.split()[-1] for line in done.stdout.decode().splitlines() if line.strip().startswith("Version:")]
        return EngineInfo(name=self.name, usable=True, version=versions[-1] if versions else "")

    def has(self, image: EngineImage) -> bool:
        return self._find_name(image) is not None

    def held_layers(self, image: EngineImage) -> frozenset[DiffId]:  # noqa: ARG002
        return frozenset()

    def load(self, chunks: Iterable[bytes], image: EngineImage) -> None:
        self._collect_garbage()
        argv = [self._path(), "images", "import", "--platform", str(image.config.platform), "-"]
        feed(argv, self._env, chunks, "containerd did not take the image", _REMEDY)
        if not self.has(image):
            raise EngineError(f"containerd took the archive, but does not have image {image.image_id}")

    def _collect_garbage(self) -> None:
        """Let containerd drop now what it is about to drop.

        An import counts on the layers it finds, but takes no lease of them (1.6): layers of an image whose name went to
        another one can vanish under it. A lease's synchronous end is what runs the collector and waits for it.
        """
        lease = f"wherry-{os.getpid()}-{time.monotonic_ns()}"
        ask([self._path(), "leases", "create", "--id", lease, "--expires", "1m"], self._env)
        ask([self._path(), "leases", "delete", "--sync", lease], self._env)

    def list_notes(self, spec: RunSpec) -> tuple[str, ...]:
        if spec.ports and spec.network != "none":
            ports = ", ".join(str(port.container_port) for port in spec.ports)
            return (f"containerd uses the host's network: the program itself listens on port {ports} of this machine",)
        return ()

    def run(self, spec: RunSpec) -> int:
        if spec.terminal:
            return self._run_plainly(spec)
        with tempfile.TemporaryDirectory(prefix="wherry-") as folder:
            pipe = Path(folder) / "stdin"
            make_pipe(pipe)
            pipe.chmod(0o644)  # the container's user reads it; the folder keeps others out
            # Ends with this process, for it may wait for a reader or for our stdin without end.
            threading.Thread(target=_pass_stdin, args=(pipe, spec.interactive), daemon=True).start()
            return self._run_plainly(self._with_pipe(spec, pipe))

    def _run_plainly(self, spec: RunSpec) -> int:
        argv = self._render_run(spec, detached=False)
        try:
            process = subprocess.Popen(argv, env=dict(self._env), stdin=None if spec.terminal else subprocess.DEVNULL)
        except OSError as error:
            raise EngineError(f"cannot start ctr: {error.strerror}") from error
        with process:
            return supervise(process, lambda grace: self._end_task(spec.name, grace))

    def _with_pipe(self, spec: RunSpec, pipe: Path) -> RunSpec:
        mounts = [*spec.mounts, Mount(kind=MountKind.BIND, source=str(pipe), target=_STDIN, read_only=True)]
        if all(mount.target != TARGET for mount in mounts):
            mounts.append(prepare_busybox(self._env, self._cache))
        config = spec.image.config
        command = spec.command or (*config.entrypoint, *config.cmd)
        return replace(spec, mounts=tuple(mounts), command=(SHELL, "-c", f'exec "$@" <{_STDIN}', "sh", *command))

    def start(self, spec: RunSpec) -> str:
        demand(self._render_run(spec, detached=True), self._env, "containerd did not start the container")
        return spec.name

    def stop(self, container: str, grace: float) -> None:
        self._end_task(container, grace)
        ask([self._path(), "tasks", "delete", "--force", container], self._env)
        ask([self._path(), "containers", "delete", container], self._env)

    def _end_task(self, container: str, grace: float) -> None:
        if grace > 0:
            ask([self._path(), "tasks", "kill", "--signal", "SIGTERM", container], self._env)
            if self._wait_for_end(container, grace):
                return
        ask([self._path(), "tasks", "kill", "--signal", "SIGKILL", "--all", container], self._env)
        self._wait_for_end(container, 10)

    def _wait_for_end(self, container: str, patience: float) -> bool:
        end = time.monotonic() + patience
        while self._is_running(container):
            if time.monotonic() >= end:
                return False
            time.sleep(0.1)
        return True

    def _is_running(self, container: str) -> bool:
        listed = ask([self._path(), "tasks", "list"], self._env).stdout.decode("utf-8", "replace")
        return any(line.split()[:1] == [container] and line.split()[-1] == "RUNNING" for line in listed.splitlines())

    def _path(self) -> str:
        path = find_program("ctr", self._env)
        if path is None:
            raise EngineError("ctr is not installed", hint=_REMEDY)
        return path

    def _find_name(self, image: EngineImage) -> str | None:
        """The name under which containerd has exactly this image, whole."""
        if image.name is None:
            return None
        name = str(Reference.parse(image.name))
        checked = ask([self._path(), "images", "check", f"name=={name}"], self._env)
        fields = [line.split() for line in checked.stdout.decode("utf-8", "replace").splitlines()[1:]]
        for line in fields:
            if line[0] == name and "complete" in line and self._leads_to(line[2], image):
                return name
        return None

    def _leads_to(self, digest: str, image: EngineImage, depth: int = 2) -> bool:
        found = ask([self._path(), "content", "get", digest], self._env)
        if found.returncode != 0 or depth == 0:
            return False
        document = json.loads(found.stdout)
        if "config" in document:
            return bool(document["config"].get("digest") == str(image.image_id))
        return any(self._leads_to(inner["digest"], image, depth - 1) for inner in document.get("manifests", []))

    def _render_run(self, spec: RunSpec, *, detached: bool) -> list[str]:
        name = self._find_name(spec.image)
        if name is None:
            raise EngineError(f"containerd does not have image {spec.image.image_id}")
        if spec.secrets:
            raise EngineError(
                "ctr takes variables on its command line alone, which others can read", hint="--on podman, or bubblewrap"
            )
        options = ["--platform", str(spec.image.config.platform)]
        options += ["--detach"] if detached else []
        options += ["--rm"] if spec.remove and not detached else []  # ctr knows not both
        options += ["--tty"] if spec.terminal and not detached else []
        options += ["--read-only"] if spec.read_only else []
        options += ["--gpus", "0" if spec.gpus == "all" else spec.gpus] if spec.gpus else []
        options += self._render_network(spec)
        options += ["--cwd", spec.workdir] if spec.workdir is not None else []
        options += self._render_user(spec.user) if spec.user is not None else []
        for key, value in spec.env:
            options += ["--env", f"{key}={value}"]
        for key, value in spec.labels:
            options += ["--label", f"{key}={value}"]
        for mount in spec.mounts:
            options += ["--mount", _render_mount(mount)]
        return [self._path(), "run", *options, *spec.options, name, spec.name, *spec.command]

    def _render_user(self, user: str) -> list[str]:
        if b"--user " not in ask([self._path(), "run", "--help"], self._env).stdout:
            raise EngineError("this version of ctr runs an image as its own user only", hint="leave -u away, or --on docker")
        return ["--user", user]

    def _render_network(self, spec: RunSpec) -> list[str]:
        if spec.network == "none":
            return []
        if spec.network not in (None, "host"):
            raise EngineError(f"containerd knows no network {spec.network!r}", hint="--network host or none, or --on docker")
        for port in spec.ports:
            if port.host_port not in (None, port.container_port):
                raise EngineError(
                    f"containerd cannot map port {port.host_port} to {port.container_port}: it uses the host's network",
                    hint=f"-p {port.container_port}:{port.container_port}, or --on docker",
                )
        return ["--net-host"]


def _pass_stdin(pipe: Path, interactive: bool) -> None:
    with suppress(OSError), pipe.open("wb", buffering=0) as sink:  # waits for the container to open the other end
        while interactive and (chunk := os.read(0, 1 << 16)):
            sink.write(chunk)


def _render_mount(mount: Mount) -> str:
    if mount.kind is MountKind.VOLUME:
        raise UsageError(f"containerd has no named volumes: {mount.source}", hint="-v /a/folder:/in/the/container")
    if mount.kind is MountKind.TEMPORARY:
        return f"type=tmpfs,src=tmpfs,dst={mount.target}"
    if "," in mount.source or "," in mount.target:
        raise UsageError(f"ctr takes no comma in a mount: {mount.source}:{mount.target}", hint="--on podman")
    return f"type=bind,src={mount.source},dst={mount.target},options=rbind:{'ro' if mount.read_only else 'rw'}"
