"""Wheels built from a commit of a git repository, and from a folder, in a real sandbox."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.engines.builds.place import Place, keep
from tests.simulators.python_index import PythonIndex, make_wheel
from tests.simulators.shipyard import source_files
from wherry.errors import FormatError, LockError, TrustError
from wherry.lock.built_wheels import make_again
from wherry.model.declaration import Requirement, SourceOrigin
from wherry.model.lock import BuildKind

pytestmark = pytest.mark.engine


def git(folder: Path, *arguments: str) -> str:
    options = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *options, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make_repository(folder: Path) -> str:
    require_tool("git")
    for path, text in source_files("hull", "1.0", requires=("rope",)).items():
        (folder / "py" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "py" / path).write_text(text)
    (folder / "py" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "py" / "run.sh").chmod(0o755)
    (folder / ".gitattributes").write_text("py/module.py export-ignore export-subst\n")
    (folder / "link").symlink_to("py/module.py")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return git(folder, "rev-parse", "HEAD")


def ask_git(folder: Path, commit: str, subfolder: str = "py") -> Requirement:
    origin = SourceOrigin(kind=BuildKind.GIT, url=folder.as_uri(), commit=commit, subfolder=subfolder)
    return Requirement(text="hull", name="hull", where="requirements.txt:1", source=origin)


def test_a_commit_is_built_and_found_again(tmp_path: Path, place: Place, index: PythonIndex) -> None:
    index.add(make_wheel("rope", "1.0"), make_wheel("hull", "1.0", build="another"))
    commit = make_repository(tmp_path / "repository")
    asked = place.declare(ask_git(tmp_path / "repository", commit))
    wheels, builds = place.lock(asked)
    assert [(wheel.name, wheel.requested) for wheel in wheels] == [("hull", True), ("rope", False)]
    assert (builds[0].kind, builds[0].commit, builds[0].file) == (BuildKind.GIT, commit, "hull.tar")
    assert place.fetch(wheels[0]).read("hull/__init__.py") == b"VERSION = '1.0'\n", "no filter, nothing left out"
    (tmp_path / "repository" / "py" / "module.py").write_text("VERSION = '9'\n")
    git(tmp_path / "repository", "commit", "-qam", "second")
    there = Place(tmp_path / "there", index)
    yard, _ = there.yard(asked)
    assert make_again(yard, builds[0], wheels[0]).is_file()
    with pytest.raises(TrustError, match="instead of"):
        make_again(there.yard(asked)[0], replace(builds[0], sha256=wheels[0].sha256), wheels[0])


def test_commits_that_are_refused(tmp_path: Path, place: Place) -> None:
    commit = make_repository(tmp_path / "repository")
    with pytest.raises(LockError, match=r"git: |has no commit"):
        place.lock(place.declare(ask_git(tmp_path / "repository", "0" * 40)))
    with pytest.raises(FormatError, match="has no folder elsewhere"):
        place.lock(place.declare(ask_git(tmp_path / "repository", commit, "elsewhere")))
    with pytest.raises(LockError, match="git: "):
        place.lock(place.declare(ask_git(tmp_path / "nothing here", commit)))
    git(tmp_path / "repository", "update-index", "--add", "--cacheinfo", f"160000,{commit},sub")
    git(tmp_path / "repository", "commit", "-q", "-m", "submodule")
    with pytest.raises(LockError, match="sub is a submodule"):
        place.lock(place.declare(ask_git(tmp_path / "repository", git(tmp_path / "repository", "rev-parse", "HEAD"))))


def test_a_folder_is_built_anew_when_its_files_change(place: Place, index: PythonIndex) -> None:
    index.add(make_wheel("rope", "1.0"))
    for path, text in source_files("hull", "1.0", requires=("rope",)).items():
        (place.root / "libs").mkdir(exist_ok=True)
        (place.root / "libs" / path).write_text(text)
    origin = SourceOrigin(kind=BuildKind.FOLDER, folder="libs")
    asked = place.declare(Requirement(text="hull", name="hull", source=origin))
    first = place.lock(asked)
    said = len(place.said)
    assert place.lock(asked, keep(first)) == first
    assert len(place.said) == said
    (place.root / "libs" / "module.py").write_text("VERSION = 'other'\n")
    second = place.lock(asked, keep(first))
    assert second[1][0].sha256 != first[1][0].sha256
    assert place.fetch(second[0][0]).read("hull/__init__.py") == b"VERSION = 'other'\n"
    yard, sources = place.yard(asked)
    sources.finder().path_of(first[1][0].file, first[1][0].sha256).unlink()
    with pytest.raises(LockError, match="hull was built from other files than libs has now"):
        make_again(yard, first[1][0], first[0][0])
