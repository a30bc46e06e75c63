"""Conda's files by their names, and by the first lines of what could be either pip's or conda's. Nothing is parsed here."""

from __future__ import annotations

from pathlib import Path

from wherry.model.declaration import EnvironmentKind

# Those that are found without a word from the author, in this order: resolved ones first.
LOCK_NAMES = ("pixi.lock", "conda-lock.yml")
NAMES = ("environment.yml", "environment.yaml", "conda_dependencies.yml", "conda.yaml", "conda.yml")


def kind_of_conda_file(file: str) -> EnvironmentKind | None:
    """By the name alone: pixi.lock, my.conda-lock.yml, any other ``.yml`` or ``.yaml``; None for the rest."""
    name = file.rpartition("/")[2].lower()
    if name.endswith("pixi.lock"):
        return EnvironmentKind.PIXI_LOCK
    if not name.endswith((".yml", ".yaml")):
        return None
    return EnvironmentKind.CONDA_LOCK if "conda-lock" in name else EnvironmentKind.CONDA


def is_explicit_list(text: str) -> bool:
    """Whether `text` is ``conda list --explicit``'s output."""
    return any(line.strip() == "@EXPLICIT" for line in text.splitlines()[:50])


def find_conda_files(root: Path) -> tuple[str, ...]:
    """Conda's files at the top of a project: the well-known ones in the order in which they would be read, then others."""
    known = [name for name in (*LOCK_NAMES, *NAMES) if (root / name).is_file()]
    others = sorted(path.name for path in root.iterdir() if _looks_like_conda(path.name) and path.is_file())
    return tuple(dict.fromkeys((*known, *others)))


def _looks_like_conda(file: str) -> bool:
    name = file.lower()
    return name.endswith((".yml", ".yaml")) and ("conda" in name or any(name.endswith(f".{known}") for known in NAMES))
