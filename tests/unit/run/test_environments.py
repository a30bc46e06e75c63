"""Environments from a lock: laid out as the image is, whole or not at all, told when stale, removed only when ours."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.simulators.wheels import make_wheel
from tests.unit.run.local_projects import MINOR, RICH, VERSION, LocalProject, rich_wheel
from wherry.environments import survey_environments
from wherry.errors import FormatError, StoreError, UsageError
from wherry.run.environments import find_place, list_names, remove_environment, require_place
from wherry.store.host import read_host_platform


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    wheels = [rich_wheel(tmp_path / "wheels"), make_wheel(tmp_path / "wheels", "tiny")]
    bin_folder = Path(sys.executable).parent
    env = {"PATH": f"{bin_folder}:/usr/bin:/bin", "HOME": str(tmp_path / "home"), "WHERRY_ENVS": str(tmp_path / "envs")}
    return LocalProject(root=tmp_path / "project", cache=tmp_path / "cache", env=env, wheels=wheels)


def ask(prefix: Path, code: str, **env: str) -> str:
    done = subprocess.run([prefix / "bin/python", "-c", code], capture_output=True, text=True, check=True, env=env)
    return done.stdout.strip()


def states(project: LocalProject) -> list[tuple[str, str]]:
    found = survey_environments(project.root, project.env, read_host_platform())
    return [(one.record.name, one.state) for one in found]


def test_runs_what_is_locked_from_its_own_folder(project: LocalProject) -> None:
    made = project.make()
    assert made.prefix == project.root / ".wherry/env"
    told = ask(made.prefix, "import sys, rich, tiny; print(sys.prefix, rich.VALUE, tiny.VERSION, rich.__file__)")
    assert told == f"{made.prefix} 7 1.0 {made.prefix}/lib/python{MINOR}/site-packages/rich/__init__.py"
    assert (project.root / ".wherry/.gitignore").read_text() == "*\n"
    tool = subprocess.run([made.prefix / "bin/rich-tool"], capture_output=True, text=True, check=True)
    assert tool.stdout == "tool\n"
    assert (made.prefix / "bin/rich-run").read_text().startswith(f"#!{made.prefix}/bin/python\n")
    assert (made.prefix / f"include/site/python{MINOR}/rich/rich.h").is_file()
    assert (made.prefix / "share/rich/table.txt").read_text() == "a table\n"


def test_distributions_are_found_by_tools(project: LocalProject) -> None:
    code = "import importlib.metadata as m; print(sorted((d.name, d.version, d.read_text('INSTALLER')) for d in m.distributions()))"
    made = project.make()
    assert ask(made.prefix, code) == str([("rich", "1.0", "wherry\n"), ("tiny", "1.0", "wherry\n")])


def test_two_environments_share_files_on_disk(project: LocalProject) -> None:
    first, second = project.make(), project.make(name="other")
    own, generated = f"lib/python{MINOR}/site-packages/rich/native.so", "bin/rich-run"
    assert (first.prefix / own).samefile(second.prefix / own)
    assert not (first.prefix / generated).samefile(second.prefix / generated)
    assert second.prefix == Path(project.env["WHERRY_ENVS"]) / "other"


def test_copies_are_files_of_their_own(project: LocalProject) -> None:
    first, second = project.make(), project.make(name="other", copy=True)
    own = f"lib/python{MINOR}/site-packages/rich/native.so"
    assert (first.prefix / own).read_bytes() == (second.prefix / own).read_bytes()
    assert not (first.prefix / own).samefile(second.prefix / own)


def test_a_file_edited_in_one_environment_does_not_come_into_the_next(project: LocalProject) -> None:
    first = project.make()
    edited = first.prefix / f"lib/python{MINOR}/site-packages/rich/__init__.py"
    with edited.open("r+b") as file:
        file.write(b"VALUE = 8\n")
    assert ask(project.make(name="other").prefix, "import rich; print(rich.VALUE)") == "7"


def test_files_removed_from_the_cache_come_again(project: LocalProject) -> None:
    project.make()
    for path in list((project.cache / "trees").rglob("native.so")):
        path.unlink()
    made = project.make()
    assert (made.prefix / f"lib/python{MINOR}/site-packages/rich/native.so").is_file()


def test_made_anew_it_has_nothing_of_the_former_one(project: LocalProject) -> None:
    made = project.make()
    stray = made.prefix / f"lib/python{MINOR}/site-packages/stray.py"
    stray.write_text("")
    again = project.make()
    assert again.prefix == made.prefix
    assert not stray.exists()
    assert [path.name for path in made.prefix.parent.iterdir() if path.name.startswith(".env")] == []


def test_a_failure_leaves_the_former_one(project: LocalProject, tmp_path: Path) -> None:
    made = project.make()
    evil = make_wheel(tmp_path / "wheels", "evil", record={"evil/__init__.py": "sha256=AAAA,14"})
    project.wheels.append(evil)
    with pytest.raises(FormatError, match="RECORD"):
        project.make()
    assert ask(made.prefix, "import rich; print(rich.VALUE)") == "7"
    assert sorted(path.name for path in made.prefix.parent.iterdir()) == [".gitignore", ".lock", "env"]
    assert not list((project.cache / "trees").rglob("evil*"))


def test_what_wherry_did_not_make_stays(project: LocalProject) -> None:
    place = project.root / ".wherry/env"
    place.mkdir(parents=True)
    (place / "precious").write_text("x")
    with pytest.raises(UsageError, match="wherry did not make"):
        project.make()
    with pytest.raises(StoreError, match="no environment"):
        remove_environment(place)
    assert (place / "precious").read_text() == "x"


def test_list_tells_what_is_stale(project: LocalProject, tmp_path: Path) -> None:
    project.make()
    project.make(name="other")
    assert states(project) == [("anomaly", "ok"), ("other", "ok")]
    project.wheels.append(make_wheel(tmp_path / "wheels", "more"))
    made = project.make()
    assert states(project) == [("anomaly", "ok"), ("other", "stale")]
    (made.prefix / "bin/python").unlink()
    (project.root / "wherry.lock").unlink()
    assert states(project) == [("anomaly", "broken"), ("other", "no lock")]


def test_remove(project: LocalProject) -> None:
    made = project.make()
    project.make(name="other")
    assert remove_environment(made.prefix).name == "anomaly"
    assert not made.prefix.exists()
    assert states(project) == [("other", "ok")]


def test_names_that_leave_the_folder_are_refused(project: LocalProject) -> None:
    for name in ("../up", "a/b", ".hidden", "", "-x"):
        with pytest.raises(UsageError, match="cannot be the name"):
            find_place(project.root, name, project.env)


def test_user_site_and_foreign_home_stay_out(project: LocalProject, tmp_path: Path) -> None:
    """Also when it is started by its path, without the hook."""
    made = project.make()
    site = tmp_path / f"home/.local/lib/python{MINOR}/site-packages"
    site.mkdir(parents=True)
    (site / "rich.py").write_text("VALUE = 99\n")
    assert ask(made.prefix, "import rich; print(rich.VALUE)", HOME=str(tmp_path / "home")) == "7"


def test_the_kernel_starts_the_environments_python(project: LocalProject, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ipykernel"):
        project.make(kernel=True)
    project.wheels.append(make_wheel(tmp_path / "wheels", "ipykernel"))
    project.variables = (("MODE", "deep"),)
    made = project.make(kernel=True)
    folder = tmp_path / "home/.local/share/jupyter/kernels/wherry-anomaly"
    spec = json.loads((folder / "kernel.json").read_text())
    assert spec["argv"] == [f"{made.prefix}/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    assert spec["env"]["PYTHONNOUSERSITE"] == "1"
    assert spec["env"]["MODE"] == "deep"
    remove_environment(made.prefix)
    assert not folder.exists()


def test_another_ones_kernel_stays(project: LocalProject, tmp_path: Path) -> None:
    project.wheels.append(make_wheel(tmp_path / "wheels", "ipykernel"))
    folder = tmp_path / "home/.local/share/jupyter/kernels/wherry-anomaly"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text('{"argv": ["/elsewhere/bin/python"]}')
    with pytest.raises(UsageError, match="another environment"):
        project.make(kernel=True)
    assert json.loads((folder / "kernel.json").read_text())["argv"] == ["/elsewhere/bin/python"]


def test_says_the_patch_that_differs(project: LocalProject) -> None:
    made = project.make()
    assert made.record.python == made.record.locked_python == VERSION
    assert project.said == []


def test_one_that_was_moved_says_so(project: LocalProject, tmp_path: Path) -> None:
    project.make()
    project.root.rename(tmp_path / "elsewhere")
    project.root = tmp_path / "elsewhere"
    assert states(project) == [("anomaly", "moved")]
    prefix = project.root / ".wherry/env"
    with pytest.raises(StoreError, match="works only there"):
        require_place(prefix)
    assert project.make().prefix == prefix
    assert require_place(prefix).place == str(prefix)


def test_what_a_killed_one_left_goes(project: LocalProject) -> None:
    left = project.root / ".wherry/.env.new-0123456789abcdef"
    left.mkdir(parents=True)
    (left / "half").write_text("")
    foreign = project.root / ".wherry/.env.backup"
    foreign.mkdir()
    project.make()
    assert not left.exists()
    assert foreign.is_dir()


def test_two_at_once(project: LocalProject) -> None:
    """Each waits for the other; the cache is filled once, and both are whole."""
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda name: project.make(name=name), ("a", "b", "a", None)))
    assert {ask(one.prefix, "import rich; print(rich.VALUE)") for one in made} == {"7"}
    assert states(project) == [("anomaly", "ok"), ("a", "ok"), ("b", "ok")]


def test_a_file_that_somebody_emptied_is_unpacked_anew(project: LocalProject) -> None:
    """As a power cut may do, before the disk had it."""
    made = project.make()
    for path in (project.cache / "trees").rglob("native.so"):
        path.write_bytes(b"")
    again = project.make(name="other")
    assert (again.prefix / f"lib/python{MINOR}/site-packages/rich/native.so").read_bytes() == RICH["rich/native.so"]
    assert made.record.lock == again.record.lock


def test_names_for_the_shell(project: LocalProject) -> None:
    project.make(name="one")
    project.make(name="two")
    assert list_names(Path(project.env["WHERRY_ENVS"])) == ("one", "two")
    assert list_names(project.root / "nowhere") == ()


def test_a_name_is_one_projects(project: LocalProject, tmp_path: Path) -> None:
    project.make(name="shared")
    project.root = tmp_path / "second"
    with pytest.raises(UsageError, match=r"is that of .*project"):
        project.make(name="shared")
    remove_environment(Path(project.env["WHERRY_ENVS"]) / "shared")
    assert project.make(name="shared").record.project == str(tmp_path / "second")
