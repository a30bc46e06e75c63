"""Bodies by hand: what decides how much is allocated is held against limits before anything is."""

from __future__ import annotations

import pytest

from tests.unit.deltas import NEW, OLD, apply, cut, make_base, make_tar, odd_layer
from wherry.errors import FormatError, TrustError
from wherry.formats.delta import Body, Codec, Form, Limits, Part, Section, parse_body, render_full_head, render_head
from wherry.formats.delta_bytes import render_number, render_string
from wherry.formats.delta_decoder import decode_delta
from wherry.model.digest import DiffId

NOBODY = DiffId("0" * 64)


def parse(data: bytes, limits: Limits | None = None) -> Body:
    return parse_body(lambda offset, size: data[offset : offset + size], len(data), limits or Limits())


def stored(data: bytes) -> Section:
    return Section(codec=Codec.STORED, offset=0, stored=len(data), raw=len(data))


def packed(codec: Codec, size: int, raw: int, window_log: int) -> Section:
    return Section(codec=codec, offset=0, stored=size, raw=raw, window_log=window_log)


def head(parts: dict[Part, Section], *, target_size: int = 10_000, entries: int = 0, operations: int = 0, prefix: int = 0) -> bytes:
    return render_head(target_size=target_size, entries=entries, operations=operations, prefix=prefix, parts=parts, groups=())


def index(*, scopes: tuple[str, ...] = (), listed: int = 0, flags: int = 1, columns: tuple[bytes, ...] = (b"",) * 8) -> bytes:
    told = b"".join(render_string(scope) for scope in scopes)
    tail = b"".join(render_number(len(column)) + column for column in columns)
    return render_number(len(scopes)) + told + render_number(listed) + (b"\0" * 4 if listed else b"") + bytes((flags,)) + tail


def body_of(raw: bytes, *, target_size: int = 10_000, entries: int = 0, operations: int = 0) -> bytes:
    return head({Part.INDEX: stored(raw)}, target_size=target_size, entries=entries, operations=operations) + raw


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (Limits(target_size=9_999), "where at most 9999"),
        (Limits(entries=4), "where at most 4"),
        (Limits(operations=5), "where at most 5"),
        (Limits(memory=1 << 16), "bytes of memory"),
        (Limits(index_size=99), "where at most 99"),
    ],
)
def test_each_limit_stands_before_any_work(limits: Limits, what: str) -> None:
    parts = {Part.INDEX: packed(Codec.XZ, 5, 100, 12), Part.LITERAL: packed(Codec.ZSTD, 5, 100, 20)}
    data = head(parts, entries=5, operations=6) + bytes(10)
    assert parse(data).entries == 5
    with pytest.raises(FormatError, match=what):
        parse(data, limits)


def test_a_section_holds_no_more_than_a_target_can_need() -> None:
    with pytest.raises(FormatError, match="where at most 20000"):
        parse(head({Part.LITERAL: packed(Codec.ZSTD, 5, 20_001, 20)}) + bytes(5))
    with pytest.raises(FormatError, match="larger than it may be"):
        parse(head({Part.LITERAL: stored(bytes(20_001))}) + bytes(20_001))


@pytest.mark.parametrize("window_log", [24, 63])
def test_a_window_that_is_too_large_is_refused(window_log: int) -> None:
    with pytest.raises(FormatError):
        parse(head({Part.LITERAL: packed(Codec.ZSTD, 5, 100, window_log)}) + bytes(5))
    with pytest.raises(FormatError):
        parse(render_full_head(100, window_log) + bytes(5))


@pytest.mark.parametrize("setting", [0, 93, 162, 224])
def test_each_setting_of_xz_is_one_byte(setting: int) -> None:
    section = Section(codec=Codec.XZ, offset=0, stored=5, raw=100, window_log=12, setting=setting)
    (part,) = (one for one in parse(head({Part.LITERAL: section}) + bytes(5)).parts if one)
    assert (part.setting, part.raw, part.stored) == (setting, 100, 5)


def test_memory_is_what_is_open_at_one_time() -> None:
    parts = {
        Part.INDEX: packed(Codec.XZ, 1, 9, 22),
        Part.CONTROL: packed(Codec.XZ, 1, 9, 20),
        Part.RUNS: packed(Codec.ZSTD, 1, 9, 20),
    }
    assert parse(head(parts, prefix=1000) + bytes(3)).memory == 4 << 20
    assert parse(head({**parts, Part.LITERAL: packed(Codec.ZSTD, 1, 9, 22)}, prefix=1000) + bytes(4)).memory == (6 << 20) + 1000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\2",
        b"\1",
        b"\0",
        b"\1" + b"\xff" * 20,
        b"\1\0\0\0\0\x40",
        head({Part.INDEX: stored(b"")}) + b"x",
        head({Part.LITERAL: packed(Codec.ZSTD, 5, 100, 20)}) + bytes(4),
    ],
)
def test_damaged_heads(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse(data)


@pytest.mark.parametrize(
    ("raw", "entries"),
    [
        (index(scopes=("..",)), 0),
        (index(scopes=("a/../b",)), 0),
        (index(scopes=("/etc",)), 0),
        (index(scopes=("",)), 0),
        (index(scopes=("a", "a")), 0),
        (index(scopes=("a", "a/b")), 0),
        (index(scopes=("b", "a")), 0),
        (index(flags=4), 0),
        (index() + b"more", 0),
        (index(), 1),
        (index(columns=(b"\4",) + (b"",) * 7), 1),  # keeps a file that is not listed
        (index(columns=(b"\x07", b"\0\4../x", b"\0", *(b"",) * 5)), 1),  # a folder that leaves the root
        (index(columns=(b"\x07", b"\5\1x", b"\0", *(b"",) * 5)), 1),  # shares more of a name than there is
        (index(columns=(b"\x07", b"\0\1\xff", b"\0", *(b"",) * 5)), 1),  # not UTF-8
        (index(columns=(b"\x13", b"\0\1x", b"\0", *(b"",) * 5)), 1),  # a kind that is not known
        (index(columns=(b"\x06", b"\0\1x", b"\0", b"\6\1", b"", b"\0", b"", b"")), 1),  # a source that is not known
        (index(columns=(b"\x06", b"\0\1x", b"\0", b"\4\2", b"", b"\0", b"", b"")), 1),  # a run beyond the entries
        (index(columns=(b"\x06", b"\0\1x", b"\0", b"\0\1", b"", b"", b"", b"")), 1),  # a base file where none is listed
        (index(columns=(b"\x06", b"\0\1x", b"\0", b"\3\1", b"", b"\0", b"", b"")), 1),  # from a group that is not there
        (index(columns=(b"\x0a", b"\0\1b\0\1a", b"\0\0", b"\4\2", b"", b"\0\0", b"", b"")), 2),  # out of order
        (index(flags=0, columns=(b"", b"", b"", b"\4\1", b"", b"\0", b"\xff\xff\x07", b"")), 1),  # a gap of negative size
    ],
)
def test_damaged_indexes(raw: bytes, entries: int) -> None:
    with make_base() as base, pytest.raises(FormatError):
        apply(body_of(raw, entries=entries), base, NOBODY)


def test_a_name_is_written_as_it_is_told() -> None:
    """The smallest derived layer: one empty folder."""
    raw = index(columns=(b"\x07", b"\0\1x", b"\1", *(b"",) * 5))
    target = make_tar({})
    with make_base() as base:
        made = b"".join(_void(body_of(raw, entries=1, target_size=1536), base))
    assert made[:3] == b"x/\0"
    assert (made[512:], len(target)) == (bytes(1024), 1024)


def _void(body: bytes, base: object) -> list[bytes]:
    made: list[bytes] = []
    with pytest.raises(TrustError, match="instead of"):
        made.extend(decode_delta(lambda at, size: body[at : at + size], len(body), base, NOBODY))  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("tar", [make_tar(NEW), odd_layer(NEW)])
def test_no_read_is_larger_than_a_piece(tar: bytes) -> None:
    """A body may be large, and lies on a disk."""
    sizes = []
    with make_base(make_tar(OLD)) as base:
        body, diff_id, form = cut(tar, base)

        def read(offset: int, size: int) -> bytes:
            sizes.append(size)
            return body[offset : offset + size]

        chunks = list(decode_delta(read, len(body), base, diff_id))
    assert (b"".join(chunks), form) == (tar, Form.DELTA)
    assert max(map(len, chunks)) <= 1 << 16
    assert max(sizes[1:]) <= 1 << 16


def test_a_frame_that_unpacks_to_more_is_refused() -> None:
    from backports.zstd import compress

    frame = compress(bytes(1 << 24))[4:]
    data = render_full_head(1000, 23) + frame
    with make_base() as base, pytest.raises(FormatError, match="more than is asked"):
        apply(data, base, NOBODY)


def test_a_file_of_the_base_that_is_gone_or_new() -> None:
    with make_base(make_tar(OLD)) as base:
        body, diff_id, _ = cut(make_tar(NEW), base)
    for other in ({**OLD, "lib/more.py": b""}, {path: data for path, data in OLD.items() if path != "lib/gone.py"}):
        with make_base(make_tar(other)) as wrong, pytest.raises(TrustError, match="other files"):
            apply(body, wrong, diff_id)


@pytest.mark.parametrize("path", ["lib/binary.so", "lib/kept.so", "lib/module.py", "lib/other.py"])
@pytest.mark.parametrize("tar", [make_tar(NEW), odd_layer(NEW)])
def test_one_altered_file_of_the_base_is_named(path: str, tar: bytes) -> None:
    with make_base(make_tar(OLD)) as base:
        body, diff_id, _ = cut(tar, base)
    data = OLD[path]
    for altered in (data[:700] + b"?" + data[701:], data[:-1], data + b"!"):
        with make_base(make_tar({**OLD, path: altered})) as wrong, pytest.raises(TrustError) as caught:
            apply(body, wrong, diff_id)
        assert caught.value.where == path
    both = {**OLD, path: data + b"!", "lib/kept.so" if path != "lib/kept.so" else "lib/module.py": b"?"}
    with make_base(make_tar(both)) as wrong, pytest.raises(TrustError, match="more than one file"):
        apply(body, wrong, diff_id)


def test_a_file_that_is_not_used_may_be_altered() -> None:
    with make_base(make_tar(OLD)) as base:
        body, diff_id, _ = cut(make_tar(NEW), base)
    with make_base(make_tar({**OLD, "lib/gone.py": b"?"})) as other:
        assert apply(body, other, diff_id) == make_tar(NEW)


def test_modes_that_an_engine_may_drop_are_told() -> None:
    """A root that was unpacked without privileges has neither set-user-ID bits nor unreadable files."""
    modes = {"bin/su": 0o4755, "etc/shadow": 0o000, "etc/hosts": 0o644}
    files = {"bin/su": b"su" * 50, "etc/shadow": b"root" * 50, "etc/hosts": b"::1" * 50}
    target = make_tar({**files, "etc/new": b""}, modes)
    with make_base(make_tar(files, modes)) as base:
        body, diff_id, form = cut(target, base)
    assert form is Form.DELTA
    with make_base(make_tar(files, {"bin/su": 0o755, "etc/shadow": 0o400, "etc/hosts": 0o644})) as unprivileged:
        assert apply(body, unprivileged, diff_id) == target
