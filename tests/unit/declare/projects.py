"""Small projects on disk, and a host that does not depend on the machine."""

from __future__ import annotations

from pathlib import Path

from wherry.declare.defaults import Host
from wherry.declare.project import read_declaration
from wherry.model.declaration import Declaration
from wherry.model.platform import Platform

HOST = Host(platform=Platform("linux", "amd64"), has_apt=True)
ONE = "1" * 64
TWO = "2" * 64


def write(root: Path, **files: str) -> Path:
    """Files by name; ``__`` stands for a slash, a trailing key such as ``wherry_toml`` for a dot."""
    names = {"wherry_toml": "wherry.toml", "requirements_txt": "requirements.txt", "pyproject_toml": "pyproject.toml"}
    return write_files(root, {names.get(name, name): text for name, text in files.items()})


def write_files(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def declare(root: Path, host: Host = HOST, **env: str) -> Declaration:
    return read_declaration(root, env, host=host)
