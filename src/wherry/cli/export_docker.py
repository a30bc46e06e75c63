"""`wherry export dockerfile|devcontainer|compose|systemd`: the project for those who stay with Docker.

Each file says in its head, and the command on stderr, what it loses against wherry. A file that is there and was not
written by this command is never written over.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.cli.epilog import render_examples
from wherry.cli.options import AsJson, DryRun, parse_platforms
from wherry.cli.talk import print_json, say
from wherry.errors import StoreError, UsageError

if TYPE_CHECKING:
    from wherry.model.declaration import Declaration
    from wherry.model.docker_files import CopiedFile
    from wherry.model.lock import Lock

DOCKER_EXPORT_SCHEMA = 1
_PROJECT = typer.Option("--project", metavar="DIR", help="The project's folder.")
_PLATFORM = typer.Option("--platform", metavar="OS/ARCH", help="For this platform alone; may be given again. [the declared ones]")
_IMAGE = typer.Argument(metavar="IMAGE", help="REGISTRY/NAME@DIGEST, as wherry push prints it; without it: the project's, loaded.")
_OUTPUT = typer.Option("-o", "--output", metavar="FILE", help="Where to write it; else stdout.")
_FOLDER = typer.Option("-o", "--output", metavar="DIR", help="The folder to write to. [.devcontainer of the project]")
_ENGINE = typer.Option("--engine", help="Whose container it is.")


class UnitEngine(StrEnum):
    """Engines that run a container in the foreground of a unit."""

    PODMAN = "podman"
    DOCKER = "docker"


def register(app: typer.Typer) -> None:
    app.command(
        "dockerfile",
        epilog=render_examples(
            ("wherry export dockerfile -o Dockerfile", ""),
            ("docker build -t anomaly .", ""),
            before="pip.conf goes in as a secret of the build where pip has to ask another index.",
        ),
    )(export_dockerfile)
    app.command("devcontainer", epilog=render_examples(("wherry export devcontainer", "then: Reopen in Container")))(
        export_devcontainer
    )
    app.command(
        "compose",
        epilog=render_examples(
            ("wherry export compose -o compose.yaml", "of the image in the engine"),
            ("wherry export compose $(wherry push ghcr.io/you/anomaly) -o compose.yaml", ""),
        ),
    )(export_compose)
    app.command(
        "systemd",
        epilog=render_examples(
            ("wherry export systemd -o anomaly.service", ""),
            ("wherry export systemd --engine docker ghcr.io/you/anomaly@sha256:…", ""),
        ),
    )(export_systemd)


def export_dockerfile(
    platform: Annotated[list[str] | None, _PLATFORM] = None,
    output: Annotated[Path | None, _OUTPUT] = None,
    project: Annotated[Path, _PROJECT] = Path(),
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write a Dockerfile that installs the locked wheels by digest.

    It is one file, for docker, podman and buildah. Packages of conda's and wheels that were built here are refused.
    """
    from wherry.deliver.docker_files import plan_dockerfile
    from wherry.formats.dockerfile import render_dockerfile

    declared, lock = _read_locked(project, platform)
    recipe = plan_dockerfile(declared, lock, _list_code(declared), _list_models(declared))
    _write({output: render_dockerfile(recipe)}, recipe.losses, dry_run=dry_run, as_json=as_json)


def export_devcontainer(
    platform: Annotated[list[str] | None, _PLATFORM] = None,
    output: Annotated[Path | None, _FOLDER] = None,
    project: Annotated[Path, _PROJECT] = Path(),
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write a devcontainer.json and its Dockerfile: the locked environment to develop in.

    The project's folder is mounted; no code is in the image.
    """
    from wherry.deliver.docker_files import plan_devcontainer
    from wherry.formats.dockerfile import render_devcontainer, render_dockerfile

    declared, lock = _read_locked(project, platform)
    recipe = plan_devcontainer(declared, lock)
    folder = output or project / ".devcontainer"
    files: dict[Path | None, str] = {
        folder / "devcontainer.json": render_devcontainer(recipe),
        folder / "Dockerfile": render_dockerfile(recipe),
    }
    _write(files, recipe.losses, dry_run=dry_run, as_json=as_json)


def export_compose(
    image: Annotated[str | None, _IMAGE] = None,
    output: Annotated[Path | None, _OUTPUT] = None,
    project: Annotated[Path, _PROJECT] = Path(),
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write a compose file that keeps the image running.

    Declared ports are published on loopback, declared volumes are named ones.
    """
    from wherry.declare.project import read_declaration
    from wherry.deliver.docker_files import plan_service
    from wherry.formats.services import render_compose

    service = plan_service(read_declaration(project, os.environ), image)
    _write({output: render_compose(service)}, service.losses, dry_run=dry_run, as_json=as_json)


def export_systemd(
    image: Annotated[str | None, _IMAGE] = None,
    engine: Annotated[UnitEngine, _ENGINE] = UnitEngine.PODMAN,
    output: Annotated[Path | None, _OUTPUT] = None,
    project: Annotated[Path, _PROJECT] = Path(),
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write a unit of systemd's that keeps the image running in podman or docker.

    Declared ports are published on loopback, declared volumes are named ones.
    """
    from wherry.declare.project import read_declaration
    from wherry.deliver.docker_files import plan_service
    from wherry.formats.services import render_unit

    service = plan_service(read_declaration(project, os.environ), image)
    _write({output: render_unit(service, engine.value)}, service.losses, dry_run=dry_run, as_json=as_json)


def _read_locked(project: Path, platforms: list[str] | None) -> tuple[Declaration, Lock]:
    """The declaration and the lock that answers it: it is never changed for an export."""
    from wherry.pipeline import Project, Wishes

    locked = Project(project, say=say).lock(Wishes(platforms=parse_platforms(platforms), locked=True), write=False)
    return locked.declaration, locked.value


def _list_code(declared: Declaration) -> list[CopiedFile]:
    from wherry.declare.code import code_files, find_secrets
    from wherry.model.docker_files import CopiedFile

    for path in find_secrets(declared):
        say(f"{path} looks like a secret: it is left out of the image")
    files = [file for file in code_files(declared) if file.link is not None or not _is_exported(file.source)]
    return [CopiedFile(path=file.path, executable=file.mode & 0o100 != 0, link=file.link) for file in files]


def _list_models(declared: Declaration) -> list[list[CopiedFile]]:
    from wherry.assemble.files import model_files
    from wherry.model.docker_files import CopiedFile

    found = (model_files(declared.root, model) for model in declared.models)
    return [[CopiedFile(path=path, executable=state.st_mode & 0o100 != 0) for path, state in files] for files in found]


def _write(files: Mapping[Path | None, str], losses: Sequence[str], *, dry_run: bool, as_json: bool) -> None:
    """Write the files, or print the one that has no place."""
    from wherry.store.posix import explain_os_errors, write_atomically

    places = [path for path in files if path is not None]
    for path in places:
        _refuse_foreign(path)
    if not dry_run:
        for path in places:
            with explain_os_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, files[path].encode())
    for path in places:
        say(f"{'would write' if dry_run else 'wrote'} {path}")
    say("against wherry this loses:")
    for loss in losses:
        say(f"- {loss}")
    if as_json:
        told = [{"path": None if path is None else str(path), "text": text} for path, text in files.items()]
        print_json({"schema": DOCKER_EXPORT_SCHEMA, "dry_run": dry_run, "files": told, "losses": list(losses)})
    elif None in files and not dry_run:
        print(files[None], end="")


def _refuse_foreign(path: Path) -> None:
    if path.exists() and not _is_exported(path):
        raise UsageError(
            "was not written by wherry export, and is not written over", where=str(path), hint="-o elsewhere, or move it"
        )


def _is_exported(path: Path) -> bool:
    """Whether this command wrote a file, or a shell has just made it empty for what this command prints."""
    from wherry.formats.dockerfile import MARK

    try:
        with path.open("rb") as file:
            head = file.read(len(MARK) + 8)
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return MARK.encode() in head or (not head and path.name in ("Dockerfile", "Containerfile"))
