"""Containers of an image's root file, on the nodes of clusters: Apptainer with a SIF, Slurm's plugin pyxis with a SquashFS.

Apptainer starts a process of ours; with pyxis it is a step of the job that we are in, of which `srun` is the client. Both run as
the user who asks. Variables go by the client's environment, never on its command line. Neither could be had where this was
written: tests hold it to the two programs' documentation by their command lines, and to a program that stands in for them.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from wherry.engines import root_files
from wherry.engines.port import EngineImage, EngineInfo, Mount, MountKind, RunSpec
from wherry.engines.process import ask, find_program, shorten_errors, start_with_pipes
from wherry.engines.sandbox_process import ask_processes, end_processes
from wherry.errors import EngineError
from wherry.store.posix import end_group

MARK = "WHERRY_ATTEMPT"  # the variable by which processes that left their client are found
NAMES = ("pyxis", "apptainer")
ANY = "any"


class RootFileEngine(Protocol):
    """An engine that starts containers of one file, of the form `form` (`engines/root_files.py`)."""

    @property
    def name(self) -> str: ...

    @property
    def form(self) -> str: ...

    def probe(self) -> EngineInfo:
        """Say whether the engine can be used, without raising."""
        ...

    def render(self, spec: RunSpec, file: Path, scratch: Path) -> tuple[str, ...]:
        """The client's command line. `scratch` is a folder of the container's own."""
        ...

    def list_variables(self, spec: RunSpec) -> dict[str, str]:
        """What the client's environment has besides our own."""
        ...

    @property
    def hands_on(self) -> bool:
        """Whether its client hands SIGTERM on to the command, and waits for it."""
        ...

    def is_own_trouble(self, errors: bytes) -> bool:
        """Whether what a client printed is about the engine or the file, and not about the command."""
        ...


class Apptainer:
    """Its exit code is the command's; 255 may be its own, and then its words are in the command's stderr."""

    name = "apptainer"
    form = "sif"
    hands_on = True

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def probe(self) -> EngineInfo:
        if (path := find_program("apptainer", self._env)) is None:
            return EngineInfo(
                name=self.name, usable=False, reason="apptainer is not installed", hint="module load apptainer, before wherry sweep"
            )
        done = ask((path, "version"), self._env)
        if done.returncode != 0:
            return EngineInfo(name=self.name, usable=False, reason=shorten_errors(done.stderr))
        return EngineInfo(name=self.name, usable=True, version=done.stdout.decode(errors="replace").strip())

    def render(self, spec: RunSpec, file: Path, scratch: Path) -> tuple[str, ...]:
        network = ("--net", "--network", "none") if spec.network == "none" else ()
        binds = (word for mount in spec.mounts for word in ("--bind", _render_bind(mount)))
        return (
            *("apptainer", "exec", "--containall", "--cleanenv", "--workdir", str(scratch)),
            *(("--pwd", spec.workdir) if spec.workdir else ()),
            *binds,
            *(("--nv",) if spec.gpus else ()),
            *network,
            *spec.options,
            str(file),
            *spec.command,
        )

    def list_variables(self, spec: RunSpec) -> dict[str, str]:
        # It takes HOME from nobody, and makes the user's own, empty and writable, in the container.
        return {f"APPTAINERENV_{name}": value for name, value in spec.env if name != "HOME"}

    def is_own_trouble(self, errors: bytes) -> bool:
        return b"FATAL" in errors and b"executable file not found" not in errors


class Pyxis:
    """A step shares the job's processors and memory with the others; the container has the network of its node."""

    name = "pyxis"
    form = "squashfs"
    hands_on = False  # srun ends its step instead

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def probe(self) -> EngineInfo:
        if "SLURM_JOB_ID" not in self._env:
            return EngineInfo(name=self.name, usable=False, reason="pyxis is of jobs of Slurm", hint='backend = "slurm"')
        path = find_program("srun", self._env)
        if path is None or b"--container-image" not in ask((path, "--help"), self._env).stdout:
            return EngineInfo(name=self.name, usable=False, reason="Slurm has no plugin pyxis", hint='engine = "any"')
        return EngineInfo(name=self.name, usable=True)

    def render(self, spec: RunSpec, file: Path, scratch: Path) -> tuple[str, ...]:
        del scratch
        if spec.network == "none":
            raise EngineError("pyxis has no containers without a network", hint='engine = "apptainer", or no network in the target')
        image = {line.partition("=")[0] for line in spec.image.config.env}
        names = [name for name, _ in spec.env]
        over = [name for name in names if name in image]
        mounts = ",".join(_render_bind(mount) for mount in spec.mounts)
        return (
            *("srun", "--overlap", "--ntasks=1", "--cpu-bind=none", f"--export={','.join(names) or 'NONE'}"),
            f"--container-image={file}",
            *((f"--container-mounts={mounts}",) if mounts else ()),
            *((f"--container-workdir={spec.workdir}",) if spec.workdir else ()),
            # The image's own values would come before ours.
            *((f"--container-env={','.join(over)}",) if over else ()),
            *("--no-container-mount-home", "--no-container-entrypoint"),
            *spec.options,
            *spec.command,
        )

    def list_variables(self, spec: RunSpec) -> dict[str, str]:
        return dict(spec.env)

    def is_own_trouble(self, errors: bytes) -> bool:
        return (b"pyxis:" in errors or b"spank" in errors) and b"No such file or directory" not in errors.rpartition(b"execve")[2]


class FileContainers:
    """Containers of `file`, which holds the root of `image`, in an engine."""

    def __init__(self, engine: RootFileEngine, image: EngineImage, file: Path, env: Mapping[str, str]) -> None:
        self._engine = engine
        self._image = image
        self._file = file
        self._env = env

    @property
    def name(self) -> str:
        return self._engine.name

    def try_out(self) -> None:
        """Start a container once, whatever its command says, so that an engine that cannot run the file fails no task."""
        spec = RunSpec(image=self._image, name="trial", command=("true",))
        with tempfile.TemporaryDirectory(prefix="wherry-") as scratch:
            done = ask(self._engine.render(spec, self._file, Path(scratch)), self._env)
        if done.returncode != 0 and self._engine.is_own_trouble(done.stderr):
            raise EngineError(f"{self.name} does not run the image: {shorten_errors(done.stderr)}", where=str(self._file))

    def launch(self, spec: RunSpec, starter: Sequence[str] = ()) -> LaunchedFile:
        if not self._file.exists():
            raise EngineError("the image's file is gone", where=str(self._file), hint="wherry sweep resume")
        scratch = Path(tempfile.mkdtemp(prefix="wherry-"))
        try:
            argv = (*starter, *self._engine.render(spec, self._file, scratch))
            # The mark is the client's own, too: it is ended with what it started.
            mark = {MARK: dict(spec.env).get(MARK, spec.name)}
            process = start_with_pipes(argv, {**self._env, **self._engine.list_variables(spec), **mark})
            return LaunchedFile(process, f"{MARK}={mark[MARK]}", scratch, hands_on=self._engine.hands_on)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise


class LaunchedFile:
    """A client and what it started, which is found by its mark, wherever on this node it is."""

    def __init__(self, process: subprocess.Popen[bytes], mark: str, scratch: Path, *, hands_on: bool) -> None:
        self.process = process
        self._mark = mark
        self._scratch = scratch
        self._hands_on = hands_on
        self._asked = False

    def ask(self) -> None:
        self._asked = True
        if self._hands_on or not ask_processes(self._mark, self.process.pid):
            self.process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        if self._asked or self.process.poll() is None:
            end_processes(self._mark)
        end_group(self.process.pid)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def read_code(self, code: int) -> int:
        return 128 - code if code < 0 else code


def find_root_file_engine(name: str, env: Mapping[str, str]) -> RootFileEngine | None:
    """The engine of that name, which must be usable; of ``any``, the first one that is, None where there is none or no file for it
    could be made."""
    if name not in (*NAMES, ANY) or (name == ANY and find_program(root_files.PROGRAM, env) is None):
        return None
    for engine in (Pyxis(env), Apptainer(env)):
        if name in (engine.name, ANY):
            info = engine.probe()
            if info.usable:
                return engine
            if name != ANY:
                raise EngineError(f"{name} is not usable: {info.reason}", hint=info.hint or None)
    return None


def _render_bind(mount: Mount) -> str:
    """Both programs separate paths by colons and mounts by commas, and have no way to write either."""
    if mount.kind is not MountKind.BIND:
        raise EngineError(f"{mount.kind.value} is no mount of clusters' containers", where=mount.target)
    if any(sign in f"{mount.source}{mount.target}" for sign in ":,"):
        raise EngineError("a path with a colon or a comma cannot be mounted", where=mount.source, hint="another name of the folder")
    return f"{mount.source}:{mount.target}{':ro' if mount.read_only else ''}"
