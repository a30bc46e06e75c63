"""A scoring service's runtime is locked like all else: with the author's requirements, or beside what another tool resolved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulators.python_index import PythonIndex, make_wheel
from tests.unit.lock.conda_projects import ask, make_channel, package, titles
from tests.unit.lock.test_conda_resolution import CondaDock
from tests.unit.lock.test_resolution import AMD64, Dock, declare
from wherry.model.declaration import Declaration, Environment, EnvironmentKind
from wherry.model.lock import Lock, LockedWheel
from wherry.model.scoring import ScoreService
from wherry.scoring import bring_runtime, with_runtime


@pytest.fixture
def dock(tmp_path: Path) -> Iterator[Dock]:
    with PythonIndex() as index:
        for name, version in (("starlette", "1.0"), ("starlette", "1.1"), ("uvicorn", "0.40"), ("hull", "1.0")):
            index.add(make_wheel(name, version))
        index.add(make_wheel("paho-mqtt", "2.1"))
        yield Dock(tmp_path, index)


def serve(dock: Dock, declaration: Declaration) -> Declaration:
    return with_runtime(replace(declaration, score=ScoreService(script="score.py"), platforms=(AMD64,)), dock.folder / "cache")


def names(lock: Lock) -> dict[str, str]:
    return {wheel.name: wheel.version for wheel in lock.for_platform(AMD64).wheels}


def runtime_of(lock: Lock) -> LockedWheel:
    return next(wheel for wheel in lock.for_platform(AMD64).wheels if wheel.name == "wherry-score")


def test_it_is_resolved_with_the_authors_requirements(dock: Dock) -> None:
    lock = dock.lock(serve(dock, declare(dock.folder / "p", "starlette==1.0", "hull")))
    assert names(lock) == {"hull": "1.0", "starlette": "1.0", "uvicorn": "0.40", "wherry-score": "0.1.0"}
    path, digest = bring_runtime(dock.folder / "cache")
    runtime = runtime_of(lock)
    assert (runtime.sha256, runtime.size, runtime.file) == (digest, path.stat().st_size, path.name)
    assert (runtime.requires, runtime.requested) == (("starlette", "uvicorn"), True)


def test_it_stays_what_it_was(dock: Dock) -> None:
    asked = serve(dock, declare(dock.folder / "p"))
    first = dock.lock(asked)
    dock.index.add(make_wheel("starlette", "1.2"))
    again = dock.lock(replace(asked, platforms=asked.platforms), first)
    assert again == first
    assert names(dock.lock(asked, first, names=("starlette",)))["starlette"] == "1.2"


def test_without_any_package_of_the_authors(dock: Dock) -> None:
    empty = replace(declare(dock.folder / "p"), environment=Environment(kind=EnvironmentKind.EMPTY))
    assert set(names(dock.lock(serve(dock, empty)))) == {"starlette", "uvicorn", "wherry-score"}


def test_a_pyproject_is_asked_with_it(dock: Dock) -> None:
    project = declare(dock.folder / "p")
    (project.root / "pyproject.toml").write_text('[project]\nname = "p"\nversion = "1"\ndependencies = ["hull"]\n')
    asked = replace(project, environment=Environment(kind=EnvironmentKind.PYPROJECT, files=("pyproject.toml",)))
    assert set(names(dock.lock(serve(dock, asked)))) == {"hull", "starlette", "uvicorn", "wherry-score"}


def test_what_another_tool_resolved_stands(dock: Dock) -> None:
    project = declare(dock.folder / "p")
    starlette = make_wheel("starlette", "1.0")
    body = (
        '[[packages]]\nname = "starlette"\nversion = "1.0"\n'
        f'wheels = [{{ url = "{dock.index.file_url(starlette)}", hashes = {{ sha256 = "{starlette.sha256}" }} }}]\n'
    )
    (project.root / "pylock.toml").write_text(f'lock-version = "1.0"\ncreated-by = "somebody"\n{body}')
    asked = replace(project, environment=Environment(kind=EnvironmentKind.PYLOCK, files=("pylock.toml",)))
    lock = dock.lock(serve(dock, asked))
    assert names(lock) == {"starlette": "1.0", "uvicorn": "0.40", "wherry-score": "0.1.0"}


@pytest.mark.parametrize("resolved", [True, False])
def test_beside_condas_packages(dock: Dock, tmp_path: Path, resolved: bool) -> None:
    """What conda brings stands: uvicorn is not asked for again."""
    pip = package("uvicorn 0.45.0 py312_0", "python 3.12.*")
    forge = make_channel(tmp_path / "channels" / "forge", package("python 3.12.1"), pip)
    conda = CondaDock(tmp_path, dock.index)
    declared = conda.declare(ask("uvicorn", channels=(forge,)), platforms=(AMD64,))
    if resolved:
        lines = [path.as_uri() for path in sorted(forge.glob("linux-64/*.conda"))]
        (tmp_path / "list.txt").write_text("\n".join(["@EXPLICIT", *lines, ""]))
        declared = replace(declared, environment=Environment(kind=EnvironmentKind.CONDA_EXPLICIT, files=("list.txt",)))
    (locked,) = conda.lock(serve(conda, declared)).platforms
    assert titles(locked.records) == ["python 3.12.1", "uvicorn 0.45.0"]
    assert [wheel.name for wheel in locked.wheels] == ["starlette", "wherry-score"]
