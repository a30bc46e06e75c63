"""Laws of conda's files: they are read or refused with a place; what a live environment writes is read again."""

from __future__ import annotations

import string
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.declare.conda_file import read_conda_file
from wherry.declare.conda_selectors import SUBDIRS, read_selector
from wherry.declare.conda_specs import parse_spec
from wherry.declare.live_conda import render_environment
from wherry.declare.live_package import Fate, LivePackage
from wherry.errors import DeclarationError, WherryError
from wherry.formats.conda_lock import parse_conda_lock
from wherry.formats.explicit_list import parse_explicit
from wherry.formats.pixi_lock import parse_pixi_lock

PIECES = st.sampled_from([
    "dependencies:", "channels:", "variables:", "platforms:", "name: x", "- ", "  - ", "- pip:", "      - ", "\n", "\r\n",
    "\t", ": ", "# ", "numpy=1.26", "python>=3.8,<3.9", "conda-forge::x", "git+https://me:pw@h.example/x", "-r more.txt",
    "[linux]", "# [not win]", "&a ", "*a", "{", "}", "[", "]", "'", '"', "|", ">-", "!!str ", "!!python/object:os.x ",
    "<<: *a", "---", "\x00", "\ufeff", "3.10", "~", "é", "🚣", ",",
])  # fmt: skip
NAMES = st.text(string.ascii_lowercase + string.digits + "_-", min_size=1, max_size=12).filter(lambda name: name[0].isalnum())
VERSIONS = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}((a|rc|post)[0-9])?", fullmatch=True)


@settings(max_examples=80, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=60))
def test_anything_is_read_or_refused_with_a_place(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "environment.yml").write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
        try:
            found = read_conda_file(Path(folder), "environment.yml", {})
        except DeclarationError as error:
            assert "environment.yml" in str(error)  # noqa: PT017
            assert "pw@" not in str(error)  # noqa: PT017
        else:
            assert "pw@" not in repr(found)


@settings(max_examples=40, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join))
def test_locks_of_others_are_read_or_refused(text: str) -> None:
    for parse in (parse_pixi_lock, parse_conda_lock, parse_explicit):
        for head in ("", "version: 6\nenvironments:\n", "package:\n", "@EXPLICIT\n"):
            try:
                parse(head + text, "file")
            except WherryError as error:
                assert (error.where or "").startswith("file")  # noqa: PT017


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NAMES, VERSIONS, st.booleans(), st.sampled_from(["", "linux64", "aarch64"])), max_size=12))
def test_what_a_live_environment_writes_is_read_again(packages: list[tuple[str, str, bool, str]]) -> None:
    live = [
        LivePackage(
            name=name,
            version=version,
            fate=Fate.CHANGED if selector else Fate.KEPT,
            why="why: it is # so" if selector else "",
            requirement=f"{name}={version}" if of_conda else f"{name}=={version}",
            of_conda=of_conda,
            selector=selector if of_conda else "",
        )
        for name, version, of_conda, selector in packages
        if of_conda or name[-1].isalnum()
    ]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "environment.yml").write_text(render_environment("3.12", ("conda-forge",), live))
        try:
            found = read_conda_file(Path(folder), "environment.yml", {})
        except DeclarationError as error:
            assert "out of support" in str(error)  # noqa: PT017
            return
    assert found.environment.conda is not None
    assert [spec.text for spec in found.environment.conda.specs] == list(
        dict.fromkeys(package.requirement for package in live if package.of_conda)
    ) or any(package.selector for package in live)
    assert [one.text for one in found.environment.requirements] == [one.requirement for one in live if not one.of_conda]


@given(NAMES, VERSIONS, st.sampled_from(["=", "==", ">=", " ", " >=", "!=", "~=", "<"]))
def test_a_spec_keeps_its_text(name: str, version: str, sign: str) -> None:
    spec = parse_spec(f"  {name}{sign}{version}  # why", "x")
    assert (spec.name, spec.text) == (name, f"{name}{sign}{version}")


@given(st.text(max_size=80))
def test_selectors_never_name_what_does_not_exist(rest: str) -> None:
    assert set(read_selector(f"  # [{rest}]")) <= {*SUBDIRS, "none"}
