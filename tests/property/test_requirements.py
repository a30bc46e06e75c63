"""Laws of what authors write: whatever the bytes, they are read or refused with a `DeclarationError` that shows no secret."""

from __future__ import annotations

import string
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wherry.declare.grammar import Written, parse_written
from wherry.declare.ignore import DockerRules, GitRules
from wherry.declare.requirement_lines import decode_requirements, logical_lines
from wherry.declare.requirements import RequirementsFile, read_requirements
from wherry.errors import DeclarationError

NAMES = st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True)
VERSIONS = st.from_regex(r"(?:==|>=|<=|~=|!=)[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True)
MARKERS = st.sampled_from(["", " ; python_version >= '3.9'", ' ; sys_platform == "linux" and extra == "x"'])
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
LINES = st.tuples(NAMES, VERSIONS, MARKERS, st.lists(DIGESTS, max_size=2))
PIECES = st.sampled_from(
    [
        "numpy", "==1", "[a,b]", " ; ", "-r ", "-c ", "-e ", "--hash=sha256:", "@ ", "https://", "file:", "git+",
        "you:other@host.example/", ".whl", "#sha256=", "#", " #", "\\\n", "\n", "\r\n", "${X}", "'", '"', "--index-url ",
        "--", "-", "=", "(", ")", "..", "/", "\0", "a-1-py3-none-any.whl", "requirements.txt", "é", " ", "\t", "@EXPLICIT",
        "python_version<'3'", "*", "~=",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=4), max_size=8).map("".join)


def read(data: bytes) -> RequirementsFile:
    with TemporaryDirectory() as folder:
        Path(folder, "requirements.txt").write_bytes(data)
        return read_requirements(Path(folder), "requirements.txt", {"X": "x"})


@given(st.binary(max_size=300))
@example(b"# coding: rot13\nahzcl")
@example(b"# coding: zlib\nahzcl")
@example(b"# coding: idna\n.\n")
@example(b"# coding: unicode_escape\n\\N")
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(DeclarationError):
        read(data)


@example("./", "==1")
@given(TEXTS, TEXTS)
@settings(max_examples=400, deadline=None)
def test_any_lines_are_read_or_refused_without_showing_a_secret(before: str, after: str) -> None:
    data = f"{before}https://me:s3cret@host.example/a{after}".encode("utf-8", "replace")
    try:
        read(data)
    except DeclarationError:
        with pytest.raises(DeclarationError) as caught:
            read(data)
        assert "s3cret" not in str(caught.value)


@given(st.lists(LINES, max_size=6), st.sampled_from(["\n", "\r\n", "\r"]))
@settings(max_examples=150, deadline=None)
def test_what_is_rendered_is_read(lines: list[tuple[str, str, str, list[str]]], end: str) -> None:
    text = ""
    for name, version, marker, digests in lines:
        hashes = "".join(f" \\{end}    --hash=sha256:{digest}" for digest in digests)
        text += f"{name}{version}{marker}{hashes}{end}"
    found = read(text.encode())
    assert [one.text for one in found.requirements] == [f"{name}{version}{marker}" for name, version, marker, _ in lines]
    assert [one.hashes for one in found.requirements] == [tuple(f"sha256:{digest}" for digest in digests) for *_, digests in lines]


@given(st.text(string.ascii_letters + " #\\\n\r$", max_size=60))
@settings(max_examples=300, deadline=None)
def test_encodings_agree(text: str) -> None:
    lines = list(logical_lines(text, {}))
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert list(logical_lines(decode_requirements(text.encode(encoding), "r.txt"), {})) == lines


TOML = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        "name", "python", "base", "platforms", "environment", "system-packages", "code", "models", "entrypoint", "env", "labels",
        "volumes", "ports", "bytecode", "compression", "user", "workdir", "layers-from", "debian", "targets", "nonsense",
    ]
)  # fmt: skip


@given(st.dictionaries(KEYS, TOML, max_size=4))
@settings(max_examples=400, deadline=None)
def test_any_table_is_a_declaration_or_refused(table: dict[str, object]) -> None:
    with suppress(DeclarationError):
        assert isinstance(parse_written(table, "wherry.toml"), Written)


@given(st.lists(st.text("ab*?[]!/\\-. #\n^", max_size=8), max_size=4), st.text("ab/.", min_size=1, max_size=8))
@settings(max_examples=400, deadline=None)
def test_any_pattern_compiles(lines: list[str], path: str) -> None:
    assert GitRules(lines).decide(path) in (True, False, None)
    assert DockerRules(lines).ignores(path) in (True, False)
