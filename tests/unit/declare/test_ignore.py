"""Patterns against the programs that define them: git itself decides who is right."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.unit.declare.projects import write_files
from wherry.declare.code import list_code
from wherry.declare.ignore import DockerRules, GitRules, compile_patterns
from wherry.model.declaration import CodeSelection

FILES = (
    "a", "a.py", "b.txt", "foo", "foobar", "x.log", "[x]", "a b", "sp ", "#hash", "!bang", "back\\slash",
    "doc/a.py", "doc/frotz/a", "doc/x.log",
    "foo.d/a", "deep/doc/frotz/b", "deep/er/x.log", "deep/er/foo.d/y", "deep/a-b", "deep/a_c", "UPPER", "deep/é.txt", "z/z/z/z.py",
)  # fmt: skip
PATTERNS = (
    "*", "*.py", "/*.py", "doc", "doc/", "/doc", "doc/frotz", "doc/frotz/", "**/frotz", "**/doc/frotz",
    "deep/**", "deep/**/x.log", "**",
    "a/**/b", "foo*", "foo.?", "[a-f]", "[!a-f]*", "[^a-f]", "a[ _-]*", "[[:upper:]]*", "[[:alpha:]].py",
    "\\#hash", "\\!bang", "#hash", "sp\\ ",
    "sp ", "a\\ b", "back\\\\slash", "\\", "[", "[]x]", "[a", "x]", "\\[x\\]", "/", "//", "deep//er", "*/", "/*", "*/*",
    "z/**/z.py", "***", "a**",
    "**a", "deep/*/x.log", "[z-a]", "é.txt", "*.tx[!x]", "[!", "doc/**/", "/**", "**/", "foo.d/**", "[\\]]", "[a\\-z]", "z/*",
)  # fmt: skip


def git_keeps(root: Path) -> set[str]:
    done = subprocess.run(
        ["git", "-c", "core.excludesFile=/dev/null", "ls-files", "-z", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    )
    return {name for name in done.stdout.decode().split("\0") if name}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    require_tool("git")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return write_files(tmp_path, dict.fromkeys(FILES, ""))


def test_each_pattern_as_git_reads_it(tree: Path) -> None:
    wrong = []
    for lines in (*((pattern,) for pattern in PATTERNS), *(("*", f"!{pattern}") for pattern in PATTERNS)):
        (tree / ".gitignore").write_text("\n".join(lines) + "\n")
        ours = {file.path for file in list_code(tree, CodeSelection(), ())}
        if ours != git_keeps(tree):
            wrong.append((lines, ours ^ git_keeps(tree)))
    assert wrong == [], wrong[0]


def test_nested_files_as_git_reads_them(tree: Path) -> None:
    write_files(
        tree,
        {
            ".gitignore": "*.log\n/deep/er/\nfoo*\n",
            "deep/.gitignore": "!er\n!*.log\n/doc/frotz/*\n",
            "doc/.gitignore": "*\n!a.py\n",
        },
    )
    assert {file.path for file in list_code(tree, CodeSelection(), ())} == git_keeps(tree)


def test_the_last_match_decides() -> None:
    rules = GitRules(["*.log", "!keep.log", "# comment", "", "keep.log/"])
    assert rules.decide("a.log") is True
    assert rules.decide("keep.log") is False
    assert rules.decide("keep.log/") is True
    assert rules.decide("b") is None


def test_docker_looks_below_an_ignored_folder_only_when_something_may_come_back() -> None:
    rules = DockerRules(["data", "!data/keep/a.csv"])
    assert rules.ignores("data/")
    assert not rules.ignores("data/keep/a.csv")
    assert rules.may_hold_exception("data/")
    assert rules.may_hold_exception("data/keep/")
    assert not rules.may_hold_exception("data/other/")
    assert DockerRules(["a", "!**/b"]).may_hold_exception("a/")


def test_no_patterns_are_no_expression() -> None:
    assert compile_patterns(()) is None
    assert compile_patterns(("# only",)) is None
