"""Registers an environment as a Jupyter kernel of this user, so that any Jupyter on the machine offers it.

Follows jupyter_client's kernel specs and Jupyter's data folders. Only one's own kernel is replaced or removed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from wherry.errors import StoreError, UsageError
from wherry.run.environments import names_prefix
from wherry.store.posix import explain_os_errors, write_atomically


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
    folder = kernels_folder(env) / f"wherry-{re.sub(r'[^a-z0-9._-]', '-', name.lower())}"
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
