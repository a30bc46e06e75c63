"""Operations of small and of large files, by what they make."""

from __future__ import annotations

import io

import pytest

from tests.unit.deltas import move_references, noise
from wherry.deliver import encode_patch
from wherry.deliver.encode_patch import End, Patch, make_patch
from wherry.formats.delta import Codec, Section
from wherry.formats.delta_patches import Patcher
from wherry.formats.delta_streams import SectionReader


def end(data: bytes) -> End:
    return End(size=len(data), read=lambda offset, size: data[offset : offset + size])


def apply(patch: Patch, base: bytes, size: int) -> bytes:
    def stream(data: bytes) -> SectionReader:
        section = Section(codec=Codec.STORED, offset=0, stored=len(data), raw=len(data))
        return SectionReader(lambda offset, size: data[offset : offset + size], section, "test")

    literal = stream(patch.literal)
    patcher = Patcher(stream(patch.control), stream(patch.runs), stream(patch.difference), literal, patch.operations, "test")
    made = b"".join(patcher.patch(io.BytesIO(base), "base", len(base), size))
    patcher.expect_end()
    literal.expect_end()
    return made


BASE = noise(1, 300_000)
TARGETS = {
    "the same": BASE,
    "moved references": move_references(BASE),
    "inserted": BASE[:100_000] + b"more" * 30 + BASE[100_000:],
    "removed": BASE[:50_000] + BASE[150_000:],
    "turned round": BASE[200_000:] + BASE[:200_000],
    "appended": BASE + noise(2, 90_000),
    "another": noise(3, 70_000),
    "short": BASE[:5],
    "empty": b"",
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_patch_makes_its_target(name: str) -> None:
    patch = make_patch(end(BASE), end(TARGETS[name]))
    assert patch is not None
    assert apply(patch, BASE, len(TARGETS[name])) == TARGETS[name]
    assert patch.size <= len(TARGETS[name]) + 20 or name == "moved references"


@pytest.mark.parametrize("name", TARGETS)
def test_a_large_file_is_cut(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for setting, value in (("_WHOLE", 1000), ("_BLOCK", 4096), ("_SEGMENT", 16 << 10), ("_MARGIN", 8 << 10)):
        monkeypatch.setattr(encode_patch, setting, value)
    patch = make_patch(end(BASE), end(TARGETS[name]))
    assert patch is not None
    assert apply(patch, BASE, len(TARGETS[name])) == TARGETS[name]
    if name == "the same":
        assert patch.size < 20


def test_what_differs_too_much_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode_patch, "_WHOLE", 1000)
    monkeypatch.setattr(encode_patch, "_MAX_SEARCHED", 50_000)
    assert make_patch(end(BASE), end(TARGETS["another"])) is None


def test_short_stretches_are_no_operations() -> None:
    target = b"".join(BASE[at : at + 20] + noise(at, 20) for at in range(0, 20_000, 40))
    patch = make_patch(end(BASE), end(target))
    assert patch is not None
    assert patch.operations < 20
    assert apply(patch, BASE, len(target)) == target
