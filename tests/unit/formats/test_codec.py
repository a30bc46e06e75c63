from __future__ import annotations

import gzip
import io
import random
import subprocess
import sys
import zlib
from collections.abc import Iterator

import pytest

from wherry.errors import FormatError
from wherry.formats.codec import codec_version, compressor
from wherry.formats.decompress import codec_of, unpack_layer_chunks

TEXT = b"".join(b"line %d of a file that compresses\n" % (number * 7919) for number in range(40_000))
NOISE = random.Random(1).randbytes(700_000)
DATA = TEXT + NOISE + bytes(1_000_000)
CODECS = ["gzip", "zstd", "identity"]


def pack(codec: str, data: bytes = DATA, step: int = 1 << 30, level: int | None = None) -> bytes:
    engine = compressor(codec, level)
    out = [engine.write(data[start : start + step]) for start in range(0, len(data), step)]
    return b"".join([*out, engine.finish()])


def cut(data: bytes, step: int) -> Iterator[bytes]:
    return (data[start : start + step] for start in range(0, len(data), step))


def unpack(data: bytes, step: int = 65536, limit: int = 1 << 30) -> bytes:
    return b"".join(unpack_layer_chunks(cut(data, step), limit))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("data", [b"", b"x", TEXT, DATA, bytes(262144), bytes(262145)], ids=len)
def test_round_trip(codec: str, data: bytes) -> None:
    packed = pack(codec, data)
    assert unpack(packed) == data
    assert unpack(packed, step=4099) == data
    assert codec_of(packed[:4]) == codec or not packed or codec == "identity"


@pytest.mark.parametrize("codec", CODECS)
def test_the_writer_s_chunks_change_nothing(codec: str) -> None:
    whole = pack(codec)
    for step in (1, 1000, 262143, 262144, 262145, 1 << 20):
        assert pack(codec, DATA[-1_500_000:] if step == 1 else DATA, step) == (
            whole if step > 1 else pack(codec, DATA[-1_500_000:])
        )


def test_any_gunzip_reads_it_and_the_header_tells_nothing() -> None:
    packed = pack("gzip")
    assert gzip.decompress(packed) == DATA
    assert packed[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_levels(codec: str) -> None:
    assert len(pack(codec, TEXT, level=9 if codec == "gzip" else 19)) < len(pack(codec, TEXT, level=1))
    assert unpack(pack(codec, TEXT, level=1)) == TEXT


def test_versions_name_library_and_version() -> None:
    assert codec_version("gzip").startswith("zlib-ng 2.")
    assert codec_version("zstd").startswith("zstd 1.")
    assert codec_version("identity") == "identity"
    with pytest.raises(FormatError, match="gzip, zstd or identity"):
        compressor("xz")


def test_members_frames_and_padding() -> None:
    assert unpack(gzip.compress(b"a") + gzip.compress(b"b") + bytes(512)) == b"ab"
    assert unpack(pack("zstd", b"a") + pack("zstd", b"b")) == b"ab"
    skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc"
    assert unpack(skippable + pack("zstd", b"a")) == b"a"
    assert unpack(pack("zstd", b"a") + skippable + pack("zstd", b"b"), step=1) == b"ab"


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_truncated_anywhere(codec: str) -> None:
    packed = pack(codec, TEXT[:300_000])
    for end in {4, 5, 9, 10, 11, *range(12, len(packed) - 1, len(packed) // 50), len(packed) - 1}:
        with pytest.raises(FormatError, match="too early"):
            unpack(packed[:end])


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_damaged_anywhere(codec: str) -> None:
    packed = pack(codec, TEXT[:300_000])
    for at in range(len(packed) // 60, len(packed), len(packed) // 60):
        damaged = packed[:at] + bytes([packed[at] ^ 0x41]) + packed[at + 1 :]
        with pytest.raises(FormatError):
            unpack(damaged)


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_garbage_after_the_end(codec: str) -> None:
    with pytest.raises(FormatError):
        unpack(pack(codec, TEXT) + b"garbage")


@pytest.mark.parametrize("codec", CODECS)
def test_bombs_stop_at_the_limit(codec: str) -> None:
    packed = pack(codec, bytes(20 << 20))
    given: list[int] = []
    with pytest.raises(FormatError, match="more than the 1048576 bytes allowed"):
        given.extend(map(len, unpack_layer_chunks(cut(packed, 1 << 20), 1 << 20)))
    assert sum(given) <= 1 << 20
    assert unpack(pack(codec, bytes(1 << 20)), limit=1 << 20) == bytes(1 << 20)


def test_a_zstd_window_beyond_128_mib_is_refused() -> None:
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([(31 - 10) << 3]) + b"\x01\x00\x00"
    with pytest.raises(FormatError, match="damaged zstd"):
        unpack(frame)


def test_what_is_neither_passes_unchanged() -> None:
    for data in (b"", b"\x1f", b"\x28\xb5\x2f", b"plain"):
        assert unpack(data) == data
        assert unpack(data, step=1) == data


def test_a_raw_deflate_is_no_gzip() -> None:
    with pytest.raises(FormatError):
        unpack(b"\x1f\x8b" + zlib.compress(TEXT))


def test_importing_loads_no_library() -> None:
    """A rebuild that compresses nothing must not pay for codecs."""
    modules = "wherry.formats.codec, wherry.formats.decompress"
    script = f"import sys, {modules}; print([m for m in ('zlib_ng', 'backports.zstd') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_holds_little(tmp_path: object) -> None:
    source = io.BytesIO(pack("gzip", bytes(64 << 20)))
    sizes = [len(piece) for piece in unpack_layer_chunks(iter(lambda: source.read(65536), b""), 1 << 30)]
    assert sum(sizes) == 64 << 20
    assert max(sizes) <= 1 << 18
