"""Files of conda, recognised and announced: wherry does not read them yet.

It looks at names, and at the first lines of what could be either pip's or conda's. Nothing is parsed.
"""

from __future__ import annotations

from pathlib import Path

NAMES = ("environment.yml", "environment.yaml", "conda_dependencies.yml", "conda.yaml", "conda.yml")
LOCK_NAMES = ("conda-lock.yml", "pixi.lock", "pixi.toml")
HINT = "conda environments are not read yet: list what pip can install in a requirements.txt; wherry init --from-env writes one"


def is_conda_name(file: str) -> bool:
    """By the name alone: environment.yml, my.environment.yaml, conda-lock.yml, pixi.lock …"""
    name = file.rpartition("/")[2].lower()
    return name in LOCK_NAMES or (
        name.endswith((".yml", ".yaml")) and any(name.endswith(known) or "conda" in name for known in NAMES)
    )


def is_explicit_list(text: str) -> bool:
    """Whether `text` is ``conda list --explicit``'s output."""
    return any(line.strip() == "@EXPLICIT" for line in text.splitlines()[:50])


def find_conda_files(root: Path) -> tuple[str, ...]:
    """Conda's files at the top of a project, sorted."""
    return tuple(sorted(path.name for path in root.iterdir() if is_conda_name(path.name) and path.is_file()))
