"""Debian packages: what is read, and what hostile ones are refused for."""

from __future__ import annotations

import contextlib
import io
import tarfile

import pytest

from tests.simulators.debian import compress, link, make_ar, make_deb, make_tar
from wherry.errors import FormatError
from wherry.formats.deb import open_deb
from wherry.formats.tar import EntryKind


def read(data: bytes) -> dict[str, bytes]:
    deb = open_deb(io.BytesIO(data), "x.deb")
    return {member.path: b"".join(member.content) for member in deb.members}


@pytest.mark.parametrize("suffix", ["gz", "xz", "zst"])
def test_reads_every_compression(suffix: str) -> None:
    data = make_deb("tool", data={"./": b"", "./usr/": b"", "./usr/bin/tool": b"x" * 300_000}, suffix=suffix)
    opened = open_deb(io.BytesIO(data), "tool.deb")
    assert opened.control.startswith(b"Package: tool\n")
    assert {m.path: m.size for m in opened.members} == {"usr": 0, "usr/bin/tool": 300_000}


def test_reads_long_names_links_and_modes() -> None:
    name = "usr/share/" + "long/" * 60 + "file"
    hard = link("./usr/b", "./usr/a", tarfile.LNKTYPE)
    data = make_deb("tool", data={f"./{name}": b"1", "./usr/a": b"2", "./usr/b": hard, "./usr/c": link("./usr/c", "../etc/x")})
    members = {m.path: (m.kind, m.link) for m in open_deb(io.BytesIO(data), "x").members}
    assert members[name][0] is EntryKind.FILE
    assert members["usr/b"] == (EntryKind.HARDLINK, "./usr/a")
    assert members["usr/c"] == (EntryKind.SYMLINK, "../etc/x")


def test_reads_pax_names() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("./usr/share/größe-" + "x" * 120))
    data = make_ar(
        [("debian-binary", b"2.0\n"), ("control.tar", make_tar({"control": b"Package: x\n"})), ("data.tar", out.getvalue())]
    )
    assert list(read(data)) == ["usr/share/größe-" + "x" * 120]


def test_every_truncation_is_refused() -> None:
    data = make_deb("tool", suffix="gz")
    for end in range(len(data)):
        with pytest.raises(FormatError):
            read(data[:end])


def test_flipped_bits_never_pass_unseen_or_crash() -> None:
    data = make_deb("tool", suffix="xz")
    good = read(data)
    for at in range(0, len(data), 7):
        damaged = data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]
        with contextlib.suppress(FormatError):
            assert read(damaged) == good  # times and owners in ar headers mean nothing


def device(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = tarfile.CHRTYPE
    return info


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"../evil": b"x"}, "leaves the root"),
        ({"./usr/../../evil": b"x"}, "leaves the root"),
        ({"/etc/passwd": b"x"}, "leaves the root"),
        ({"./a": link("./a", "../x")}, "link out of the root"),
        ({"./usr/a": link("./usr/a", "../../etc/shadow")}, "link out of the root"),
        ({"./usr/a": link("./usr/a", "/../etc/shadow")}, "link out of the root"),
        ({"./usr/a": link("./usr/a", "../../etc/shadow", tarfile.LNKTYPE)}, "leaves the root"),
        ({"./usr/a": link("./usr/a", "./usr/later", tarfile.LNKTYPE)}, "no file of it"),
        ({"./a": link("./a", "/etc"), "./a/passwd": b"x"}, "lies below"),
        ({"./a": b"1", "a": b"2"}, "two members"),
        ({"./a": b"1", "./a/": b""}, "two members"),
        ({"./dev/null": device("./dev/null")}, "neither file"),
    ],
)
def test_hostile_members(members: dict[str, bytes | tarfile.TarInfo], says: str) -> None:
    with pytest.raises(FormatError, match=says):
        read(make_deb("evil", data=members))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    zeros = make_tar({"./zeros": bytes(80 << 20)})
    data = make_ar(
        [
            ("debian-binary", b"2.0\n"),
            ("control.tar", make_tar({"control": b"Package: x\n"})),
            ("data.tar.xz", compress(zeros, "xz")),
        ]
    )
    with pytest.raises(FormatError, match="holds more than"):
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        make_ar([("control.tar", b"")]),
        make_ar([("debian-binary", b"3.0\n"), ("control.tar", b""), ("data.tar", b"")]),
        make_ar([("debian-binary", b"2.0\n"), ("data.tar", b""), ("control.tar", b"")]),
        make_ar([("debian-binary", b"2.0\n"), ("control.tar", make_tar({"other": b""})), ("data.tar", make_tar({}))]),
        make_ar([("debian-binary", b"2.0\n"), ("control.tar", make_tar({"control": b""})), ("data.tar.rar", b"")]),
        make_deb("tool") + make_ar([("more", b"x")])[8:],
    ],
)
def test_other_forms_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        read(data)
