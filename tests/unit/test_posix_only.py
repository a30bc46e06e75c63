"""What only POSIX systems have is called in few places, so that another system has one place to stand in for.

The import contracts hold the modules; this holds the functions of `os` and `signal` that are there on POSIX alone.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src/wherry"
POSIX_ONLY = {
    *("chown", "chroot", "fchmod", "fchown", "fork", "getegid", "geteuid", "getgid", "getpgid", "getpgrp", "getuid"),
    *("killpg", "lchown", "memfd_create", "mkfifo", "mknod", "openpty", "pidfd_open", "setpgid", "setsid", "sync", "uname"),
    *("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGTSTP", "SIGUSR1", "O_DIRECTORY", "O_NOFOLLOW"),
}
# The adapter; the sandbox, which is Linux by nature; and the readers that must not follow a link while they walk.
ALLOWED = {
    "store/posix.py": POSIX_ONLY,
    "engines/sandbox_process.py": {"memfd_create", "getpgid", "SIGKILL"},
    "engines/unpack.py": {"O_NOFOLLOW", "fchmod"},
    "lock/build_sandbox.py": {"O_NOFOLLOW"},
    "store/disk.py": {"O_NOFOLLOW"},
    "store/folder_tree.py": {"O_DIRECTORY", "O_NOFOLLOW"},
    "run/notebook_start.py": {"chown", "getuid"},  # a program of its own, within an image
    "run/backends/ray_round.py": {"killpg", "SIGKILL"},  # travels to a cluster's nodes alone, where wherry is not
}


def calls(source: str) -> set[str]:
    """The names that a module takes from `os` or `signal` and that only POSIX has."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("os", "signal"):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and node.module in ("os", "signal"):
            found |= {alias.name for alias in node.names}
    return found & POSIX_ONLY


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_posix_only_functions_stand_behind_an_adapter(path: Path) -> None:
    assert calls(path.read_text("utf-8")) <= ALLOWED.get(str(path.relative_to(SOURCE)), set())


def test_the_rule_can_fail() -> None:
    assert calls("import os\nos.mkfifo('x')\nos.getpid()") == {"mkfifo"}
    assert calls("from os import geteuid") == {"geteuid"}
