"""`wherry run`: a command, or the entrypoint, in the project's image; or as a job where a target takes it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from wherry.cli.base_layers import bring_base_layers
from wherry.cli.epilog import render_examples
from wherry.cli.talk import say, show_progress
from wherry.declare.targets import read_targets
from wherry.engines.choice import NAMES as ENGINES
from wherry.engines.choice import find_engine
from wherry.engines.port import EngineImage, Mount, RunSpec
from wherry.errors import UsageError
from wherry.model.job import Target
from wherry.model.platform import Platform
from wherry.run.grammar import parse_env, parse_mount, parse_port
from wherry.run.launch import choose_terminal, pick_runnable, run_image
from wherry.run.secrets import read_secrets
from wherry.run.shared_notebook import complete_notebook
from wherry.run.variables import SEEDS
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform
from wherry.store.images import StoredImage
from wherry.store.places import store_path

ON = typer.Option(
    "--on", metavar="TARGET", help="podman, docker, containerd or bubblewrap; else WHERRY_ENGINE, else the first usable."
)
IMAGE = typer.Option("--image", metavar="REF|NAME|ID", help="Another image than the project's.")
PLATFORM = typer.Option("--platform", metavar="OS/ARCH", help="The image for this platform instead of the machine's own.")
RUN_ON = typer.Option(
    "--on",
    metavar="TARGET",
    help="local, container or a target of wherry.toml: the command is a job there. "
    "Or podman, docker, containerd, bubblewrap: a plain container; else WHERRY_ENGINE, else the first usable.",
)
AGAIN = typer.Option("--again", metavar="ID", help="Do this job again; say what cannot be the same.")
CPUS = typer.Option("--cpus", metavar="N", help="Processors that a job may use.")
MEMORY = typer.Option("--memory", metavar="SIZE", help="Memory that a job may use, such as 4GiB.")
TIME = typer.Option("--time", metavar="LENGTH", help="Stop a job after this time, such as 1h30m.")
SEED = typer.Option("--seed", metavar="N", min=0, max=SEEDS - 1, help="WHERRY_SEED and PYTHONHASHSEED of a job. [a new one]")
PROJECT = typer.Option("--project", metavar="DIR", help="The project's folder.")
VOLUME = typer.Option("-v", "--volume", metavar="HOST:CONTAINER[:ro]", help="Mount a folder, a file or a named volume.")
PUBLISH = typer.Option("-p", "--publish", metavar="[HOST:]PORT", help="Publish a port.")
ENV = typer.Option("-e", "--env", metavar="KEY[=VALUE]", help="Set a variable, or pass this shell's on.")
SECRET = typer.Option("--secret", metavar="NAME=FROM", help="Set a variable from env:NAME or file:PATH, which nobody sees.")
WORKDIR = typer.Option("-w", "--workdir", metavar="DIR", help="The folder in the container to start in.")
USER = typer.Option("-u", "--user", metavar="USER[:GROUP]", help="Run as this user of the image.")
NETWORK = typer.Option("--network", metavar="NAME", help="host, none, or a network of the engine.")
GPUS = typer.Option("--gpus", metavar="all|N", help="GPUs to pass on (docker, podman, containerd).")
READ_ONLY = typer.Option("--read-only", help="Make the container's root read-only (with bubblewrap it always is).")
INTERACTIVE = typer.Option("-i", "--interactive", help="Pass stdin on; this is the default in the foreground.", show_default=False)
TTY = typer.Option("-t", "--tty", help="Give a terminal; this is the default on a terminal.")

_EPILOG = render_examples(
    ("wherry run", "the entrypoint"),
    ("wherry run python train.py --epochs 3", "a command instead of it"),
    ("wherry run --on docker -v ./data:/data:ro -- python -m app", ""),
    ("wherry run --secret BLOB_KEY=env:KEY", "a key that nobody sees"),
    ("wherry run --on local -- train.py --lr 0.1", "a job, recorded"),
    before="A command replaces the image's entrypoint, as with uv run. The exit code is the command's.",
)


def register(app: typer.Typer) -> None:
    # What stands after the command's first word is the command's own.
    app.command("run", context_settings={"allow_interspersed_args": False}, epilog=_EPILOG)(run_command)


def run_command(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="CMD", help="Without it: the image's entrypoint. -- may stand before it.")
    ] = None,
    on: Annotated[str | None, RUN_ON] = None,
    again: Annotated[str | None, AGAIN] = None,
    image: Annotated[str | None, IMAGE] = None,
    volume: Annotated[list[str] | None, VOLUME] = None,
    publish: Annotated[list[str] | None, PUBLISH] = None,
    env: Annotated[list[str] | None, ENV] = None,
    secret: Annotated[list[str] | None, SECRET] = None,
    detach: Annotated[bool, typer.Option("-d", "--detach", help="Run in the background and print what to stop it by.")] = False,
    remove: Annotated[bool, typer.Option("--rm/--no-rm", help="Remove the container when it has ended.")] = True,
    workdir: Annotated[str | None, WORKDIR] = None,
    user: Annotated[str | None, USER] = None,
    network: Annotated[str | None, NETWORK] = None,
    gpus: Annotated[str | None, GPUS] = None,
    cpus: Annotated[float | None, CPUS] = None,
    memory: Annotated[str | None, MEMORY] = None,
    time: Annotated[str | None, TIME] = None,
    seed: Annotated[int | None, SEED] = None,
    read_only: Annotated[bool, READ_ONLY] = False,
    interactive: Annotated[bool, INTERACTIVE] = True,  # noqa: ARG001 - docker's flag, always so here
    tty: Annotated[bool, TTY] = False,
    platform: Annotated[str | None, PLATFORM] = None,
    project: Annotated[Path, PROJECT] = Path(),
) -> None:
    """Run a command, or the entrypoint, in the project's image."""
    target = find_target(on, again, image, project)
    if target is not None or again is not None:
        others = {"-v": volume, "-p": publish, "-w": workdir, "-u": user, "--read-only": read_only, "-t": tty}
        refuse_options(others | {"--no-rm": not remove, "--image": image, "--platform": platform}, "a job has none of its own")
        refuse_options({"--secret": secret}, "-e NAME takes it from this shell, and the job's record has no value")
        limits = {"cpus": cpus, "memory": memory, "gpus": gpus, "time": time}
        raise typer.Exit(begin_job(target, again, command or [], project, env or (), detach, network, {**limits, "seed": seed}))
    refuse_options({"--cpus": cpus, "--memory": memory, "--time": time}, "only jobs have limits")
    refuse_options({"--seed": seed is not None}, "only jobs have a seed")
    folder, surroundings = Path.cwd(), os.environ
    mounts = tuple(parse_mount(text, folder, surroundings) for text in volume or ())
    ports = tuple(parse_port(text) for text in publish or ())
    variables = parse_env(env or (), surroundings)
    engine = find_engine(on, surroundings)
    store = DiskStore(store_path(surroundings))
    stored, found = find_image(store, image, platform, project, surroundings)
    spec = replace(
        make_spec(found, tuple(command or ()), variables, mounts, tty=tty),
        ports=ports,
        secrets=read_secrets(secret or (), folder, surroundings),
        workdir=workdir,
        user=user,
        network=network,
        gpus=gpus,
        read_only=read_only,
        remove=remove,
    )
    spec = complete_notebook(spec, folder, say)
    result = run_image(store, stored, spec, engine, say, detach=detach)
    if result.container is not None:
        print(result.container)
    raise typer.Exit(result.exit_code)


def find_target(on: str | None, again: str | None, image: str | None, project: Path) -> Target | None:
    """The target that takes the command as a job; None where it runs in a plain container."""
    if on is None or (image is not None and on in ENGINES):
        return None
    if again is not None:
        raise UsageError("a job is done again where it was", where="--again", hint="leave --on away")
    targets = read_targets(project)
    if on not in targets and on not in ENGINES:
        raise UsageError(f"no target {on!r}", where="--on", hint=", ".join((*targets, *ENGINES)))
    target = targets.get(on)
    if target is not None and not target.backend.is_here:
        raise UsageError(f"single jobs do not go to {target.backend.value}", where="--on", hint="wherry sweep NAME --on " + on)
    return target


def refuse_options(given: Mapping[str, object], why: str) -> None:
    """Options that mean nothing here are an error, not passed over."""
    if names := [name for name, value in given.items() if value]:
        hint = "[targets.NAME] in wherry.toml says where jobs run, and with what" if why.startswith("a job") else "--on local"
        raise UsageError(f"{', '.join(names)}: {why}", hint=hint)


def begin_job(
    target: Target | None,
    again: str | None,
    command: list[str],
    project: Path,
    env: Sequence[str],
    detach: bool,
    network: str | None,
    more: Mapping[str, Any],
) -> int:
    """The command as a job; its exit code."""
    from wherry.cli.run_job import JobOptions, run_again, run_job  # records and backends, for jobs only

    options = JobOptions(env=env, detach=detach, network=network, **more)
    if target is not None:
        return run_job(target, tuple(command), project, options)
    if command:
        raise UsageError("the job's own command is run again", where="--again", hint="leave the command away")
    return run_again(again or "", options)


def find_image(
    store: DiskStore, image: str | None, platform: str | None, project: Path, env: Mapping[str, str]
) -> tuple[StoredImage, EngineImage]:
    """The image that was named, or else the project's, which is built if there is none yet."""
    wanted = Platform.parse(platform, where="--platform") if platform else None
    name = _named_image(store, image, wanted) if image else _project_image(store, project, env)
    stored, runnable = pick_runnable(store, name, wanted)
    bring_base_layers(store, [stored])
    return stored, runnable


def _named_image(store: DiskStore, image: str, platform: Platform | None) -> str:
    """An image of the store, or one that a registry has: that is pulled the first time."""
    from wherry.cli.pull import names_a_registry, pull_into  # lazily: it hangs itself on the image group

    full = image if ":" in image.rpartition("/")[2] else f"{image}:latest"
    if not names_a_registry(image) or full in store.names() or image in store.names():
        return image
    return pull_into(store, image, (platform or read_host_platform(),))[0]


def _project_image(store: DiskStore, project: Path, env: Mapping[str, str]) -> str:
    from wherry.declare.project import read_declaration  # heavy, and not needed with --image

    name = f"{read_declaration(project, env).name}:latest"
    if name in store.names():
        return name
    from wherry.pipeline import Project  # the whole builder, for the first run only

    say(f"no image {name} yet: building it")
    with show_progress() as progress:
        return Project(project, env=env, progress=progress, say=say).build().name


def make_spec(
    image: EngineImage, command: tuple[str, ...], env: tuple[tuple[str, str], ...], mounts: tuple[Mount, ...], *, tty: bool
) -> RunSpec:
    """What run and shell have in common."""
    if tty and not sys.stdin.isatty():
        raise UsageError("-t needs a terminal on stdin", hint="leave -t away")
    return RunSpec(
        image=image,
        name=f"wherry-{os.urandom(6).hex()}",
        command=command,
        env=env,
        mounts=mounts,
        terminal=choose_terminal(os.environ, stdin=sys.stdin.isatty(), stdout=sys.stdout.isatty(), asked=tty),
    )
