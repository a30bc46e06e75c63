"""Packs a delta's sections as small as the decoder's memory allows: as they are, as xz or as zstd, whichever is smallest.

Small sections are packed in all ways. Of larger ones a sample is, and then the whole in those ways that were best; over many
sections this took a fifth of the time and cost less than 0.1 %. Deterministic for one version of liblzma and libzstd; one thread
a section. What is large is packed as a stream.
"""

from __future__ import annotations

import lzma
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from wherry.formats.delta import MAX_DICTIONARY_LOG, MAX_WINDOW_LOG, Codec, Section
from wherry.formats.delta_streams import ZSTD_MAGIC, xz_filter
from wherry.store.spooled import SpooledFile

if sys.version_info >= (3, 14):
    from compression.zstd import CompressionParameter, ZstdCompressor, ZstdDict
else:
    from backports.zstd import CompressionParameter, ZstdCompressor, ZstdDict

_SAMPLED = 1 << 20  # beyond this, a sample tells what is tried
_LARGE = 4 << 20  # beyond this, only one setting of xz is
_SAMPLE, _PARTS = 1 << 18, 8  # bytes of a sample, and from how many places they come
_NEAR, _ZSTD_NEAR = 1.005, 1.05  # what a sample may be larger than the best; zstd's window is the longer one
_HUGE = 256 << 20  # beyond this, zstd alone
_MIN_PREFIX = 8
_Setting = tuple[int, int, int]  # lc, lp, pb
# For text, for numbers of 1, 4 and 8 bytes.
_SETTINGS: tuple[_Setting, ...] = ((3, 0, 2), (3, 0, 0), (4, 0, 0), (0, 0, 0), (0, 2, 2), (0, 3, 3))
_HEADS = {Codec.STORED: 0, Codec.ZSTD: 3, Codec.XZ: 4}  # about what a codec's settings take in the head


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A section and its stored bytes."""

    section: Section
    data: SpooledFile


def pack_section(raw: SpooledFile, *, window_log: int = MAX_WINDOW_LOG) -> Packed:
    """The smallest form; ties go to the simplest one. Takes `raw` over: it is closed, or is what comes back."""
    return _smallest(raw, _makers(raw, window_log) if raw.size > 8 else ())


def pack_spread(raw: SpooledFile, *, window_log: int) -> Packed:
    """A difference with its zeros, as the one form that suits it. Takes `raw` over."""
    return _smallest(raw, [lambda: _pack_xz(raw, (3, 0, 0), window_log, thorough=True)] if raw.size > 8 else [])


def pack_group(raw: SpooledFile, prefix: bytes) -> Packed:
    """A group's files after one another, over the same files of the base. Takes `raw` over."""
    return _smallest(raw, [lambda: _pack_zstd(raw, prefix, MAX_WINDOW_LOG)] if prefix else _makers(raw, MAX_WINDOW_LOG))


def _smallest(raw: SpooledFile, makers: Iterable[Callable[[], Packed]]) -> Packed:
    best = Packed(section=Section(codec=Codec.STORED, offset=0, stored=raw.size, raw=raw.size), data=raw)
    for make in makers:  # each reads `raw`, so that stays open until the last is done
        form = make()
        worse, best = (best, form) if _weight(form) < _weight(best) else (form, best)
        if worse.data is not raw:
            worse.data.close()
    if best.data is not raw:
        raw.close()
    return best


def _weight(form: Packed) -> tuple[int, int, int]:
    return form.data.size + _HEADS[form.section.codec], form.section.codec, form.section.setting


def weigh(raw: bytes, prefix: bytes) -> int:
    """About how many bytes this will take: quickly, and without what its neighbours save."""
    engine = _zstd_engine(12, _log_of(len(raw), 10, MAX_WINDOW_LOG), len(raw), prefix)
    return len(engine.compress(raw)) + len(engine.flush())


def weigh_binary(raw: bytes) -> int:
    """The same for a stream of binary data."""
    return min(len(raw), _weigh_xz(raw, _SETTINGS[1], 9 | lzma.PRESET_EXTREME)) if raw else 0


def _log_of(size: int, low: int, high: int) -> int:
    return max(low, min(high, (size - 1).bit_length()))


def _makers(raw: SpooledFile, window_log: int) -> list[Callable[[], Packed]]:
    """The ways that may be the best for a section."""
    settings, zstd = _SETTINGS, True
    if raw.size > _HUGE:
        settings = ()
    elif raw.size > _SAMPLED:
        settings, zstd = _choose_by_sample(_read_sample(raw))
    most = min(window_log, MAX_DICTIONARY_LOG)
    makers: list[Callable[[], Packed]] = [lambda: _pack_zstd(raw, b"", window_log)] if zstd else []
    makers.extend(lambda setting=setting: _pack_xz(raw, setting, most) for setting in settings[: 1 if raw.size > _LARGE else None])  # type: ignore[misc]
    return makers


def _read_sample(raw: SpooledFile) -> bytes:
    part = _SAMPLE // _PARTS
    return b"".join(raw.read((raw.size - part) * number // (_PARTS - 1), part) for number in range(_PARTS))


def _choose_by_sample(sample: bytes) -> tuple[tuple[_Setting, ...], bool]:
    """The settings of xz that are best, the best first, and whether zstd comes near them."""
    sizes = {setting: _weigh_xz(sample, setting) for setting in _SETTINGS}
    best = min(sizes.values())
    near = sorted((size, number) for number, size in enumerate(sizes.values()) if size <= best * _NEAR)
    return tuple(_SETTINGS[number] for _, number in near), weigh(sample, b"") <= best * _ZSTD_NEAR


def _weigh_xz(sample: bytes, setting: _Setting, preset: int = 6) -> int:
    code, log = _code_of(setting), _log_of(len(sample), 12, MAX_DICTIONARY_LOG)
    engine = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[{**xz_filter(code, log), "preset": preset}])
    return len(engine.compress(sample)) + len(engine.flush())


def _code_of(setting: _Setting) -> int:
    lc, lp, pb = setting
    return (pb * 5 + lp) * 9 + lc


def _pack_xz(raw: SpooledFile, setting: _Setting, most: int, *, thorough: bool = False) -> Packed:
    code, log = _code_of(setting), _log_of(raw.size, 12, most)
    thorough = thorough or raw.size <= 4 * _LARGE
    chosen = {**xz_filter(code, log), "preset": 9 | lzma.PRESET_EXTREME if thorough else 6}
    engine = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[chosen])
    data = SpooledFile(_compressed(engine, raw.chunks()))
    return Packed(
        section=Section(codec=Codec.XZ, offset=0, stored=data.size, raw=raw.size, setting=code, window_log=log), data=data
    )


def _pack_zstd(raw: SpooledFile, prefix: bytes, most: int) -> Packed:
    # Over a prefix the window has to hold all of the output: beyond it the prefix is out of reach (RFC 8878, 5).
    log = _log_of(raw.size, 10, most)
    level = 22 if raw.size <= 8 * _LARGE else 17 if raw.size <= _HUGE else 10
    data = SpooledFile(_without_magic(_compressed(_zstd_engine(level, log, raw.size, prefix), raw.chunks())))
    return Packed(section=Section(codec=Codec.ZSTD, offset=0, stored=data.size, raw=raw.size, window_log=log), data=data)


def _zstd_engine(level: int, log: int, size: int, prefix: bytes = b"") -> ZstdCompressor:
    """`size` is that of what comes; told beforehand, it keeps zstd's tables small."""
    options: dict[int, int] = {
        CompressionParameter.compression_level: level,
        CompressionParameter.window_log: log,
        CompressionParameter.content_size_flag: 0,
        CompressionParameter.checksum_flag: 0,
        CompressionParameter.nb_workers: 0,
    }
    if len(prefix) < _MIN_PREFIX:
        engine = ZstdCompressor(options=options)
    else:
        engine = ZstdCompressor(options=options, zstd_dict=ZstdDict(prefix, is_raw=True).as_prefix)
    engine.set_pledged_input_size(size)
    return engine


def pack_full(raw: SpooledFile, limit: int | None) -> Packed | None:
    """A whole layer as a frame; None as soon as it is larger than `limit`.

    Large layers get a middling level: level 19 makes them 5 % smaller in ten times the time, and a device that has a base never
    fetches them.
    """
    log = _log_of(raw.size, 10, MAX_WINDOW_LOG)
    engine = _zstd_engine(19 if raw.size <= _LARGE else 10, log, raw.size)
    made = _bounded(_without_magic(_compressed(engine, raw.chunks())), limit)
    try:
        data = SpooledFile(made)
    except _TooLargeError:
        return None
    return Packed(section=Section(codec=Codec.ZSTD, offset=0, stored=data.size, raw=raw.size, window_log=log), data=data)


class _TooLargeError(Exception):
    """A frame is larger than what it competes with."""


def _bounded(chunks: Iterable[bytes], limit: int | None) -> Iterator[bytes]:
    made = 0
    for chunk in chunks:
        made += len(chunk)
        if limit is not None and made > limit:
            raise _TooLargeError
        yield chunk


def _compressed(engine: ZstdCompressor | lzma.LZMACompressor, chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        yield engine.compress(chunk)
    yield engine.flush()


def _without_magic(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """A zstd frame without its first four bytes."""
    left = len(ZSTD_MAGIC)
    for chunk in chunks:
        if len(chunk) > left:
            yield chunk[left:]
        left = max(0, left - len(chunk))
