"""The project that every tool builds, and the edits that the cases make to it."""

from __future__ import annotations

import random
from pathlib import Path

# What the project asks for; scikit-learn moves through these versions, one release each.
REQUIREMENTS = ("numpy", "scipy", "pandas")
VERSIONS = ("1.6.0", "1.6.1", "1.7.0", "1.7.1", "1.7.2")
MODEL_SIZE = 6_000  # bytes: a small model, such as a fleet's

_CODE = '''"""Scores what comes in."""

import pickle
import sys


def main() -> None:
    threshold = {threshold}
    print(threshold, len(sys.argv), pickle.format_version)


if __name__ == "__main__":
    main()
'''


def write_project(folder: Path) -> None:
    """Code and model; the requirements are each tool's own business."""
    (folder / "app").mkdir(parents=True, exist_ok=True)
    (folder / "models").mkdir(exist_ok=True)
    (folder / "app" / "__init__.py").write_text("")
    change_line(folder, 0)
    change_model(folder, 0)


def change_line(folder: Path, number: int) -> None:
    (folder / "app" / "__main__.py").write_text(_CODE.format(threshold=number))


def change_model(folder: Path, number: int) -> None:
    """Bytes that do not shrink, as those of a retrained float64 model."""
    (folder / "models" / "model.pkl").write_bytes(random.Random(number).randbytes(MODEL_SIZE))


def loose_requirements(version: str) -> str:
    return "".join(f"{name}\n" for name in (*REQUIREMENTS, f"scikit-learn=={version}"))
