"""Registers an environment, or a project's target, as a Jupyter kernel of this user, so that any Jupyter on the machine offers it.

A target's kernel starts wherry, which makes ready what the lock says before it starts Python there. Only one's own kernel is
replaced or removed. Follows jupyter_client's kernel specs and Jupyter's data folders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from wherry.errors import StoreError, UsageError
from wherry.model.job import BackendKind, Target
from wherry.run.environments import names_prefix
from wherry.store.posix import explain_os_errors, write_atomically

_MARK = "wherry_project"
_PLACES = ("WHERRY_STORE", "WHERRY_CACHE", "WHERRY_ENVS", "WHERRY_ENGINE")  # where a shell that registers says they are


def kernels_folder(env: Mapping[str, str]) -> Path:
    """Where this user's kernels lie."""
    if env.get("JUPYTER_DATA_DIR"):
        return Path(env["JUPYTER_DATA_DIR"]).absolute() / "kernels"
    if env.get("XDG_DATA_HOME", "").startswith("/"):
        return Path(env["XDG_DATA_HOME"]) / "jupyter/kernels"
    home = env.get("HOME", "")
    if not home.startswith("/"):
        raise StoreError("no home folder: HOME is not set", hint="set JUPYTER_DATA_DIR to a folder")
    return Path(home) / ".local/share/jupyter/kernels"


def kernel_place(env: Mapping[str, str], name: str, prefix: Path) -> Path:
    """The folder of an environment's kernel; one of somebody else's that has its name is an error."""
    folder = _name_folder(env, name)
    if folder.exists() and not names_prefix(folder, prefix):
        raise UsageError(
            "another environment has a kernel of this name",
            where=str(folder),
            hint="give another NAME",
        )
    return folder


def register_kernel(folder: Path, name: str, prefix: Path, values: Mapping[str, str]) -> None:
    """Write the kernel's specification. `values` are the variables that it starts with, besides PATH."""
    document = {
        "argv": [f"{prefix}/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": f"{name} (wherry)",
        "language": "python",
        "metadata": {"debugger": True},
        "env": {**values, "PATH": f"{prefix}/bin:${{PATH}}"},
    }
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "kernel.json", (json.dumps(document, indent=1) + "\n").encode())


def register_target(env: Mapping[str, str], name: str, target: Target, project: Path, program: Path) -> Path:
    """Write the specification of a target's kernel: `program` is wherry's. The folder that it lies in."""
    folder = _name_folder(env, f"{name}-{target.name}")
    if folder.exists() and _find_project(folder) != str(project):
        raise UsageError("another kernel has this name", where=str(folder), hint="remove it, or give the project another name")
    serve = ["notebook", "--serve-kernel", "{connection_file}", "--on", target.name, "--project", str(project)]
    document = {
        "argv": [str(program), *serve],
        "display_name": f"{name} ({target.name})",
        "language": "python",
        # A container's processes hear no signal from outside.
        "interrupt_mode": "signal" if target.backend is BackendKind.LOCAL else "message",
        "metadata": {"debugger": True, _MARK: str(project)},
        "env": {key: env[key] for key in _PLACES if key in env},
    }
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "kernel.json", (json.dumps(document, indent=1) + "\n").encode())
    return folder


def list_project_kernels(env: Mapping[str, str], project: Path) -> tuple[Path, ...]:
    """The folders of the kernels of a project's targets."""
    place = kernels_folder(env)
    folders = sorted(place.glob("wherry-*")) if place.is_dir() else []
    return tuple(folder for folder in folders if _find_project(folder) == str(project))


def _name_folder(env: Mapping[str, str], name: str) -> Path:
    return kernels_folder(env) / f"wherry-{re.sub(r'[^a-z0-9._-]', '-', name.lower())}"


def _find_project(folder: Path) -> str | None:
    """The project whose target a kernel starts; None for all other kernels."""
    try:
        return str(json.loads((folder / "kernel.json").read_bytes())["metadata"][_MARK])
    except (OSError, ValueError, KeyError, TypeError):
        return None
