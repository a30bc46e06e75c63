"""Wheels that another tool's lock, a pylock or a URL names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulators.python_index import PythonIndex, Wheel, make_wheel
from tests.unit.lock.yard import AARCH, ARM64, X86, Yard, as_locked
from wherry.errors import FormatError, LockError
from wherry.model.declaration import Environment, EnvironmentKind


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    with PythonIndex() as index:
        yield Yard(tmp_path, index)


def test_an_authors_pylock(yard: Yard) -> None:
    x86, arm, rope = make_wheel("hull", "1.0", tag=X86), make_wheel("hull", "1.0", tag=AARCH), make_wheel("rope", "2.0")
    yard.index.add(x86, arm, rope)

    def entry(wheel: Wheel) -> str:
        return f'{{ name = "{wheel.file}", url = "{yard.index.file_url(wheel)}", hashes = {{ sha256 = "{wheel.sha256}" }} }}'

    (yard.root / "pylock.toml").write_text(
        'lock-version = "1.0"\ncreated-by = "somebody"\n'
        f'[[packages]]\nname = "hull"\nversion = "1.0"\nwheels = [{entry(x86)}, {entry(arm)}]\n'
        f'dependencies = [{{ name = "rope" }}]\n'
        f'[[packages]]\nname = "rope"\nversion = "2.0"\nmarker = "platform_machine == \'aarch64\'"\nwheels = [{entry(rope)}]\n'
    )
    declaration = yard.declare_environment(Environment(kind=EnvironmentKind.PYLOCK, files=("pylock.toml",)))
    assert yard.lock(declaration) == (as_locked(x86, requested=True),)
    assert yard.lock(declaration, ARM64) == (as_locked(arm, requires=("rope",), requested=True), as_locked(rope))


HULL = '[[packages]]\nname = "hull"\nversion = "1"\n'


def bare_wheel(file: str, hashes: str) -> str:
    return f'wheels = [{{ name = "{file}", url = "https://h.example/x", hashes = {{ {hashes} }} }}]\n'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("[[packages]]\n", "no pylock"),
        ("not toml [", "not TOML"),
        (HULL + 'vcs = { type = "git", url = "https://h.example/x", commit-id = "1" }\n', "comes as vcs"),
        (HULL + 'directory = { path = "." }\n', "comes as directory"),
        (HULL + bare_wheel("hull-1-py3-none-any.whl", 'md5 = "0"'), "no sha256"),
        (HULL + bare_wheel("hull-1-py3-none-any.whl", 'sha256 = "0"'), "no sha256"),
        (HULL + bare_wheel("rope-1-py3-none-any.whl", f'sha256 = "{"0" * 64}"'), "rope"),
    ],
)
def test_a_pylock_that_cannot_be_followed(yard: Yard, body: str, message: str) -> None:
    (yard.root / "pylock.toml").write_text(f'lock-version = "1.0"\ncreated-by = "somebody"\n{body}')
    declaration = yard.declare_environment(Environment(kind=EnvironmentKind.PYLOCK, files=("pylock.toml",)))
    with pytest.raises((LockError, FormatError), match=message) as caught:
        yard.lock(declaration)
    assert caught.value.where == "pylock.toml"


def test_a_uv_lock(yard: Yard) -> None:
    import subprocess

    from wherry.sources.uv_program import find_uv

    for tag in (X86, AARCH):
        yard.index.add(make_wheel("hull", "1.0", tag=tag, requires=["rope; platform_machine == 'aarch64'"]))
    yard.index.add(make_wheel("rope", "1.0"), make_wheel("oar", "1.0"))
    (yard.root / "pyproject.toml").write_text(
        '[project]\nname = "project"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["hull"]\n'
        '[dependency-groups]\nrow = ["oar"]\ndev = ["hull"]\n'
    )
    subprocess.run([find_uv(), "lock", "--quiet"], cwd=yard.root, env=yard.environment, check=True)
    before = (yard.root / "uv.lock").read_bytes()
    declaration = yard.declare_environment(Environment(kind=EnvironmentKind.UV_LOCK, files=("uv.lock",), groups=("row",)))
    assert [(wheel.name, wheel.requested) for wheel in yard.lock(declaration)] == [("hull", True), ("oar", True)]
    arm64 = yard.lock(declaration, ARM64)
    assert [(wheel.name, wheel.requires, wheel.requested) for wheel in arm64] == [
        ("hull", ("rope",), True), ("oar", (), True), ("rope", (), False),
    ]  # fmt: skip
    assert AARCH in arm64[0].file
    assert (yard.root / "uv.lock").read_bytes() == before


def test_a_wheel_given_by_url(yard: Yard) -> None:
    hull = make_wheel("hull", "1.0")
    yard.index.add(hull)
    declaration = yard.declare(f"hull @ {yard.index.file_url(hull)}#sha256={hull.sha256}")
    assert yard.lock(declaration) == (as_locked(hull, requested=True),)
