"""Which Python of this machine runs a lock: asked, of the right minor, with a C library that is new enough."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.unit.run.local_projects import MINOR, VERSION
from wherry.errors import StoreError, UsageError
from wherry.run.interpreters import find_python, least_glibc, probe_python, require_glibc
from wherry.run.local_python import LocalPython


def pretend(folder: Path, name: str, version: str, implementation: str = "cpython", *, free: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    answer = f'["{implementation}", "{version}", "{program}", "glibc 2.36", {str(free).lower()}]'
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    return program


def test_a_virtual_environments_python_stands_for_its_base() -> None:
    found = probe_python(Path(sys.executable))
    assert found.version == VERSION
    assert found.minor == MINOR
    assert not found.executable.startswith(sys.prefix + "/") or sys.prefix == sys.base_prefix


def test_the_locked_patch_goes_before_the_first_on_the_path(tmp_path: Path) -> None:
    pretend(tmp_path / "a", "python3.9", "3.9.1")
    pretend(tmp_path / "b", "python3", "3.9.2")
    env = {"PATH": f"{tmp_path}/a:{tmp_path}/b:/bin"}
    assert find_python("3.9.2", env).version == "3.9.2"
    assert find_python("3.9.7", env).version == "3.9.1"


def test_programs_that_are_no_such_python_are_passed_over(tmp_path: Path) -> None:
    pretend(tmp_path / "a", "python3.9", "3.9.1", "pypy")
    pretend(tmp_path / "b", "python3.9", "3.9.1", free=True)
    shim = tmp_path / "c/python3.9"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\necho pyenv: not chosen >&2\nexit 127\n")
    shim.chmod(0o755)
    pretend(tmp_path / "d", "python3.9", "3.9.3")
    path = ":".join(f"{tmp_path}/{name}" for name in "abcd")
    assert find_python("3.9.1", {"PATH": f"{path}:/bin"}).version == "3.9.3"


def test_none_that_fits_says_what_there_is(tmp_path: Path) -> None:
    pretend(tmp_path, "python3", "3.4.9")
    with pytest.raises(StoreError, match=r"no Python 3\.5 .*3\.4\.9"):
        find_python("3.5.1", {"PATH": f"{tmp_path}:/bin", "HOME": str(tmp_path)})


def test_one_that_was_asked_for_must_fit(tmp_path: Path) -> None:
    program = pretend(tmp_path, "mypython", "3.9.4")
    assert find_python("3.9.1", {}, str(program)).executable == str(program)
    with pytest.raises(UsageError, match=r"the lock is for 3\.8"):
        find_python("3.8.1", {}, str(program))
    with pytest.raises(UsageError, match="no program"):
        find_python("3.8.1", {"PATH": "/nowhere"}, "python3.8")


@pytest.mark.parametrize(
    ("file", "level"),
    [
        ("a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", (2, 17)),
        ("a-1-cp311-cp311-manylinux_2_34_aarch64.whl", (2, 34)),
        ("a-1-cp311-cp311-manylinux1_x86_64.whl", (2, 5)),
        ("a-1-py3-none-any.whl", None),
    ],
)
def test_the_c_library_that_a_wheel_needs(file: str, level: tuple[int, int] | None) -> None:
    assert least_glibc(file) == level


def test_an_old_c_library_is_named() -> None:
    old = LocalPython(executable="/x", version="3.11.2", glibc=(2, 31))
    none = LocalPython(executable="/x", version="3.11.2", glibc=None)
    require_glibc(old, ["a-1-cp311-cp311-manylinux_2_17_x86_64.whl", "b-1-py3-none-any.whl"])
    for python, has in ((old, "glibc 2.31"), (none, "no glibc")):
        with pytest.raises(StoreError, match=has):
            require_glibc(python, ["a-1-cp311-cp311-manylinux_2_34_x86_64.whl"])
