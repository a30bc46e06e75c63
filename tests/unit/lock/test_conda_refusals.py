"""What an author reads when conda's packages cannot be had together: in few words, at the right line, with a way on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.lock.conda_projects import AMD64, ask, make_channel, package, solve
from wherry.errors import LockError
from wherry.lock.conda_refusals import Unsolved, explain_unsolved
from wherry.model.declaration import CondaSpec

SPECS = (
    CondaSpec(text="python 3.12.*", name="python", where="environment.yml:4"),
    CondaSpec(text="tensorflow", name="tensorflow", where="environment.yml:5"),
    CondaSpec(text="pandas >=3", name="pandas", where="environment.yml:6"),
)
DEEP = """Cannot solve the request because of: The following packages are incompatible
├─ python 3.12.* can be installed with any of the following options:
│  └─ python 3.12.1
└─ tensorflow * cannot be installed because there are no viable options:
   ├─ tensorflow 2.6 would require
   │  └─ numpy <1.22, which cannot be installed because there are no viable options:
   │     └─ numpy 1.20.0 would require
   │        └─ python 3.9.*, which cannot be installed because there are no viable options:
   │           └─ python 3.9.1, which conflicts with the versions reported above.
   └─ tensorflow 2.5 would require
      └─ numpy <1.22, which cannot be installed because there are no viable options:
         └─ numpy 1.20.0 would require
            └─ python 3.9.*, which cannot be installed because there are no viable options:
               └─ python 3.9.1, which conflicts with the versions reported above.
"""
OPTIONS = """Cannot solve the request because of: The following packages are incompatible
├─ tensorflow * can be installed with any of the following options:
│  └─ tensorflow 2.6 would require
│     └─ numpy <1.22, which can be installed with any of the following options:
│        └─ numpy 1.20.0 would require
│           └─ python 3.9.*, which can be installed with any of the following options:
│              └─ python 3.9.1
└─ pandas >=3 cannot be installed because there are no viable options:
   └─ pandas 3.0 is excluded because due to strict channel priority not using this option from: 'https://conda.anaconda.org/bio/'
"""


def explain(tree: str, **known: list[str]) -> LockError:
    return explain_unsolved(Unsolved(tree=tree, known=known, specs=SPECS, channels=("conda-forge", "bio"), platform=AMD64))


def test_a_tree_is_shortened_and_what_fails_alike_is_one_line() -> None:
    error = explain(DEEP)
    assert error.what.splitlines() == [
        "conda's packages cannot be had together for linux/amd64:",
        "  python 3.12.* could be python 3.12.1",
        "  tensorflow has no version that fits:",
        "    tensorflow 2.6 | 2.5 needs numpy <1.22, which has no version that fits:",
        "      numpy 1.20.0 needs python 3.9.*, which has no version that fits:",
        "        python 3.9.1: conflicts with the above",
    ]
    assert (error.where, error.hint) == ("environment.yml:4", "loosen one of: python, tensorflow")


def test_what_there_is_stands_in_brackets_and_channels_go_by_name() -> None:
    error = explain(OPTIONS)
    assert "    tensorflow 2.6 needs numpy <1.22 (1.20.0), which needs python 3.9.* (3.9.1)" in error.what.splitlines()
    assert error.what.endswith("    pandas 3.0 is left out, by strict channel priority, of bio")
    assert "channel_priority: flexible" in (error.hint or "")


def test_a_long_tree_is_cut() -> None:
    many = "".join(f"├─ tensorflow 2.{n} would require\n│  └─ lib{n} *, for which no candidates were found.\n" for n in range(40))
    error = explain(f"Cannot solve the request because of: The following packages are incompatible\n{many}")
    assert len(error.what.splitlines()) == 17
    assert error.what.endswith("more lines)")


@pytest.mark.parametrize(
    ("tree", "what", "where", "hint"),
    [
        (
            "No candidates were found for tensorflow *.",
            "there is no tensorflow for linux-64 in conda-forge, bio",
            "environment.yml:5",
            "below pip:",
        ),
        (
            "No candidates were found for pandas >=3.",
            "there is no pandas >=3 for linux-64 in conda-forge, bio; there are 1.1, 1.2, 1.3, 1.4, 1.5, 2.0, and 1 older",
            "environment.yml:6",
            "another version of pandas",
        ),
    ],
)
def test_a_package_that_is_not_there(tree: str, what: str, where: str, hint: str) -> None:
    pandas = [f"1.{minor}" for minor in range(6)] + ["2.0"]
    error = explain(f"Cannot solve the request because of: {tree}", pandas=pandas)
    assert (error.what, error.where) == (what, where)
    assert hint in (error.hint or "")


@pytest.mark.parametrize(
    ("missing", "hint"),
    [
        ("__cuda >=12", 'cuda = "12.4"'),
        ("__glibc >=2.38", "a newer base"),
        ("__archspec 1 x86_64_v3", "every processor"),
        ("__win *", "another system's"),
        ("libfoo 2.*", "check the name"),
    ],
)
def test_what_the_target_does_not_have(missing: str, hint: str) -> None:
    head = "tensorflow * cannot be installed because there are no viable options:\n└─ tensorflow 2.6 would require"
    error = explain(f"Cannot solve the request because of: {head}\n   └─ {missing}, for which no candidates were found.\n")
    assert hint in (error.hint or "")
    assert error.where == "environment.yml:5"


@pytest.mark.parametrize(
    "text", ["", "├─", "Cannot solve the request because of: ", "no tree at all\n\n   └─ x", "└─ └─ └─\n" * 99]
)
def test_any_text_is_explained(text: str) -> None:
    assert isinstance(explain(text), LockError)


def test_the_solver_itself_is_understood(tmp_path: Path) -> None:
    """What py-rattler says changes with its versions: this breaks when it is no longer understood."""
    pythons = (package("python 3.9.1"), package("python 3.12.1"))
    old = package("numpy 1.20.0", "python 3.9.*")
    channel = make_channel(tmp_path / "forge", *pythons, old, package("tool 1.0", "numpy <1.22"), package("gpu 1.0", "__cuda"))
    with pytest.raises(LockError) as caught:
        solve(ask("python 3.12.*", "tool", channels=(channel,)), tmp_path)
    assert "cannot be had together for linux/amd64" in caught.value.what
    assert "viable" not in caught.value.what
    assert caught.value.hint == "loosen one of: python, tool"
    with pytest.raises(LockError, match=r"gpu .*needs __cuda") as caught:
        solve(ask("gpu", channels=(channel,)), tmp_path)
    assert "cuda = " in (caught.value.hint or "")
