"""Runs an image with no engine at all: its root unpacked in our cache, its process in namespaces made by bubblewrap.

Needs no daemon and no root. What differs from docker, and is said when it matters: the root is read-only (`/tmp`, `/run` and
volumes are writable), the network is the host's own or none, so a published port is the one that the program listens on,
and there are no GPUs. Containers hold no capability, and their user is the current one under the image's number.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from wherry.engines.accounts import Account, find_account
from wherry.engines.port import EngineImage, EngineInfo, Mount, MountKind, RunSpec
from wherry.engines.process import NOT_FOUND, ask, find_program, shorten_errors, supervise
from wherry.engines.roots import RootCache
from wherry.engines.sandbox import Placed, find_command, plan_mounts, resolve_inside
from wherry.engines.sandbox_process import Sandbox, Streams, stop_process
from wherry.errors import EngineError, UsageError
from wherry.model.digest import DiffId
from wherry.store.host import read_host_platform

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
REMEDY = (
    "allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1, "
    "kernel.apparmor_restrict_unprivileged_userns=0), or install podman"
)
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_HOST_FILES = ("/etc/resolv.conf", "/etc/hosts")
SANDBOX_MARK = "WHERRY_SANDBOX"


class BubblewrapEngine:
    """The engine that is always there. `cache` holds roots; `volumes` is where named volumes lie."""

    name = "bubblewrap"

    def __init__(self, env: Mapping[str, str], cache: Path, volumes: Path) -> None:
        self._env = env
        self._cache = cache
        self._volumes = volumes
        self._roots = RootCache(cache)

    def probe(self) -> EngineInfo:
        path = find_program("bwrap", self._env)
        if path is None:
            hint = "apt install bubblewrap"
            return EngineInfo(name=self.name, usable=False, reason="bubblewrap is not installed", hint=hint)
        try:
            version = ask([path, "--version"], self._env, timeout=20).stdout.decode().split()[-1:]
            trial = [path, "--unshare-all", "--unshare-user", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
            done = ask([*trial, "--", path, "--version"], self._env, timeout=20)
        except EngineError as error:
            return EngineInfo(name=self.name, usable=False, reason=error.what)
        if done.returncode != 0:
            return EngineInfo(name=self.name, usable=False, reason=shorten_errors(done.stderr), hint=REMEDY)
        return EngineInfo(name=self.name, usable=True, version=version[0] if version else "")

    def has(self, image: EngineImage) -> bool:
        return self._roots.has(image)

    def held_layers(self, image: EngineImage) -> frozenset[DiffId]:
        return self._roots.held_layers(image)

    def load(self, chunks: Iterable[bytes], image: EngineImage) -> None:
        self._roots.load(chunks, image)

    def load_layers(self, image: EngineImage, read_layer: Callable[[DiffId], Iterable[bytes]]) -> None:
        """Take the image's layers, those that are not unpacked yet, one by one and without an archive."""
        self._roots.load_layers(image, read_layer)

    def list_notes(self, spec: RunSpec) -> tuple[str, ...]:
        notes = []
        if spec.ports and spec.network != "none":
            ports = ", ".join(str(port.container_port) for port in spec.ports)
            notes.append(f"bubblewrap uses the host's network: the program itself listens on port {ports} of this machine")
        return tuple(notes)

    def run(self, spec: RunSpec) -> int:
        with self._open_sandbox(spec, detached=False) as sandbox:
            code = supervise(sandbox.process, sandbox.stop)
        return NOT_FOUND if code == 1 and sandbox.command_path is None else code

    def launch(self, spec: RunSpec, starter: Sequence[str] = ()) -> LaunchedSandbox:
        return LaunchedSandbox(self._open_sandbox(spec, detached=False, starter=tuple(starter), piped=True))

    def start(self, spec: RunSpec) -> str:
        """The process number of the command, so that ``kill`` stops it."""
        return str(self._open_sandbox(spec, detached=True).release())

    def stop(self, container: str, grace: float) -> None:
        stop_process(int(container), grace)

    def _open_sandbox(self, spec: RunSpec, *, detached: bool, starter: tuple[str, ...] = (), piped: bool = False) -> Sandbox:
        scratch = self._cache / "containers" / spec.name
        scratch.mkdir(parents=True, mode=0o700)
        try:
            options, command, path = self._plan(spec, scratch, detached=detached)
            stdin = None if spec.interactive else subprocess.DEVNULL
            # The mark is bwrap's own variable, not the command's: by it a sandbox is found whose starter has died.
            env = {**self._env, SANDBOX_MARK: str(scratch)}
            streams = Streams(stdin=stdin, piped=piped, detached=detached)
            return Sandbox(options, command, path, env, scratch, streams, starter)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise

    def _plan(self, spec: RunSpec, scratch: Path, *, detached: bool) -> tuple[list[str], tuple[str, ...], str | None]:
        """bwrap's options, the command, and where in the image the command lies (None: nowhere)."""
        self._refuse_unsupported(spec)
        root = self._roots.root_of(spec.image)
        if not root.is_dir():
            raise EngineError(f"image {spec.image.image_id} is not unpacked")
        config = spec.image.config
        command = spec.command or (*config.entrypoint, *config.cmd)
        if not command:
            raise UsageError("the image has no entrypoint", hint="wherry run COMMAND…")
        account = find_account(root, spec.user if spec.user is not None else config.user)
        env = self._render_env(spec, account)
        workdir = spec.workdir or config.workdir or "/"
        arguments = ["--unshare-all", "--unshare-user", "--uid", str(account.uid), "--gid", str(account.gid)]
        arguments += ["--hostname", spec.image.image_id.hex[:12], "--cap-drop", "ALL"]
        arguments += [] if spec.network == "none" else ["--share-net"]
        arguments += [] if detached else ["--die-with-parent"]
        arguments += [] if spec.terminal else ["--new-session"]
        arguments += plan_mounts(root, self._place_mounts(spec, root, scratch, workdir))
        arguments += ["--chdir", workdir, "--clearenv"]
        for key, value in env.items():
            arguments += ["--setenv", key, value]
        found = find_command(root, command[0], env["PATH"], workdir, [resolve_inside(root, mount.target) for mount in spec.mounts])
        return arguments, command, found

    def _refuse_unsupported(self, spec: RunSpec) -> None:
        if spec.options:
            raise UsageError(f"bubblewrap has no options of its own: {' '.join(spec.options)}", hint="--on podman")
        if spec.gpus:
            raise EngineError("bubblewrap passes no GPU on", hint="--on docker or --on podman")
        if spec.network not in (None, "host", "none"):
            raise EngineError(f"bubblewrap knows no network {spec.network!r}", hint="--network host or none, or --on podman")
        for port in spec.ports:
            if port.host_port not in (None, port.container_port):
                raise EngineError(
                    f"bubblewrap cannot map port {port.host_port} to {port.container_port}: it uses the host's network",
                    hint=f"-p {port.container_port}:{port.container_port}, or --on podman",
                )
        wanted, host = spec.image.config.platform, read_host_platform()
        if wanted.architecture != host.architecture and not (_BINFMT / f"qemu-{wanted.machine}").exists():
            raise EngineError(
                f"the image is for {wanted}, this machine is {host}",
                hint=f"install qemu-user-static with binfmt support, or build for {host}",
            )

    def _render_env(self, spec: RunSpec, account: Account) -> dict[str, str]:
        env = {"PATH": _PATH, "HOME": account.home, "HOSTNAME": spec.image.image_id.hex[:12]}
        if spec.terminal:
            env["TERM"] = self._env.get("TERM", "xterm")
        env |= {key: value for key, _, value in (item.partition("=") for item in spec.image.config.env)}
        return env | dict(spec.env) | dict(spec.secrets)

    def _place_mounts(self, spec: RunSpec, root: Path, scratch: Path, workdir: str) -> tuple[Placed, ...]:
        placed = [
            Placed(target="/proc", options=("--proc", "/proc")),
            Placed(target="/dev", options=("--dev", "/dev")),
            Placed(target=resolve_inside(root, "/tmp"), options=("--perms", "1777", "--tmpfs", resolve_inside(root, "/tmp"))),  # noqa: S108
            Placed(target=resolve_inside(root, "/run"), options=("--tmpfs", resolve_inside(root, "/run"))),
        ]
        if spec.network != "none":
            files = [name for name in _HOST_FILES if Path(name).is_file()]
            placed += [_place_file(name, resolve_inside(root, name)) for name in files]
        named = {resolve_inside(root, mount.target) for mount in spec.mounts}
        for number, volume in enumerate(spec.image.config.volumes):
            target = resolve_inside(root, volume)
            if target not in named:
                placed.append(_place_folder(_fill_volume(scratch / f"volume-{number}", root, target), target))
        placed += [self._place_mount(mount, root) for mount in spec.mounts]
        inside = resolve_inside(root, workdir)
        if not (root / inside.lstrip("/")).is_dir() and all(item.target != inside for item in placed):
            placed.append(Placed(target=inside, options=("--dir", inside)))
        return tuple(placed)

    def _place_mount(self, mount: Mount, root: Path) -> Placed:
        target = resolve_inside(root, mount.target)
        if mount.kind is MountKind.TEMPORARY:
            return Placed(target=target, options=("--tmpfs", target))
        if mount.kind is MountKind.VOLUME:
            source = _fill_volume(self._volumes / mount.source, root, target)
            return _place_folder(source, target, read_only=mount.read_only)
        host = Path(mount.source)
        if not host.exists():
            raise UsageError(f"-v {mount.source}: there is no such file or folder", hint=f"mkdir -p {mount.source}")
        if host.is_dir():
            return _place_folder(host, target, read_only=mount.read_only)
        return _place_file(mount.source, target, read_only=mount.read_only)


class LaunchedSandbox:
    """A sandbox that others watch."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.process = sandbox.process
        self._sandbox = sandbox

    def ask(self) -> None:
        self._sandbox.ask()

    def end(self) -> None:
        self._sandbox.close()

    def read_code(self, code: int) -> int:
        if code == 1 and self._sandbox.command_path is None:
            return NOT_FOUND
        return 128 - code if code < 0 else code


def _place_folder(source: Path, target: str, *, read_only: bool = False) -> Placed:
    return Placed(target=target, options=("--ro-bind" if read_only else "--bind", str(source), target))


def _place_file(source: str, target: str, *, read_only: bool = True) -> Placed:
    return Placed(target=target, options=("--ro-bind" if read_only else "--bind", source, target), is_folder=False)


def _fill_volume(volume: Path, root: Path, target: str) -> Path:
    """As docker does: an empty volume begins with what the image has at its place."""
    volume.parent.mkdir(parents=True, exist_ok=True)
    inside = root / target.lstrip("/")
    if not volume.exists():
        if inside.is_dir():
            shutil.copytree(inside, volume, symlinks=True)
        else:
            volume.mkdir()
    return volume
