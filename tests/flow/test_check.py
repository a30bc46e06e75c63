"""What check says is true: what it calls blocked fails in the container, its remedy mends it, what it passes is imported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require_tool
from tests.flow.conftest import Seed, Wherry, tree_of, write_project
from tests.simulators.python_index import Wheel
from tests.simulators.wheels import make_wheel
from tests.unit.formats.elves import make_elf
from wherry.errors import CheckError, LockError

TAG = "cp311-abi3-manylinux_2_17_x86_64"
PROGRAM = Path(sys.executable).with_name("wherry")


def drive(project: Path, *words: str, code: int = 0) -> str:
    """With the index of this machine: the package is a real one."""
    done = subprocess.run([PROGRAM, *words], cwd=project, env=environment(project), capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def environment(project: Path) -> Mapping[str, str]:
    return {**os.environ, "WHERRY_STORE": str(project.parent / "store"), "WHERRY_CACHE": str(project.parent / "cache")}


@pytest.mark.network
@pytest.mark.engine
def test_opencv_is_mended_before_it_is_shipped(tmp_path: Path) -> None:
    require_tool("bwrap")
    project = tmp_path / "vision"
    project.mkdir()
    (project / "requirements.txt").write_text("opencv-python\n")
    (project / "wherry.toml").write_text('base = "debian:bookworm"\nbytecode = "none"\n')
    (project / "main.py").write_text("import cv2\nprint(cv2.imencode('.png', __import__('numpy').zeros((2, 2)))[0])\n")
    drive(project, "build")
    document: dict[str, Any] = json.loads(
        subprocess.run([PROGRAM, "check", "--json"], cwd=project, env=environment(project), capture_output=True, check=False).stdout
    )
    (report,) = document["reports"]
    blocked = {one["subject"] for one in report["findings"] if one["severity"] == "error"}
    assert {"libGL.so.1", "libglib-2.0.so.0"} <= blocked
    said = drive(project, "run", "--on", "bubblewrap", "--", "python", "main.py", code=1)
    assert any(f"ImportError: {library}: cannot open shared object file" in said for library in blocked)
    fixed = drive(project, "check", "--fix")
    assert "opencv-python-headless in place of opencv-python" in fixed
    price = re.search(r"Debian's libgl1 in its place brings (\d+) packages, [\d.]+ MB to fetch, (\d+)[.]\d MB unpacked", fixed)
    assert price
    assert int(price[1]) > 20
    assert int(price[2]) > 150
    assert re.search(r"linux/\w+: [\d.]+ MB of packages before, [\d.]+ MB now", fixed)
    assert (project / "requirements.txt").read_text() == "opencv-python-headless\n"
    drive(project, "build")
    assert "nothing found" in drive(project, "check", "--strict")
    assert "True" in drive(project, "run", "--on", "bubblewrap", "--", "python", "main.py").split()


def own_wheel(folder: Path, name: str, module: str, needed: str) -> Wheel:
    """A wheel with one compiled module, such as ``cv2/cv2``, which asks for one library."""
    library = make_elf([needed], exports=[f"PyInit_{module.rpartition('/')[2]}"])
    made = make_wheel(folder, name.replace("-", "_"), "1.0", {f"{module}.abi3.so": library}, tag=TAG)
    return Wheel(name=name, version="1.0", file=made.name, data=made.read_bytes())


@pytest.mark.network
def test_a_debian_package_brings_what_a_wheel_lacks(seed: Seed, wherry: Wherry, tmp_path: Path) -> None:
    seed.index.add(own_wheel(tmp_path, "needsxcb", "needsxcb/core", "libxcb.so.1"))
    toml = 'base = "debian:bookworm"\nplatforms = ["linux/amd64"]\n'
    project = write_project(tmp_path / "p", {"requirements.txt": "needsxcb\n", "wherry.toml": toml})
    wherry.ok("build", cwd=project)
    broken = wherry.run("check", cwd=project)
    assert broken.returncode == CheckError.exit_code
    assert "libxcb.so.1 is not there: import needsxcb.core fails [needsxcb 1.0]" in broken.stdout
    assert 'try: system-packages = ["libxcb1"]' in broken.stdout
    mended = wherry.run("check", "--fix", cwd=project)
    assert mended.returncode == 0, mended.stderr
    assert "Debian packages more" in mended.stderr
    assert (project / "wherry.toml").read_text() == f'{toml}system-packages = ["libxcb1"]\n'
    wherry.ok("build", cwd=project)
    assert "nothing found" in wherry.ok("check", "--strict", cwd=project)


@pytest.mark.network
def test_what_maintainer_scripts_would_have_done(wherry: Wherry, tmp_path: Path) -> None:
    """The fonts' package of many a Dockerfile, and one of the archive's own whose script does something."""
    toml = 'base = "debian:bookworm"\nplatforms = ["linux/amd64"]\nsystem-packages = ["{}"]\n'
    project = write_project(tmp_path / "p", {"requirements.txt": "", "wherry.toml": toml.format("ttf-mscorefonts-installer")})
    said = wherry.refused("lock", cwd=project, code=LockError.exit_code)
    assert "asks a question and downloads; none runs here" in said
    assert "fonts-liberation among system-packages" in said
    (project / "wherry.toml").write_text(toml.format("locales"))
    built = wherry.run("build", cwd=project)
    assert "its maintainer scripts are not run; they would: ask a question (debconf), generate locales" in built.stderr
    report = wherry.ok("check", cwd=project)
    assert "warning maintainer-script  locales" in report
    assert "try: C.UTF-8, which is there without" in report


@pytest.mark.network
def test_a_lock_that_fails_takes_the_edits_back(seed: Seed, wherry: Wherry, tmp_path: Path) -> None:
    """The index has no headless one."""
    seed.index.add(own_wheel(tmp_path, "opencv-python", "cv2/cv2", "libGL.so.1"))
    toml = 'base = "debian:bookworm"\nplatforms = ["linux/amd64"]\n'
    project = write_project(tmp_path / "p", {"requirements.txt": "opencv-python\n", "wherry.toml": toml})
    wherry.ok("build", cwd=project)
    before = tree_of(project)
    failed = wherry.run("check", "--fix", cwd=project)
    assert failed.returncode == LockError.exit_code, failed.stderr
    assert "the edits are taken back" in failed.stderr
    assert tree_of(project) == before
