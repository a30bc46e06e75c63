"""Jobs in the project's image: in docker, podman, or bubblewrap where there is no engine.

The project lies over the image's code, at the image's working folder and read-only; folders of data lie in it as declared; the
job's outputs and metrics are writable below `/run/wherry`. What a job writes belongs to whoever began it. Rules: the image is
named by its ID; containers are removed with their jobs. containerd is refused: its own program knows neither users nor limits.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from wherry.engines.choice import find_engine, make_engine
from wherry.engines.port import Engine, EngineImage, LaunchingEngine, Mount, MountKind, RunSpec
from wherry.engines.sandbox_process import end_processes
from wherry.errors import EngineError, JobError, UsageError
from wherry.model.job import Job, Limits, TaskEnd
from wherry.run.launch import load_image
from wherry.run.port import BackendInfo, Prepared, TaskLogs
from wherry.run.tasks import find_logs, list_tasks, read_end, start_task, stop_task, task_folder
from wherry.run.variables import METRICS, OUTPUTS, list_variables, mark_of
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage
from wherry.store.places import cache_path
from wherry.store.posix import limit_processes, name_user

ENGINES = ("podman", "docker", "bubblewrap")
LIMITLESS = ("bubblewrap", "apptainer")  # those of their processes are ours to set
_OWN = "/run/wherry"
_DEFAULT_WORKDIR = "/"
# Builds the image if it has to be built, and gives it with the digest of the locked packages.
Materialise = Callable[[], tuple[DiskStore, StoredImage, EngineImage, str | None]]


class ContainerBackend:
    """`engine` None: the first usable one. `options` is what a caller wants of the containers besides: mounts, ports, network."""

    def __init__(
        self,
        env: Mapping[str, str],
        engine: str | None,
        materialise: Materialise | None = None,
        *,
        say: Callable[[str], None] = lambda _text: None,
        stdin: bool = False,
        then: Callable[[], None] = lambda: None,
        network: str | None = None,
        mounts: tuple[Mount, ...] = (),
    ) -> None:
        if engine is not None and engine not in ENGINES:
            raise UsageError(f"jobs do not run in {engine!r}", hint=", ".join(ENGINES))
        self._env = env
        self._name = engine
        self._materialise = materialise
        self._say = say
        self._stdin = stdin
        self._then = then
        self._network = network
        self._mounts = mounts
        self._engine: Engine | None = None
        self._image: EngineImage | None = None

    def probe(self) -> BackendInfo:
        try:
            find_engine(self._name, self._env)
        except EngineError as error:
            return BackendInfo(usable=False, reason=error.what, hint=error.hint or "")
        return BackendInfo(usable=True)

    def up(self) -> Prepared:
        if self._materialise is None:
            raise JobError("this backend begins no jobs")
        engine = self._find_engine()
        store, stored, image, lock = self._materialise()
        load_image(store, stored, image, engine, self._say)
        self._image = image
        return Prepared(lock=lock, image=str(image.image_id), engine=engine.name)

    def submit(self, job: Job, indices: Sequence[int]) -> None:
        if self._image is None:
            self.up()
        image, engine = self._image, self._find_engine()
        assert image is not None  # noqa: S101
        specs = {index: self._render_spec(job, index, image, engine) for index in indices}
        for index, spec in specs.items():
            for note in engine.list_notes(spec):
                self._say(note)
            work = partial(_run_container, engine, spec, job.limits)
            folder = task_folder(job.folder, index)
            start_task(folder, work, self._then, seconds=job.limits.seconds, stdin=self._stdin)

    def poll(self, job: Job) -> dict[int, TaskEnd]:
        return {index: read_end(task_folder(job.folder, index)) for index in list_tasks(job.folder)}

    def logs(self, job: Job, index: int) -> TaskLogs:
        return find_logs(job.folder, index)

    def cancel(self, job: Job, grace: float) -> None:
        for index in list_tasks(job.folder):
            clear = partial(_clear, self._find_engine(), _name_container(job, index), job, self._env)
            stop_task(task_folder(job.folder, index), grace, clear)

    def down(self) -> None:
        """Nothing: containers go with their jobs, and the image stays for the next one."""

    def _find_engine(self) -> Engine:
        if self._engine is None:
            self._engine = choose_engine(self._name, self._env)
        return self._engine

    def _render_spec(self, job: Job, index: int, image: EngineImage, engine: Engine) -> RunSpec:
        spec = render_spec(job, index, image, engine, _name_container(job, index))
        mounts = (*spec.mounts, *self._mounts)
        return replace(spec, mounts=mounts, network=self._network, interactive=self._stdin)


def render_spec(job: Job, index: int, image: EngineImage, engine: Engine | LaunchingEngine, name: str) -> RunSpec:
    """One task's container, as each engine wants it."""
    workdir = image.config.workdir or _DEFAULT_WORKDIR
    if workdir == "/":
        raise JobError("the image has no working folder that the project could lie at", hint='workdir = "/app"')
    return RunSpec(
        image=image,
        name=name,
        command=job.command,
        env=tuple({"HOME": "/tmp", **dict(job.env), **list_variables(job, index, _OWN)}.items()),  # noqa: S108
        mounts=tuple(_list_mounts(job, workdir)),
        workdir=workdir,
        user=choose_user(engine),
        gpus=job.limits.gpus,
        interactive=False,
        options=_render_limits_of(engine.name, job.limits),
    )


def choose_engine(name: str | None, env: Mapping[str, str]) -> Engine:
    """The engine of that name, else the first usable one."""
    # One that was named is not asked first whether it is usable: what it is asked for next tells as well.
    engine = make_engine(name, env) if name else find_engine(None, env)
    if engine.name not in ENGINES:
        raise UsageError(f"jobs do not run in {engine.name!r}", where="WHERRY_ENGINE", hint=", ".join(ENGINES))
    return engine


def _list_mounts(job: Job, workdir: str) -> list[Mount]:
    mounts = [Mount(kind=MountKind.BIND, source=job.root, target=workdir, read_only=True)]
    for folder in job.data:
        source = Path(job.root, folder.path)
        if not source.is_dir():
            raise JobError("there is no such folder in the project", where=folder.path, hint=f"mkdir -p {source}")
        target = f"{workdir}/{folder.path}"
        mounts.append(Mount(kind=MountKind.BIND, source=str(source), target=target, read_only=not folder.writable))
    for name in (OUTPUTS, METRICS):
        mounts.append(Mount(kind=MountKind.BIND, source=f"{job.folder}/{name}", target=f"{_OWN}/{name}"))
    return mounts


def choose_user(engine: Engine | LaunchingEngine) -> str | None:
    """Whose files a job's outputs are: ours. podman without root, and bubblewrap, map us to the container's user themselves;
    clusters' engines run as nobody else."""
    if engine.name in ("bubblewrap", "apptainer", "pyxis"):
        return None
    user, group = name_user()
    return "0:0" if engine.name == "podman" else f"{user}:{group}"


def _render_limits_of(engine: str, limits: Limits) -> tuple[str, ...]:
    """A step of Slurm's has all processors of its job, and memory of its own; some engines limit nothing."""
    if engine == "pyxis":
        return () if limits.memory is None else (f"--mem={max(1, limits.memory >> 20)}M",)
    return () if engine in LIMITLESS else render_limits(limits)


def render_limits(limits: Limits) -> tuple[str, ...]:
    """For docker's and podman's command line."""
    options = ("--cpus", f"{limits.cpus:g}") if limits.cpus is not None else ()
    return (*options, "--memory", str(limits.memory)) if limits.memory is not None else options


def _name_container(job: Job, index: int) -> str:
    return f"wherry-{job.id}-{index}"


def _run_container(engine: Engine, spec: RunSpec, limits: Limits) -> int:
    """Called in the supervisor. bubblewrap itself sets no limits: those of its processes are ours to set."""
    if engine.name != "bubblewrap":
        return engine.run(spec)
    with limit_processes(limits.cpus, limits.memory):
        return engine.run(spec)


def _clear(engine: Engine, container: str, job: Job, env: Mapping[str, str]) -> None:
    """End what a dead supervisor left, and forget it."""
    if engine.name == "bubblewrap":
        end_processes(mark_of(job))
        shutil.rmtree(cache_path(env) / "containers" / container, ignore_errors=True)
    else:
        engine.stop(container, 0)
