"""Guesses the headers between a foreign tar's contents (docs/spec/delta.md, "Headers"), so that only what differs is told.

What is guessed comes from the base's file (path, mode, time) and from the headers that stood before in the same tar (owner,
style). A guess is never relied on: what is told is the difference, byte by byte, so any tar is told exactly. Knows pax
headers and split names in the style of Go's archive/tar, which docker and buildah use, and those of others as they repeat.
"""

from __future__ import annotations

from dataclasses import dataclass

from wherry.formats.delta_index import BaseFile
from wherry.formats.tar import BLOCK

MOST = 128 * BLOCK  # of a gap, only so many last bytes are guessed
_NAME, _MODE, _SIZE, _TIME = slice(0, 100), slice(100, 108), slice(124, 136), slice(136, 148)
_SUM, _PREFIX = slice(148, 156), slice(345, 500)
_PAX, _FOLDER = b"x", b"5"
_PAX_FOLDER = b"/PaxHeaders"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What is known of a content before its header is: the base's file, if it has one."""

    size: int
    path: str = ""
    mode: int = 0
    mtime: int | None = None


def name_piece(size: int, base: BaseFile | None) -> Named:
    if base is None:
        return Named(size=size)
    # As far as all engines keep a mode: roots that were unpacked without privileges have no other bits.
    return Named(size=size, path=base.path, mode=base.mode & 0o777 | 0o400, mtime=base.mtime)


class HeaderModel:
    """One for a tar, for writer and reader alike: `guess` a gap, then `learn` what it really was."""

    def __init__(self) -> None:
        self._file, self._folder, self._pax = bytes(BLOCK), bytes(BLOCK), bytes(BLOCK)
        self._head = b""  # what names begin with, such as ./
        self._splits = False  # whether long names are split; else they stand in pax headers
        self._shift = 0  # seconds that a header is later than its base's file
        self._time = 0
        self._parts: list[bytes] = []  # of the path before

    def guess(self, gap: int, padding: int, named: Named) -> bytes:
        """As many bytes as a gap has; `padding` of them fill up the content before."""
        blocks, odd = divmod(gap - padding, BLOCK)
        if gap < padding + BLOCK or odd:
            return bytes(gap)
        path = self._head + named.path.encode()
        pax = [] if self._splits and _find_split(path) else self._guess_pax(path, blocks)
        told = [*pax, self._guess_file(named, split=not pax)]
        folders = self._guess_folders(named)[-(blocks - len(told)) :] if blocks > len(told) else []
        rest = blocks - len(told) - len(folders)
        return bytes(padding + rest * BLOCK) + b"".join((*folders, *told))

    def learn(self, gap: bytes, named: Named) -> None:
        """Take the gap's headers as patterns for the next ones."""
        if len(gap) < BLOCK:
            return
        header = self._file = gap[-BLOCK:]
        for at in range(len(gap) - 2 * BLOCK, -1, -BLOCK):
            block = gap[at : at + BLOCK]
            if block[156:157] == _FOLDER:
                self._folder = block
            elif block[156:157] == _PAX:
                self._pax, self._splits = block, False
        prefix = header[_PREFIX].rstrip(b"\0")
        self._splits |= bool(prefix)
        self._time = _octal(header[_TIME])
        if named.mtime is not None:
            self._shift = self._time - named.mtime
        if named.path:
            path, name = named.path.encode(), header[_NAME].rstrip(b"\0")
            whole = prefix + b"/" + name if prefix else name
            if len(name) < 100 and whole.endswith(path):
                self._head = whole[: len(whole) - len(path)]
            self._parts = path.split(b"/")

    def _guess_file(self, named: Named, *, split: bool) -> bytes:
        block = bytearray(self._file)
        block[_NAME] = bytes(100)
        if named.path:
            _put_name(block, self._head + named.path.encode(), split=split)
            block[_MODE] = b"%07o\0" % (_octal(self._file[_MODE]) & 0o7770000 | named.mode & 0o7777)
        block[_SIZE] = b"%011o\0" % named.size if named.size < 1 << 33 else self._file[_SIZE]
        time = self._time if named.mtime is None else max(0, named.mtime + self._shift)
        block[_TIME] = b"%011o\0" % time if time < 1 << 33 else self._file[_TIME]
        return _sealed(block)

    def _guess_pax(self, path: bytes, blocks: int) -> list[bytes]:
        """A pax header and its record, where the name is too long for the file's own."""
        if len(path) <= 100 and path.isascii():
            return []
        tail = b" path=" + path + b"\n"
        size = len(tail)
        while len(str(size)) + len(tail) != size:
            size = len(str(size)) + len(tail)
        body = str(size).encode() + tail
        body += bytes(-len(body) % BLOCK)
        if blocks < 2 + len(body) // BLOCK:
            return []
        block = bytearray(self._pax)
        if _PAX_FOLDER in self._pax[_NAME] or not any(self._pax):
            folder, _, name = path.rpartition(b"/")
            block[_NAME] = (folder + b"/PaxHeaders.0/" + name)[:100].ljust(100, b"\0")
        block[_SIZE] = b"%011o\0" % size
        return [_sealed(block), body]

    def _guess_folders(self, named: Named) -> list[bytes]:
        """Headers of the folders that the path before was not in."""
        parts = named.path.encode().split(b"/")
        shared = next((at for at, pair in enumerate(zip(parts, self._parts, strict=False)) if pair[0] != pair[1]), None)
        known = min(len(parts), len(self._parts)) if shared is None else shared
        folders = []
        for depth in range(known + 1, len(parts)):
            block = bytearray(self._folder)
            _put_name(block, self._head + b"/".join(parts[:depth]) + b"/", split=self._splits)
            folders.append(_sealed(block))
        return folders


def _find_split(path: bytes) -> int:
    """At which slash ustar cuts a path that is too long for its name field, as Go and GNU do; 0 where it cannot."""
    if len(path) <= 100 or not path.isascii():
        return 0
    at = path.rfind(b"/", 0, min(156, len(path) - 1))
    return at if at > 0 and len(path) - at <= 101 else 0


def _put_name(block: bytearray, path: bytes, *, split: bool) -> None:
    at = _find_split(path) if split else 0
    prefix, name = (path[:at], path[at + 1 :]) if at else (b"", path)
    block[_NAME], block[_PREFIX] = name[:100].ljust(100, b"\0"), prefix.ljust(155, b"\0")


def _octal(field: bytes) -> int:
    digits = field.strip(b"\0 ")
    return int(digits, 8) if digits.isdigit() and not digits.strip(b"01234567") else 0


def _sealed(block: bytearray) -> bytes:
    """With a checksum."""
    block[_SUM] = b"        "
    block[_SUM] = b"%06o\0 " % sum(block)
    return bytes(block)
