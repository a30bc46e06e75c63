"""The tutorial of one matplotlib everywhere, as a reader types it: every command of the page, in its order, in one shell.

What the page shows is compared with what is printed, but for numbers, digests and the names of places and engines.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.flow.conftest import PROGRAM, Seed, copy_store

pytestmark = [pytest.mark.network, pytest.mark.engine]

PAGE = Path(__file__).resolve().parents[2] / "docs/tutorial/same-everywhere.md"
MARK = "--- command"


def read_commands(page: str) -> list[tuple[str, list[str]]]:
    """Each command of the page's console blocks with the lines that it prints; ``>`` goes on with the command before."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line == ">" or line.startswith("> "):
                found[-1] = (f"{found[-1][0]}\n{line[2:]}", [])
            else:
                found[-1][1].append(line)
    return found


def simplify(lines: list[str], home: Path) -> list[str]:
    """What does not depend on the day, the machine and the engine."""
    text = "\n".join(lines).replace(str(home), "/home/you").replace("bubblewrap", "podman")
    text = re.sub(r"[0-9a-f]{10,}|\d[\d.]*", "N", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


@pytest.fixture
def home(seed: Seed, tmp_path: Path) -> Path:
    """A home of one's own, with a store that has the base and no image."""
    require_tool("bwrap", "bash")
    copy_store(seed.wherry.store, tmp_path / "store")
    return tmp_path


def type_commands(commands: list[str], seed: Seed, home: Path) -> list[list[str]]:
    """What each prints, in one shell that ends with the first failure."""
    script = "set -e\n" + "".join(f"echo '{MARK}'\n{command}\n" for command in commands)
    env = {
        key: value for key, value in seed.wherry.env.items() if key not in ("UV_DEFAULT_INDEX", "JUPYTER_DATA_DIR", "XDG_DATA_HOME")
    }
    places = {"HOME": str(home), "WHERRY_STORE": str(home / "store"), "WHERRY_CACHE": str(seed.wherry.cache)}
    tools = {"PATH": f"{PROGRAM.parent}:{os.environ['PATH']}", "WHERRY_ENGINE": "bubblewrap", "WHERRY_JOBS": str(home / "jobs")}
    done = subprocess.run(
        ["bash", "-c", f"exec 2>&1\n{script}"],
        cwd=home,
        env={**env, **places, **tools},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return [part.splitlines()[1:] for part in f"\n{done.stdout}".split(f"\n{MARK}")[1:]]


def test_the_tutorial(seed: Seed, home: Path) -> None:
    page = PAGE.read_text("utf-8")
    commands = read_commands(page)
    printed = type_commands([command for command, _ in commands], seed, home)
    for (command, shown), lines in zip(commands, printed, strict=True):
        assert simplify(lines, home) == simplify(shown, home), command

    said = "\n".join(line for lines in printed for line in lines)
    versions = re.findall(r"matplotlib version: ([0-9.]+)", said)
    assert len(versions) == 3, "here, in the container, in a cell"
    lock = (home / "hello_bootcamp/wherry.lock").read_text()
    locked = re.search(r'name = "matplotlib"\nversion = "([^"]+)"', lock)
    assert locked is not None
    assert set(versions) == {locked[1]}
