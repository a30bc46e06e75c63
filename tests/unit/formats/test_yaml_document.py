"""YAML with lines: what it reads, and what it refuses, each time with the line."""

from __future__ import annotations

from contextlib import suppress

import pytest

from wherry.errors import FormatError
from wherry.formats.yaml_document import YamlList, YamlMap, YamlScalar, items_of, parse_yaml, scalar_of


def test_scalars_keep_their_text_and_their_line() -> None:
    root = parse_yaml('python: 3.10\nyes: no\nquoted: "~"\nempty:\n', "f.yml")
    assert isinstance(root, YamlMap)
    assert [(key.text, scalar_of(value)) for key, value in root.pairs] == [
        ("python", "3.10"),
        ("yes", "no"),
        ("quoted", "~"),
        ("empty", None),
    ]
    value = root.get("yes")
    assert isinstance(value, YamlScalar)
    assert (value.line, value.last, value.end) == (2, 2, 7)


def test_line_endings_of_every_kind_give_the_same_tree() -> None:
    trees = {repr(parse_yaml(f"a:{end}- b{end}- c{end}", "f.yml")) for end in ("\n", "\r\n", "\r")}
    assert len(trees) == 1


def test_aliases_are_followed() -> None:
    root = parse_yaml("base: &b [x, y]\nagain: *b\n", "f.yml")
    assert isinstance(root, YamlMap)
    assert [scalar_of(item) for item in items_of(root.get("again"))] == ["x", "y"]
    assert isinstance(root.get("again"), YamlList)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{key}: &{key} [{', '.join(['*' + before] * 10)}]\n" for before, key in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "line", "what", "hint"),
    [
        ("a: 1\nb:\n\t- c\n", 3, "not YAML", "spaces"),
        ("a: 1\nb: c: d\n", 2, "not YAML", "quotation marks"),
        ("name: x\nversion: {{ version }}\n", 2, "that is not text", None),
        ("{% set x = 1 %}\n", 1, "not YAML", "template"),
        ("a: 1\nb: 2\na: 3\n", 3, "'a' stands twice, first in line 1", "join"),
        ("a: !!python/object/apply:os.system [x]\n", 1, "tag", None),
        ("a\n---\nb\n", 2, "second document", "one file"),
        ("a: &x [*x]\n", 1, "*x", None),
        ("a: *x\n", 1, "*x", None),
        ("a\x07b: 1\n", 1, "U+0007", "UTF-8"),
        ("a: 1\n" + "b: " + "[" * 5000, 2, "nested deeper", None),
        (BOMB, 7, "beyond all measure", None),
    ],
)
def test_refusals_name_the_line(text: str, line: int, what: str, hint: str | None) -> None:
    with pytest.raises(FormatError) as caught:
        parse_yaml(text, "f.yml")
    assert caught.value.where == f"f.yml:{line}"
    assert what in caught.value.what
    if hint:
        assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_an_empty_file_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="empty"):
        parse_yaml(text, "f.yml")


def test_every_cut_of_a_file_is_read_or_refused() -> None:
    text = 'name: "x"\nchannels: &c [a, "b"]\ndependencies:\n  - python=3.10 # [linux]\n  - pip:\n      - |\n        y\nz: *c\n'
    for end in range(len(text)):
        with suppress(FormatError):
            parse_yaml(text[:end], "f.yml")
