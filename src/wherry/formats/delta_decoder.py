"""Makes a layer's tar from a delta and the base's files, as a stream, in bounded memory (docs/spec/delta.md).

Base files come through the `Base` port and are read in place. Nothing is believed: sizes, operations and windows are held
against the body's head, the head against `Limits`, and all that was made against the diff_id. Whoever writes the stream
keeps it only when it ended without an error. When it fails, the base's files are looked at, and an altered one is named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import BinaryIO, Protocol

from wherry.errors import FormatError, TrustError, WherryError
from wherry.formats.delta import Body, Limits, Part, ReadAt, parse_body
from wherry.formats.delta_bytes import ByteReader, add_bytes
from wherry.formats.delta_columns import IndexHead, ListedFiles, parse_head, read_groups, read_pieces
from wherry.formats.delta_headers import MOST, HeaderModel, name_piece
from wherry.formats.delta_index import GROUPED, HAS_BASE, BaseFile, Piece, Source, check_paths, sort_key
from wherry.formats.delta_patches import Patcher, read_upto
from wherry.formats.delta_streams import SectionReader
from wherry.formats.delta_sums import file_number, find_altered
from wherry.formats.tar import BLOCK, TarEntry, directory_entry, stream_tar
from wherry.model.digest import DiffId

_CHUNK = 1 << 16


class Base(Protocol):
    """The files of the former image, by their paths. A link is never followed, neither in a path nor at its end."""

    def list_files(self, scope: str, limit: int) -> Iterable[BaseFile]:
        """Regular files with UTF-8 names at or below `scope`, at most `limit` of them. The order of `sort_key` is quickest."""
        ...

    def open_file(self, path: str) -> BinaryIO:
        """A seekable reader of one file; one that is not there, or no regular file, is a `TrustError`."""
        ...


def decode_delta(
    read: ReadAt, size: int, base: Base, diff_id: DiffId, *, limits: Limits | None = None, where: str = "delta"
) -> Iterator[bytes]:
    """Yield the tar of layer `diff_id` from a body of `size` bytes. A `FormatError` or `TrustError` voids what was yielded."""
    limits = limits or Limits()
    body = parse_body(read, size, limits, where)
    hasher, made = hashlib.sha256(), 0
    decoder = _Decoder(read, body, base, limits, where)
    try:
        for chunk in decoder.chunks():
            made += len(chunk)
            if made > body.target_size:
                raise FormatError("a damaged delta: makes more than it says", where=where)
            hasher.update(chunk)
            yield chunk
        if made != body.target_size:
            raise FormatError("a damaged delta: makes less than it says", where=where)
        if hasher.hexdigest() != diff_id.hex:
            raise TrustError(f"the delta makes sha256:{hasher.hexdigest()} instead of {diff_id}", where=where)
    except WherryError as error:
        raise decoder.explain(error) from error


class _Decoder:
    def __init__(self, read: ReadAt, body: Body, base: Base, limits: Limits, where: str) -> None:
        self._read, self._body, self._base, self._limits, self._where = read, body, base, limits, where
        self._head: IndexHead | None = None
        self._listed = ListedFiles(())
        self._used: tuple[int, ...] = ()

    def chunks(self) -> Iterator[bytes]:
        if self._body.full:
            return self._unpack_full()
        return self._make()

    def _unpack_full(self) -> Iterator[bytes]:
        reader = SectionReader(self._read, self._body.full, self._where)
        while reader.left:
            yield reader.read(min(_CHUNK, reader.left))
        reader.expect_end()

    def _make(self) -> Iterator[bytes]:
        head = self._head = self._parse_index()
        counts = self._check_pieces(head)
        control, runs, difference, literal = (
            SectionReader(self._read, self._body.parts[part], self._where)
            for part in (Part.CONTROL, Part.RUNS, Part.DIFFERENCE, Part.LITERAL)
        )
        self._literal = literal
        self._patcher = Patcher(control, runs, difference, literal, self._body.operations, self._where)
        self._groups = self._open_groups(self._pieces(head), counts)
        yield from self._derive(head) if head.derived else self._carry(head)
        self._patcher.expect_end()
        self._literal.expect_end()
        if next(self._groups, None) is not None:
            raise FormatError("a damaged delta: has more than its index asks for", where=self._where)

    def _parse_index(self) -> IndexHead:
        stream = SectionReader(self._read, self._body.parts[Part.INDEX], self._where)
        head = parse_head(ByteReader(stream.read(stream.left), self._where), listed=self._limits.listed)
        stream.expect_end()
        self._listed = self._list_base(head)
        return head

    def _list_base(self, head: IndexHead) -> ListedFiles:
        most = head.listed + 1
        found = (file for scope in head.scopes for file in self._base.list_files(scope, most))
        listed = ListedFiles(islice(found, most))
        if len(listed) != head.listed or (listed and check_paths(listed.paths) != head.check):
            raise TrustError(
                f"the base has other files than the delta was made for, below {', '.join(head.scopes)[:200]}",
                where=self._where,
                hint="take the full image",
            )
        return listed

    def _pieces(self, head: IndexHead) -> Iterator[Piece]:
        return read_pieces(head, self._listed, self._body.entries, self._where)

    def _check_pieces(self, head: IndexHead) -> tuple[int, ...]:
        """Read all of the index once, so that nothing is made of a wrong one; gives the groups."""
        counts = read_groups(head, self._where)
        size = grouped = 0
        used = set()
        former = ""
        for piece in self._pieces(head):
            size += piece.size
            grouped += piece.source in GROUPED
            if piece.source in HAS_BASE and piece.base is not None:
                used.add(piece.base)
            if head.derived and former >= (former := sort_key(piece.path)):
                raise FormatError("a damaged delta: its entries are out of order", where=self._where)
        if len(counts) != len(self._body.groups) or sum(counts) != grouped:
            raise FormatError("a damaged delta: its groups and its head do not agree", where=self._where)
        if size > self._body.target_size:
            raise FormatError("a damaged delta: makes more than it says", where=self._where)
        self._used = tuple(sorted(used))
        return counts

    # -- layouts

    def _derive(self, head: IndexHead) -> Iterator[bytes]:
        return stream_tar(_with_folders(self._entry(piece) for piece in self._pieces(head)))

    def _entry(self, piece: Piece) -> TarEntry:
        return TarEntry(
            path=piece.path,
            kind=piece.kind,
            mode=piece.mode,
            size=piece.size,
            link=piece.link,
            content=lambda: self._content(piece),
        )

    def _carry(self, head: IndexHead) -> Iterator[bytes]:
        skeleton = SectionReader(self._read, self._body.parts[Part.SKELETON], self._where)
        model, padding = HeaderModel(), 0
        for piece in self._pieces(head):
            told = max(0, piece.gap - MOST)
            yield from _pass_on(skeleton, told)
            named = name_piece(piece.size, None if piece.base is None else self._listed[piece.base])
            guess = model.guess(piece.gap - told, 0 if told else padding, named)
            gap = add_bytes(skeleton.read(piece.gap - told), guess)
            model.learn(gap, named)
            yield gap
            yield from self._content(piece)
            padding = -piece.size % BLOCK
        yield from _pass_on(skeleton, skeleton.left)
        skeleton.expect_end()

    # -- contents

    def _content(self, piece: Piece) -> Iterator[bytes]:
        if piece.source is Source.EQUAL:
            return self._copy(piece)
        if piece.source is Source.PATCH:
            return self._patch(piece)
        if piece.source in GROUPED:
            return self._from_group(piece)
        return _pass_on(self._literal, piece.size)

    def _base_file(self, piece: Piece) -> BaseFile:
        if piece.base is None:
            raise FormatError("a damaged delta: a file without its base", where=self._where)
        return self._listed[piece.base]

    def _copy(self, piece: Piece) -> Iterator[bytes]:
        file, left = self._base_file(piece), piece.size
        with closing(self._base.open_file(file.path)) as reader:
            while left:
                chunk = reader.read(min(_CHUNK, left))
                if not chunk:
                    raise TrustError("is shorter than it was listed", where=file.path)
                left -= len(chunk)
                yield chunk

    def _patch(self, piece: Piece) -> Iterator[bytes]:
        file = self._base_file(piece)
        with closing(self._base.open_file(file.path)) as reader:
            yield from self._patcher.patch(reader, file.path, file.size, piece.size)

    def _open_groups(self, pieces: Iterator[Piece], counts: tuple[int, ...]) -> Iterator[SectionReader]:
        """For each piece that comes from a group, the group's stream; one is open at a time."""
        grouped = (piece for piece in pieces if piece.source in GROUPED)
        for section, count in zip(self._body.groups, counts, strict=True):
            numbers = dict.fromkeys(piece.base for piece in islice(grouped, count) if piece.base is not None)
            reader = SectionReader(self._read, section, self._where, self._read_prefix(numbers))
            for _ in range(count):
                yield reader
            reader.expect_end()
            del reader  # its window goes before the next one's comes

    def _read_prefix(self, numbers: Iterable[int]) -> bytearray:
        files = [self._listed[number] for number in numbers]
        size = sum(file.size for file in files)
        if size > self._body.prefix:
            raise FormatError("a damaged delta: a group with too large a base", where=self._where)
        prefix, at = bytearray(size), 0
        for file in files:
            with closing(self._base.open_file(file.path)) as reader:
                for part in _cut(file.size):
                    data = read_upto(reader, part)
                    if len(data) != part:
                        raise TrustError("is shorter than it was listed", where=file.path)
                    prefix[at : at + part] = data
                    at += part
        return prefix

    def _from_group(self, piece: Piece) -> Iterator[bytes]:
        reader = next(self._groups)
        return _pass_on(reader, piece.size)

    # -- what went wrong

    def explain(self, error: WherryError) -> WherryError:
        """The altered base file's own error if there is one, else what was found at first."""
        used = self._used
        if self._head is None or not used:
            return error
        try:
            numbers = [self._file_number(self._listed[number], derived=self._head.derived) for number in used]
        except WherryError as missing:
            return missing
        if self._head.sums is None:
            found = 0 if isinstance(error, TrustError) and len(used) == 1 else None
        else:
            found = find_altered(numbers, self._head.sums)
        if found is None:
            return error
        if found < 0:
            return TrustError("more than one file of the base was altered", where=self._where, hint="take the full image")
        path = self._listed[used[found]].path
        return TrustError("this file of the base is not what the delta was made for", where=path, hint="take the full image")

    def _file_number(self, file: BaseFile, *, derived: bool) -> int:
        hasher = hashlib.sha256()
        with closing(self._base.open_file(file.path)) as reader:
            while chunk := reader.read(_CHUNK):
                hasher.update(chunk)
        return file_number(hasher.digest(), file.mode if derived else None)


def _with_folders(entries: Iterable[TarEntry]) -> Iterator[TarEntry]:
    """Put in the folders above sorted entries, as `add_parents` does, one by one."""
    former: list[str] = []
    for entry in entries:
        parts = entry.path.split("/")
        shared = next((at for at, pair in enumerate(zip(parts, former, strict=False)) if pair[0] != pair[1]), None)
        known = min(len(parts), len(former)) if shared is None else shared
        for depth in range(known + 1, len(parts)):
            yield directory_entry("/".join(parts[:depth]))
        yield entry
        former = parts


def _pass_on(reader: SectionReader, size: int) -> Iterator[bytes]:
    for part in _cut(size):
        yield reader.read(part)


def _cut(size: int) -> Iterator[int]:
    while size > 0:
        yield min(size, _CHUNK)
        size -= _CHUNK
