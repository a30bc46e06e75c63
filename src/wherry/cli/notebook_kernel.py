"""`wherry notebook --kernels`: a project's targets as kernels of any Jupyter, and what such a kernel starts."""

from __future__ import annotations

import os
import shutil
import sysconfig
from functools import cache
from pathlib import Path

from wherry.cli.talk import say
from wherry.declare.project import read_declaration
from wherry.errors import UsageError
from wherry.model.job import BackendKind, Target
from wherry.pipeline import Project
from wherry.preparation import OpenProject
from wherry.run.activation import environment_values
from wherry.run.backends.container import ContainerBackend, choose_engine
from wherry.run.container_session import ContainerSession
from wherry.run.environments import EnvironmentRecord
from wherry.run.kernels import list_project_kernels, register_target
from wherry.run.launch import load_image
from wherry.run.notebook_server import render_surroundings


def register_kernels(root: Path, targets: dict[str, Target]) -> tuple[Path, ...]:
    """A kernel for each target that is on this machine and usable; the folders of their specifications.

    What they start is made ready now, for Jupyter waits a minute for a kernel and no longer.
    """
    name, program = read_declaration(root, os.environ).name, Path(sysconfig.get_path("scripts"), "wherry")
    folders = []
    for target in targets.values():
        if target.backend not in (BackendKind.LOCAL, BackendKind.CONTAINER):
            continue
        if target.backend is BackendKind.CONTAINER:
            found = ContainerBackend(os.environ, target.engine).probe()
            if not found.usable:
                say(f"no kernel for {target.name}: {found.reason}")
                continue
            open_session(root, target, here=root)
        else:
            _prepare_overlay(root)
        folders.append(register_target(os.environ, name, target, root, program))
    return tuple(folders)


def remove_kernels(root: Path) -> tuple[Path, ...]:
    """Forget the kernels of this project's targets."""
    folders = list_project_kernels(os.environ, root)
    for folder in folders:
        shutil.rmtree(folder)
    return folders


def serve_kernel(root: Path, target: Target, connection: Path) -> int:
    """Be the kernel that Jupyter started: in the project's environment, or around a container with it."""
    if target.backend is BackendKind.LOCAL:
        return _become_local_kernel(root, target, connection)
    return open_session(root, target, here=Path.cwd()).serve_kernel(connection)


def _become_local_kernel(root: Path, target: Target, connection: Path) -> int:
    overlay, prefix, record = _prepare_overlay(root)
    values = environment_values(prefix, record.variables, conda=record.conda)
    surroundings = render_surroundings(overlay, prefix, {**os.environ, **values, **dict(target.env)})
    program = f"{overlay}/bin/python"
    os.execve(program, [program, "-m", "ipykernel_launcher", "-f", str(connection)], surroundings)  # noqa: S606 - no shell is wanted


def _prepare_overlay(root: Path) -> tuple[Path, Path, EnvironmentRecord]:
    from wherry.notebook_overlay import prepare_overlay

    return prepare_overlay(root, os.environ, _open_once(root))


def open_session(root: Path, target: Target, *, here: Path, tools: tuple[str, ...] = ()) -> ContainerSession:
    """A session in a container target, its image loaded. `here` is the folder to start in; `tools` are wanted beside JupyterLab."""
    from wherry.notebook_image import START, prepare_session_image

    if target.backend is not BackendKind.CONTAINER:
        raise UsageError(f"target {target.name!r} is not on this machine", where="--on", hint="local, container")
    engine = choose_engine(target.engine, os.environ)
    store, stored, image = prepare_session_image(root, os.environ, _open_once(root), tools)
    load_image(store, stored, image, engine, say)
    return ContainerSession(engine=engine, image=image, target=target, root=root, here=here, start=START, say=say)


def _open_once(root: Path) -> OpenProject:
    return cache(lambda: Project(root, say=say))
