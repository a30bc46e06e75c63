"""Files that never enter an image: secrets by name or by what they hold, and what tools leave lying about.

It knows names first; a file is opened only where the name alone does not tell (a certificate may be public, an .npmrc
harmless). At most 1 MiB of such a file is read. Imports stay lean for the 0.1 s rebuild.
"""

from __future__ import annotations

from wherry.formats.secrets import READ_LIMIT, content_of, find_secrets, is_secret_name
from wherry.model.stamp import STAMP_SUFFIX

__all__ = ["find_tokens", "holds_secret", "is_litter", "is_secret_name"]

# Left out without a word: nobody wants them in an image.
_LITTER = frozenset(
    {
        ".git", ".hg", ".svn", ".bzr", ".venv", "__pycache__", "__pypackages__", ".wherry", ".ipynb_checkpoints", ".DS_Store",
        ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".tox", ".nox", "wherry.lock", "wherry.toml",
    }
)  # fmt: skip
_LITTER_SUFFIXES = (".pyc", ".pyo", STAMP_SUFFIX)


def is_litter(name: str) -> bool:
    """Version control, caches, virtual environments, wherry's own files: by the last part of the path."""
    return name in _LITTER or name.endswith(_LITTER_SUFFIXES) or name.startswith("wherry.lock.")


def holds_secret(name: str, file: str) -> bool:
    """Whether a file, whose name does not tell, holds a private key, a token or a credential. OSError passes through."""
    content = content_of(name)
    if content is None:
        return False
    with open(file, "rb") as opened:  # noqa: PTH123 (pathlib costs start-up time here)
        return content.search(opened.read(READ_LIMIT)) is not None


def find_tokens(file: str) -> tuple[str, ...]:
    """The kinds of secrets in a file whatever its name, as a check of the image would find them. OSError passes through."""
    with open(file, "rb") as opened:  # noqa: PTH123 (pathlib costs start-up time here)
        data = opened.read(READ_LIMIT)
    return () if b"\0" in data[:1024] else find_secrets(data)
