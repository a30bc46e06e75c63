"""Whatever is edited, the build that looks at stamps gives the image that a build from nothing gives.

The build from nothing is that of a copy of the project, in another store, where no former build is known.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.flow.conftest import Seed, Wherry, locked_project, write_project
from wherry.cli.build_report import render_build
from wherry.pipeline import Project
from wherry.rebuild import rebuild
from wherry.store.disk import DiskStore

pytestmark = pytest.mark.network

Edit = Callable[[Path, random.Random], None]


def edit_code(project: Path, chance: random.Random) -> None:
    (project / "pkg/a.py").write_text(f"A = {chance.random()}\n")


def edit_at_equal_size(project: Path, chance: random.Random) -> None:
    """Same size; and the same time stamp, as far as one can set it."""
    path = project / "pkg/b.py"
    state = path.stat()
    path.write_text(f"B = {chance.randrange(100, 1000)}\n")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def edit_twice(project: Path, chance: random.Random) -> None:
    for _ in range(2):
        edit_at_equal_size(project, chance)


def add_file(project: Path, chance: random.Random) -> None:
    (project / f"pkg/new{chance.randrange(4)}.py").write_text("NEW = 1\n")


def delete_file(project: Path, chance: random.Random) -> None:
    for path in sorted((project / "pkg").glob("new*.py"))[:1]:
        path.unlink()


def swap_files(project: Path, chance: random.Random) -> None:
    """Two files change places: sizes and times stay, only names move."""
    a, b, aside = project / "pkg/b.py", project / "pkg/c.py", project / "aside"
    a.rename(aside)
    b.rename(a)
    aside.rename(b)


def touch(project: Path, chance: random.Random) -> None:
    (project / "main.py").touch()


def make_executable(project: Path, chance: random.Random) -> None:
    path = project / "main.py"
    path.chmod(path.stat().st_mode ^ 0o111)


def close_to_others(project: Path, chance: random.Random) -> None:
    path = project / "pkg/a.py"
    path.chmod(path.stat().st_mode ^ 0o044)


def retrain(project: Path, chance: random.Random) -> None:
    (project / "model.pkl").write_bytes(chance.randbytes(600))


def another_model(project: Path, chance: random.Random) -> None:
    """.gitignore leaves it out of the code; a model it is all the same."""
    (project / f"fold{chance.randrange(3)}.onnx").write_bytes(chance.randbytes(60))


def lose_models(project: Path, chance: random.Random) -> None:
    for path in project.glob("*.onnx"):
        path.unlink()


def link(project: Path, chance: random.Random) -> None:
    path = project / "pkg/link.py"
    path.unlink(missing_ok=True)
    path.symlink_to(chance.choice(("a.py", "b.py", "c.py")))


def change_settings(project: Path, chance: random.Random) -> None:
    (project / "wherry.toml").write_text(f'name = "edited"\nenv = {{ SEED = "{chance.randrange(1000)}" }}\n')


def lose_settings(project: Path, chance: random.Random) -> None:
    (project / "wherry.toml").unlink(missing_ok=True)


def add_comment(project: Path, chance: random.Random) -> None:
    """The declaration means the same, and the file is in the code."""
    with (project / "requirements.txt").open("a") as file:
        file.write(f"# {chance.random()}\n")


def ignore_something(project: Path, chance: random.Random) -> None:
    (project / ".gitignore").write_text(f"*.onnx\npkg/new{chance.randrange(4)}.py\n")


def new_entrypoint(project: Path, chance: random.Random) -> None:
    """`app.py` is the entrypoint where there is no `main.py`."""
    source, target = chance.sample(("main.py", "app.py"), 2)
    if (project / source).exists():
        (project / source).rename(project / target)
        (project / "main.py").exists() or (project / "main.py").write_text("")


EDITS: tuple[Edit, ...] = (
    edit_code, edit_at_equal_size, edit_twice, add_file, delete_file, swap_files, touch, make_executable, close_to_others,
    retrain, another_model, lose_models, link, change_settings, lose_settings, add_comment, ignore_something, new_entrypoint,
)  # fmt: skip


def start_project(seed: Seed, folder: Path) -> Path:
    files = {f"pkg/{name}.py": f"{name.upper()} = 100\n" for name in "abc"}
    return locked_project(seed, folder, {**files, ".gitignore": "*.onnx\n", "model.pkl": b"0" * 600})


def build_from_nothing(wherry: Wherry, project: Path, scratch: Path) -> dict[str, object]:
    """In a copy of the project (its name kept), by way of the library; only the base's layers are found."""
    shutil.rmtree(scratch, ignore_errors=True)
    copied = scratch / project.name
    shutil.copytree(project, copied, symlinks=True)
    return render_build(Project(copied, env=wherry.environment()).build())


@pytest.mark.parametrize("number", range(2))
def test_any_sequence_of_edits(wherry: Wherry, seed: Seed, tmp_path: Path, number: int) -> None:
    chance = random.Random(number)
    project = start_project(seed, tmp_path / "edited")
    other = replace(wherry, store=tmp_path / "other")
    shutil.copytree(wherry.store, other.store, copy_function=os.link)
    wherry.build(project)
    wherry.build(project)
    edits = chance.sample(EDITS, len(EDITS))
    done: list[str] = []
    while edits:
        for edit in [edits.pop() for _ in range(min(len(edits), chance.randrange(1, 4)))]:
            edit(project, chance)
            done.append(edit.__name__)
        assert wherry.build(project) == build_from_nothing(other, project, tmp_path / "scratch"), done
    assert wherry.build(project) == wherry.build(project, "--verify"), done


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_each_edit_alone_from_a_state_that_is_believed(wherry: Wherry, seed: Seed, tmp_path: Path, edit: Edit) -> None:
    """The stamps are old enough here that the quick build does start from them."""
    project = start_project(seed, tmp_path / "edited")
    add_file(project, random.Random(1))
    time.sleep(0.03)  # past the grain within which stamps are not believed
    env = wherry.environment()
    Project(project, env=env).build()
    edit(project, random.Random(2))
    store, cache = DiskStore(wherry.store), wherry.cache
    quick = rebuild(project, store, cache, env)
    full = build_from_nothing(wherry, project, tmp_path / "scratch")
    assert quick is None or render_build(quick) == full


def test_an_edit_at_once_after_a_build_is_seen(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    """Equal size, equal time stamp, within the tick of the file system's clock: many times over."""
    project = start_project(seed, tmp_path / "ticking")
    wherry.build(project)
    seen = set()
    for number in range(100, 110):
        edit = random.Random(number)
        edit.randrange = lambda *_, number=number: number  # type: ignore[method-assign, misc, assignment]
        edit_at_equal_size(project, edit)
        seen.add(str(wherry.build(project)["index"]))
    assert len(seen) == 10
    assert wherry.build(project) == wherry.build(project, "--verify")


def test_a_token_in_code_is_for_the_full_build_to_tell(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    project = start_project(seed, tmp_path / "leaking")
    told: list[str] = []
    env = wherry.environment()
    Project(project, env=env, say=told.append).build()
    assert not [line for line in told if "token" in line]
    (project / "pkg/a.py").write_text(f"TOKEN = 'ghp_{'a1B2' * 9}'\n")
    assert rebuild(project, DiskStore(wherry.store), wherry.cache, env) is None
    Project(project, env=env, say=told.append).build()
    assert [line for line in told if line.startswith("pkg/a.py holds a GitHub token")]


def test_verify_reads_what_stamps_cannot_tell(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    """A file changed behind every stamp is what --verify is for; so it must not believe the kept state."""
    project = start_project(seed, tmp_path / "verified")
    first = wherry.build(project)
    wherry.build(project)
    (state,) = (path for path in (wherry.cache / "builds").iterdir() if "verified:latest" in path.read_text())
    edit_code(project, random.Random(1))
    text = state.read_text()
    stamp = (project / "pkg/a.py").stat()
    known = json.loads(text)
    for entry in known["code"][1]:
        if entry[0] == "pkg/a.py":
            entry[1] = [stamp.st_size, stamp.st_mtime_ns, stamp.st_ctime_ns, stamp.st_ino, stamp.st_mode]
    state.write_text(json.dumps(known))
    assert wherry.build(project) == first  # it was told that nothing changed
    verified = wherry.build(project, "--verify")
    assert verified != first
    assert verified == build_from_nothing(wherry, project, tmp_path / "scratch")


def test_what_was_asked_once_is_not_asked_again(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    """A tag or a platform of one build is not that of the next one."""
    project = start_project(seed, tmp_path / "asked")
    plain = wherry.build(project)
    for words in (("-t", "other:1"), ("--platform", "linux/arm64")):
        for _ in range(2):  # the second one is not the one that completes the lock
            wherry.build(project, *words)
        edit_code(project, random.Random(repr(words)))
        built = wherry.build(project)
        assert [image["platform"] for image in built["images"]] == [image["platform"] for image in plain["images"]]
        assert "asked:latest" in wherry.ok("build", cwd=project)
        names = wherry.ok("image", "ls", "--json", cwd=project)
        assert str(built["index"]) in names


def test_a_frozen_build_does_not_answer_for_the_next(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    project = start_project(seed, tmp_path / "frozen")
    wherry.build(project)
    (project / "requirements.txt").write_text("tinyone==1.1\n")
    for _ in range(2):
        wherry.build(project, "--frozen")
    told = wherry.refused("build", cwd=project, code=11)
    assert "wherry lock" in told


def test_another_python_is_asked_for_by_a_file(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    project = start_project(seed, tmp_path / "versioned")
    (project / ".python-version").write_text("3.11\n")
    for _ in range(2):
        wherry.build(project)
    (project / ".python-version").write_text("3.13\n")
    assert "another declaration" in wherry.refused("build", cwd=project, code=11)


def test_settings_changed_while_a_build_is_going_on(wherry: Wherry, tmp_path: Path) -> None:
    """The state must not pair the old declaration with the new file's stamp."""
    project = write_project(tmp_path / "raced", {"wherry.toml": 'env = { A = "1" }\n', "requirements.txt": "tinytwo==2.0\n"})
    wherry.ok("lock", cwd=project)
    toml = project / "wherry.toml"
    building = wherry.start("build", "--verify", "--json", cwd=project)
    while building.poll() is None:  # rewritten all the time: some write falls between reading and stamping
        former = toml.stat()
        toml.write_text('env = { A = "2" }\n')
        os.utime(toml, ns=(former.st_atime_ns, former.st_mtime_ns))
    building.communicate()
    quick = wherry.build(project)
    assert quick == wherry.build(project, "--verify")
