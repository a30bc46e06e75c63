"""Which file of a base a changed one is compared with."""

from __future__ import annotations

import pytest

from tests.unit.deltas import make_base, make_tar, noise, words
from wherry.deliver.matching import Matcher, Wanted, sketch, strip_versions, suffix_of
from wherry.model.digest import Digest


def wanted(path: str, data: bytes) -> Wanted:
    return Wanted(path=path, size=len(data), digest=Digest.of(data))


def match(
    files: dict[str, bytes], path: str, data: bytes, kept: frozenset[Digest] = frozenset()
) -> tuple[str | None, str | None, str | None]:
    with make_base(make_tar(files)) as base:
        matcher = Matcher(base.files, {name: file.digest for name, file in base.files.items()}, base.read_file)
        file = wanted(path, data)
        return matcher.find_equal(file), matcher.find_by_path(file), matcher.find_alike([(file, data)], kept).get(path)


def test_equal_bytes_are_found_anywhere_best_at_the_same_path() -> None:
    files = {"a/x": b"same", "b/x": b"same", "b/y": b"other"}
    assert match(files, "b/x", b"same")[0] == "b/x"
    assert match(files, "b/z", b"same")[0] == "b/x"
    assert match(files, "b/z", b"new")[0] is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("site/numpy.libs/libscipy_openblas64_-8fb3d286.so", "site/numpy.libs/libscipy_openblas64_-32a4b2a6.so"),
        ("site/scikit_learn-1.9.0.dist-info/RECORD", "site/scikit_learn-1.9.1.dist-info/RECORD"),
        ("usr/lib/libssl.so.3.0.15", "usr/lib/libssl.so.3.0.17"),
        ("site/x.cpython-311-x86_64-linux-gnu.so", "site/x.cpython-312-x86_64-linux-gnu.so"),
        ("models/model_20240131.pkl", "models/model_20240229.pkl"),
    ],
)
def test_versions_do_not_count_in_paths(old: str, new: str) -> None:
    assert strip_versions(old) == strip_versions(new)
    assert match({old: b"old", "other": b""}, new, b"new")[1] == old


def test_a_moved_text_is_known_by_its_lines() -> None:
    text = words(1, 200)
    files = {"old/name.py": text, "old/like.py": words(2, 200), "old/name.txt": text, "noise.py": noise(3, 5000)}
    changed = text[:2000] + b"inserted = True\n" + text[2000:]
    assert match(files, "new/place.py", changed)[2] == "old/name.py"
    assert match(files, "new/place.md", changed)[2] is None
    assert match(files, "new/place.py", words(4, 200))[2] is None
    assert match(files, "new/place.py", changed, kept=frozenset((Digest.of(text),)))[2] is None


def test_what_files_are_known_by() -> None:
    assert [suffix_of(path) for path in ("a/b.so.1.2", "a/b.py", "a.b/c", "Makefile")] == [".so", "py", "", ""]
    assert sketch(b"short\n" * 9) == ()
    assert len(sketch(words(5, 500))) == 96
