"""Conda packages that must be refused, each made of a sound one by one edit, which its name tells."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from backports import zstd
from tools.conda_channel.packages import CondaPackage, Form, Member, PackagedFile, list_paths, write_package

_SOUND = CondaPackage(name="evil", noarch="generic", files={"share/evil/file": b"content\n", "share/evil/other": b"more\n"})
_HARMLESS = b"x"


def evil_packages() -> dict[str, CondaPackage]:
    """Packages that are wrong inside; each can be written in both forms."""
    return {**_evil_paths(), **_evil_members(), **_evil_documents()}


def write_evil_package(folder: Path, what: str, form: Form = ".conda") -> Path:
    """Write one of `evil_packages` by its name."""
    return write_package(folder, evil_packages()[what], form)


def damaged_archives(sound: bytes) -> Iterator[tuple[str, bytes]]:
    """A sound ``.conda`` as bytes, damaged or ambiguous as a zip."""
    for part in (0, 1, 40, len(sound) // 2, len(sound) - 1):
        yield f"cut at {part}", sound[:part]
    yield "bytes before it", b"#!/bin/sh\n" + sound
    yield "bytes after it", sound + b"more"
    with zipfile.ZipFile(io.BytesIO(sound)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    yield "a member packed", _zip(members, zipfile.ZIP_DEFLATED)
    yield "a member twice", _zip([*members, members[1]])
    yield "a member more", _zip([*members, ("pkg-other-1.0-0.tar.zst", members[1][1])])
    yield "no info", _zip(members[:2])
    yield "no pkg", _zip([members[0], members[2]])
    yield "another format", _zip([(members[0][0], b'{"conda_pkg_format_version": 3}'), *members[1:]])
    yield "metadata that is none", _zip([(members[0][0], b"[" * 60000), *members[1:]])
    yield "a comment", _zip(members, comment=b"PK\5\6 and more")
    name = members[1][0].encode()
    yield "a header with another name", sound.replace(name, b"q" + name[1:], 1)
    at = sound.index(name)
    yield "a header with another size", sound[: at - 12] + b"\1" + sound[at - 11 :]
    for number, (member, data) in enumerate(members[1:], 1):
        cut = [*members[:number], (member, data[:-9]), *members[number + 1 :]]
        yield f"a tar that ends too early: {member[:4]}", _zip(cut)
        flipped = [*members[:number], (member, data[:20] + bytes([data[20] ^ 0xFF]) + data[21:]), *members[number + 1 :]]
        yield f"a tar with a flipped byte: {member[:4]}", _zip(flipped)
        behind = zstd.compress(zstd.decompress(data) + b"after the end" + bytes(499))
        yield f"a tar that goes on: {member[:4]}", _zip([*members[:number], (member, behind), *members[number + 1 :]])


def make_bomb(folder: Path, size: int, form: Form = ".conda") -> Path:
    """A package with one file of `size` zeros, which weighs next to nothing."""
    return write_package(folder, replace(_SOUND, name="bomb", files={"share/zeros": bytes(size)}), form)


def _evil_paths() -> dict[str, CondaPackage]:
    """`paths.json` against what lies in the archive."""

    def renamed(path: str) -> Callable[[dict[str, Any]], None]:
        return lambda entry: entry.update(_path=path)

    changes: dict[str, Callable[[dict[str, Any]], Any]] = {
        "absolute path": renamed("/etc/evil"),
        "path above": renamed("../../etc/evil"),
        "path above inside": renamed("share/../../evil"),
        "path with dot": renamed("./share/evil/file"),
        "path with empty part": renamed("share//evil/file"),
        "path with control character": renamed("share/evil/fi\nle"),
        "path with NUL": renamed("share/evil/file\0.txt"),
        "path with lone surrogate": renamed("share/evil/\ud800"),
        "path with backslash": renamed("..\\..\\evil"),
        "path too long": renamed("share/" + "e" * 300),
        "path empty": renamed(""),
        "path no text": lambda entry: entry.update(_path=7),
        "path missing": lambda entry: entry.pop("_path"),
        "path of nothing": renamed("share/evil/absent"),
        "path into metadata": renamed("info/index.json"),
        "digest wrong": lambda entry: entry.update(sha256="0" * 64),
        "digest none": lambda entry: entry.update(sha256="zz"),
        "size wrong": lambda entry: entry.update(size_in_bytes=4),
        "size negative": lambda entry: entry.update(size_in_bytes=-1),
        "kind wrong": lambda entry: entry.update(path_type="softlink"),
        "kind unknown": lambda entry: entry.update(path_type="device"),
        "placeholder with NUL": lambda entry: entry.update(prefix_placeholder="/a\0b"),
        "mode unknown": lambda entry: entry.update(file_mode="magic"),
    }
    found = {name: _with_paths(lambda entries, change=change: change(entries[0])) for name, change in changes.items()}  # type: ignore[misc]
    found["path twice"] = _with_paths(lambda entries: entries.append(entries[0]))
    found["file that is not named"] = _with_paths(lambda entries: entries.pop())
    return found


def _evil_members() -> dict[str, CondaPackage]:
    """Members of the tar, whatever `paths.json` says."""
    link, hard, folder = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
    tars: dict[str, list[Member]] = {
        "member absolute": [_file("/etc/evil")],
        "member above": [_file("../evil")],
        "member twice": [_file("share/evil/file")],
        "member below a file": [_file("share/evil/file/below")],
        "member over a folder": [_file("share/evil")],
        "member with control character": [_file("share/evil/\x1b[2J")],
        "member not UTF-8": [_raw(b"share/\xff\xfe")],
        "link above": [_link("share/evil/up", "../../../etc/passwd", link)],
        "link absolute": [_link("share/evil/up", "/etc/passwd", link)],
        "link to nothing": [_link("share/evil/up", "", link)],
        "file through a link": [_link("share/evil/here", "other", link), _file("share/evil/here/file")],
        "hard link to nothing": [_link("share/evil/hard", "etc/passwd", hard)],
        "hard link above": [_link("share/evil/hard", "../../etc/passwd", hard)],
        "device": [_link("share/evil/device", "", tarfile.CHRTYPE)],
        "pipe": [_link("share/evil/pipe", "", tarfile.FIFOTYPE)],
        "two sizes": [_two_sizes()],
    }
    whole = {name: replace(_SOUND, members=tuple(members)) for name, members in tars.items()}
    index = {"info/index.json": None}
    whole["no index"] = replace(_SOUND, info=index)
    whole["folder over a link"] = replace(
        _SOUND, files={"share/evil": PackagedFile(link="other")}, members=(_link("share/evil", "", folder),)
    )
    whole["record of somebody else"] = replace(_SOUND, files={"conda-meta/python-3.11.2-0.json": b"{}"})
    return whole


def _evil_documents() -> dict[str, CondaPackage]:
    texts: dict[str, dict[str, bytes | None]] = {
        "index no JSON": {"info/index.json": b"{"},
        "index deep": {"info/index.json": b"[" * 100_000},
        "index no table": {"info/index.json": b"[]"},
        "index name leaves": {"info/index.json": b'{"name": "../evil", "version": "1", "build": "0"}'},
        "index noarch unknown": {"info/index.json": b'{"name": "evil", "version": "1", "build": "0", "noarch": "ruby"}'},
        "paths no JSON": {"info/paths.json": b"paths"},
        "paths of another version": {"info/paths.json": b'{"paths": [], "paths_version": 2}'},
        "paths huge number": {"info/paths.json": b'{"paths": [{"_path": "a", "size_in_bytes": 1' + b"0" * 5000 + b"}]}"},
        "no paths": {"info/paths.json": None, "info/files": None},
        "old list leaves": {"info/paths.json": None, "info/files": b"../evil\n"},
        "old list not UTF-8": {"info/paths.json": None, "info/files": b"\xff\n"},
        "entry point leaves": _link_json("../../evil = evil:main"),
        "entry point with code": _link_json("evil = evil:main\nimport os"),
        "entry point none": _link_json("evil"),
        "link kind unknown": {"info/link.json": b'{"noarch": {"type": "ruby"}}'},
    }
    return {name: replace(_SOUND, info=info) for name, info in texts.items()}


def _link_json(point: str) -> dict[str, bytes | None]:
    return {"info/link.json": json.dumps({"noarch": {"type": "python", "entry_points": [point]}}).encode()}


def _with_paths(change: Callable[[list[dict[str, Any]]], object]) -> CondaPackage:
    """The sound package with another `paths.json`."""
    entries = list_paths(_SOUND)
    change(entries)
    info: Mapping[str, bytes | None] = {"info/paths.json": json.dumps({"paths": entries, "paths_version": 1}).encode()}
    return replace(_SOUND, info=info)


def _file(path: str) -> Member:
    info = tarfile.TarInfo(path)
    info.size = len(_HARMLESS)
    return Member(info=info, data=_HARMLESS)


def _raw(path: bytes) -> Member:
    return _file(path.decode("utf-8", "surrogateescape"))


def _link(path: str, target: str, kind: bytes) -> Member:
    info = tarfile.TarInfo(path)
    info.type, info.linkname = kind, target
    return Member(info=info)


def _two_sizes() -> Member:
    """A pax header says that the content is longer than the header itself says: where does the next member begin?"""
    info = tarfile.TarInfo("share/evil/long")
    info.size = 1024
    info.pax_headers = {"size": "512"}
    return Member(info=info, data=bytes(512) + _file("share/evil/hidden").info.tobuf())


def _zip(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=method)
        archive.comment = comment
    return sink.getvalue()
