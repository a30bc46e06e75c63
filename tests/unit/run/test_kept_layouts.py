"""An environment that is made anew from the trees alone is the one that its wheels made, or is left to the full way."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulators.wheels import make_wheel
from tests.unit.run.local_projects import MINOR, LocalProject, rich_wheel
from tests.unit.test_start_up import HEAVY, loaded_by
from wherry.errors import UsageError
from wherry.run.environments import FoundEnvironment
from wherry.run.kept_layouts import Keeping, remake_environment

LATER = time.time_ns() + 10**15  # so that no stamp counts as too young to be believed
KEEPING = Keeping(files=("wherry.lock", "wherry.toml"), since=LATER, frozen=False)


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    wheels = [rich_wheel(tmp_path / "wheels"), make_wheel(tmp_path / "wheels", "tiny"), make_wheel(tmp_path / "wheels", "alike")]
    wheels.append(make_wheel(tmp_path / "wheels", "clash", files={"tiny/__init__.py": b"VERSION = 'other'\n"}))
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "WHERRY_ENVS": str(tmp_path / "envs")}
    return LocalProject(root=tmp_path / "project", cache=tmp_path / "cache", env=env, wheels=wheels)


def remake(project: LocalProject, name: str | None = None, *, frozen: bool = False) -> FoundEnvironment | None:
    made = remake_environment(project.root, name, project.env, project.cache, frozen=frozen)
    return None if made is None else made[0]


def snapshot(prefix: Path) -> dict[str, tuple[int, bytes | str]]:
    """Each file below a prefix: its mode, and its contents or where it leads."""
    paths = [path for path in prefix.rglob("*") if path.is_symlink() or path.is_file()]
    return {
        str(path.relative_to(prefix)): (path.lstat().st_mode, str(path.readlink()) if path.is_symlink() else path.read_bytes())
        for path in paths
    }


@pytest.mark.parametrize("name", [None, "other"])
def test_it_is_the_same_without_the_wheels(project: LocalProject, name: str | None) -> None:
    made = project.make(keeping=KEEPING, name=name)
    before, said = snapshot(made.prefix), tuple(project.said)
    for wheel in project.wheels:
        wheel.unlink()
    (made.prefix / "stray").touch()
    assert remake_environment(project.root, name, project.env, project.cache, frozen=False) == (made, said)
    assert snapshot(made.prefix) == before
    assert any("tiny/__init__.py" in note for note in said)


def test_files_are_links_into_the_cache(project: LocalProject) -> None:
    made = project.make(keeping=KEEPING)
    file = made.prefix / f"lib/python{MINOR}/site-packages/rich/native.so"
    inode = file.stat().st_ino
    assert remake(project) is not None
    assert file.stat().st_ino == inode


@pytest.mark.parametrize("file", ["wherry.lock", "wherry.toml"])
def test_a_file_that_changed_is_for_the_full_way(project: LocalProject, file: str) -> None:
    made = project.make(keeping=KEEPING)
    before = snapshot(made.prefix)
    with (project.root / file).open("a") as stream:
        stream.write("# more\n")
    assert remake(project) is None
    assert snapshot(made.prefix) == before


def test_another_path_may_have_another_python(project: LocalProject, tmp_path: Path) -> None:
    project.make(keeping=KEEPING)
    project.env["PATH"] = f"/usr/bin:{project.env['PATH']}"
    assert remake(project) is None


def test_a_python_that_appears_on_the_path_is_asked(project: LocalProject, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    project.env["PATH"] = f"{programs}:{project.env['PATH']}"
    project.make(keeping=KEEPING)
    assert remake(project) is not None
    programs.mkdir()
    (programs / f"python{MINOR}").write_text("#!/bin/sh\n")
    assert remake(project) is None


def test_what_was_made_frozen_is_for_the_frozen_alone(project: LocalProject) -> None:
    project.make(keeping=replace(KEEPING, frozen=True))
    assert remake(project) is None
    assert remake(project, frozen=True) is not None


def test_a_tree_that_was_edited_is_made_by_its_wheel(project: LocalProject) -> None:
    made = project.make(keeping=KEEPING)
    file = made.prefix / f"lib/python{MINOR}/site-packages/rich/__init__.py"
    before = file.read_bytes()
    file.write_text("VALUE = 'edited'\n")  # and with it the tree's, for they are one
    assert remake(project) is None
    assert [path.name for path in made.prefix.parent.iterdir() if path.name.startswith(".env")] == []
    project.make(keeping=KEEPING)
    assert file.read_bytes() == before
    assert remake(project) is not None


def test_what_is_wished_or_young_or_not_decided_by_files_is_not_kept(project: LocalProject) -> None:
    project.make(keeping=KEEPING, copy=True)
    project.make(keeping=KEEPING, python=sys.executable)
    project.make(keeping=replace(KEEPING, since=0))
    project.make(keeping=replace(KEEPING, files=()))
    assert remake(project) is None


def test_what_wherry_did_not_make_stays(project: LocalProject) -> None:
    made = project.make(keeping=KEEPING)
    (made.prefix / "wherry.json").unlink()
    with pytest.raises(UsageError, match="wherry did not make"):
        remake(project)
    assert (made.prefix / "pyvenv.cfg").is_file()


@pytest.mark.parametrize("damage", ["[]", "{}", '{"record": {}}', "\0"])
def test_a_damaged_hint_is_none(project: LocalProject, damage: str) -> None:
    project.make(keeping=KEEPING)
    (hint,) = (project.cache / "ready").iterdir()
    whole = hint.read_text()
    hint.write_text(damage if damage == "\0" else whole[: whole.index('"value"')] + f'"value": {damage}}}')
    assert remake(project) is None


def test_the_command_loads_nothing_heavy(project: LocalProject, tmp_path: Path) -> None:
    project.env["PATH"] = "/usr/bin:/bin"  # what `loaded_by` gives
    project.make(keeping=KEEPING, python=None)
    out, loaded = loaded_by("env", "create", "--frozen", cwd=project.root, store=tmp_path / "store", cache=project.cache)
    assert out == f"{project.root}/.wherry/env\n"
    assert "wherry.cli.app" not in loaded, "it went the long way"
    assert sorted(loaded & {*HEAVY, "subprocess", "wherry.pipeline"}) == []
