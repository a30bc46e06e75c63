"""Ctrl-C and kill -9 at many moments, a full disk, builds at once: the store stays valid and the next build is right."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import cannot_run
from tests.flow.conftest import Seed, Wherry, assert_valid_store, layers_of, locked_project, tree_of, write_project

pytestmark = pytest.mark.network

MOMENTS = 5


@pytest.fixture
def heavy(wherry: Wherry, seed: Seed, tmp_path: Path) -> tuple[Wherry, Path]:
    """A build with something to do: three layers of the store are to be made anew, and models come on top."""
    reference = seed.wherry.build(seed.project)
    for layer in layers_of(reference):
        if layer["cause"] in ("bytecode-python", "python", "tinyone 1.0"):
            (wherry.store / "blobs/sha256" / layer["digest"].removeprefix("sha256:")).unlink(missing_ok=True)
    models = {f"model{number}.pkl": os.urandom(400_000) for number in range(3)}
    return wherry, locked_project(seed, tmp_path / "heavy", models)


def wait_until_at_work(process: subprocess.Popen[str]) -> None:
    """Until the command line itself runs: what happens before is the Python interpreter's start."""
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        with suppress(OSError):
            if "/msgspec/" in Path(f"/proc/{process.pid}/maps").read_text():
                return
        time.sleep(0.002)


def measure(wherry: Wherry, project: Path, scratch: Path) -> tuple[dict[str, object], float]:
    """The reference, and how long such a build works."""
    shutil.copytree(wherry.store, scratch, copy_function=os.link)
    building = replace(wherry, store=scratch).start("build", "--verify", cwd=project)
    wait_until_at_work(building)
    start = time.monotonic()
    building.communicate()
    assert building.returncode == 0
    lasted = time.monotonic() - start
    return replace(wherry, store=scratch).build(project), lasted


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_a_build_stopped_at_any_moment(heavy: tuple[Wherry, Path], tmp_path: Path, kind: signal.Signals) -> None:
    wherry, project = heavy
    reference, lasted = measure(wherry, project, tmp_path / "reference")
    lock = (project / "wherry.lock").read_bytes()
    stopped = 0
    for moment in range(MOMENTS):
        store = tmp_path / f"store-{moment}"
        shutil.copytree(wherry.store, store, copy_function=os.link)
        one = replace(wherry, store=store)
        building = one.start("build", "--verify", cwd=project)
        wait_until_at_work(building)
        time.sleep(lasted * moment / MOMENTS)
        building.send_signal(kind)
        said = building.communicate(timeout=120)[1]
        stopped += building.returncode != 0
        if kind is signal.SIGINT:
            assert building.returncode in (0, 130), said
            assert "Traceback" not in said
            assert not list((store / "ingest").iterdir())
        one.ok("image", "ls", cwd=project)
        assert_valid_store(store)
        assert (project / "wherry.lock").read_bytes() == lock
        if moment % 2:
            assert one.build(project) == reference
            assert_valid_store(store)
    assert stopped >= 2


def test_locking_stopped_leaves_the_former_lock(wherry: Wherry, project: Path) -> None:
    former = (project / "wherry.lock").read_bytes()
    (project / "requirements.txt").write_text("tinytwo==2.0\n")
    for moment in range(3):
        locking = wherry.start("lock", cwd=project)
        wait_until_at_work(locking)
        time.sleep(0.2 * moment)
        locking.send_signal(signal.SIGINT)
        said = locking.communicate(timeout=60)[1]
        assert locking.returncode in (0, 130), said
        assert "Traceback" not in said
        assert sorted(path.name for path in project.iterdir()) == ["main.py", "requirements.txt", "wherry.lock"]
        if locking.returncode:
            assert (project / "wherry.lock").read_bytes() == former
    wherry.ok("lock", cwd=project)


# -- at once


def test_the_same_project_built_at_once(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    project = locked_project(seed, tmp_path / "twice", {"model.pkl": os.urandom(300_000)})
    builds = [wherry.start("build", "--json", cwd=project) for _ in range(3)]
    said = [build.communicate(timeout=300) for build in builds]
    assert [build.returncode for build in builds] == [0] * 3, said
    assert len({stdout for stdout, _ in said}) == 1
    assert_valid_store(wherry.store)
    assert not list((wherry.store / "ingest").iterdir())


def test_projects_built_at_once_into_a_store_that_is_not_there_yet(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    """Both make the layout, both write the same base: nobody's name is lost, while somebody prunes all the time."""
    fresh = replace(wherry, store=tmp_path / "fresh")
    projects = [locked_project(seed, tmp_path / f"project-{number}", {"which.py": f"X = {number}\n"}) for number in range(3)]
    builds = [fresh.start("build", "--json", cwd=project) for project in projects]
    while any(build.poll() is None for build in builds):
        pruned = fresh.run("image", "prune", "--keep-recent", "0s", cwd=tmp_path)
        assert pruned.returncode in (0, 13), pruned.stderr  # 13: a build is using the store
        time.sleep(0.1)
    said = [build.communicate() for build in builds]
    assert [build.returncode for build in builds] == [0] * 3, said
    named = fresh.ok("image", "ls", cwd=tmp_path)
    for project in projects:
        assert project.name in named
    assert_valid_store(fresh.store)
    for project in projects:
        fresh.ok("image", "save", project.name, "-o", tmp_path / "out.tar", cwd=project)


def test_locked_at_once(wherry: Wherry, tmp_path: Path) -> None:
    """Two locks of one project: one whole file, and it is right."""
    project = write_project(tmp_path / "contested", {"requirements.txt": "tinytwo\n"})
    locking = [wherry.start("lock", cwd=project) for _ in range(2)]
    assert [(one.communicate(timeout=120)[1], one.returncode)[1] for one in locking] == [0, 0]
    before = (project / "wherry.lock").read_bytes()
    wherry.ok("lock", "--locked", cwd=project)
    assert (project / "wherry.lock").read_bytes() == before
    assert sorted(path.name for path in project.iterdir()) == ["main.py", "requirements.txt", "wherry.lock"]


# -- a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Four MiB, of our own."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        cannot_run("only root can mount a small disk")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, text=True)
    if mounted.returncode != 0:
        cannot_run(f"cannot mount a small disk: {mounted.stderr}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=400m", disk], check=True)


def test_a_full_disk_under_the_store(wherry: Wherry, project: Path, small_disk: Path) -> None:
    full = replace(wherry, store=small_disk / "store")
    told = full.refused("build", cwd=project, code=13)
    assert "space" in told
    assert str(small_disk) in told
    assert_valid_store(full.store)
    assert list((full.store / "ingest").iterdir()) == []
    full.ok("image", "ls", cwd=project)
    enlarge(small_disk)
    assert full.build(project) == wherry.build(project)
    assert_valid_store(full.store)


def test_a_full_disk_under_the_cache(wherry: Wherry, project: Path, small_disk: Path, tmp_path: Path) -> None:
    fresh = replace(wherry, store=tmp_path / "fresh", cache=small_disk / "cache")
    told = fresh.refused("build", cwd=project, code=13)
    assert "space" in told
    assert str(small_disk) in told
    leftovers = [path for path in (small_disk / "cache").rglob("*") if ".part" in path.name or path.name.startswith(".spool")]
    assert leftovers == []
    enlarge(small_disk)
    assert fresh.build(project) == wherry.build(project)


def test_a_full_disk_under_the_project(wherry: Wherry, small_disk: Path) -> None:
    """The lock is written whole or not at all."""
    project = write_project(small_disk / "project")
    with (small_disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(b"\0" * 4096)
    before = tree_of(project)
    told = wherry.refused("lock", cwd=project, code=13)
    assert "space" in told
    assert tree_of(project) == before
    (small_disk / "filler").unlink()
    wherry.ok("build", cwd=project)


@pytest.mark.parametrize("part", ["store", "cache"])
def test_places_that_must_not_be_written(wherry: Wherry, project: Path, tmp_path: Path, part: str) -> None:
    """A file stands where the folder would be: the same for every user, root too."""
    (tmp_path / "wall").write_text("")
    blocked = replace(wherry, **{part: tmp_path / "wall" / part})
    told = blocked.refused("build", "--verify", cwd=project, code=13)
    assert str(tmp_path / "wall") in told
