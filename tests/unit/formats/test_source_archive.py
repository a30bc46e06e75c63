"""Source archives of strangers: where the tree is, how it wants to be built, and what is refused."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import FormatError
from wherry.formats import source_archive
from wherry.formats.source_archive import SourceTree, stream_source, survey_source
from wherry.formats.untar import read_members


def make_tar(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(path)
            info.name = path
            data = content if isinstance(content, bytes) else b""
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def make_zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in members.items():
            archive.writestr(path, data)
    return buffer.getvalue()


def survey(data: bytes, file: str = "hull-1.0.tar", subfolder: str = "") -> SourceTree:
    return survey_source(stream_source(io.BytesIO(data), file, len(data)), file, subfolder)


def link(kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


def test_the_build_system() -> None:
    text = b'[build-system]\nrequires = ["plane>=1"]\nbuild-backend = "plane.api:backend"\nbackend-path = ["./tools", "."]\n'
    members = {"hull-1.0/pyproject.toml": text, "hull-1.0/sub/pyproject.toml": b"not this one ["}
    expected = SourceTree(folder="hull-1.0", requires=("plane>=1",), backend="plane.api:backend", backend_path=("tools", ""))
    assert survey(make_tar(dict(members))) == expected
    assert survey(gzip.compress(make_tar(dict(members))), "hull-1.0.tar.gz") == expected
    assert survey(make_zip(members), "hull-1.0.zip") == expected


@pytest.mark.parametrize("text", [None, b"", b"[project]\nname = 'hull'\n", b"[build-system]\nrequires = ['setuptools>=40.8.0']\n"])
def test_without_a_word_it_is_setuptools(text: bytes | None) -> None:
    members: dict[str, bytes | tarfile.TarInfo] = {"hull-1.0/setup.py": b""}
    if text is not None:
        members["hull-1.0/pyproject.toml"] = text
    found = survey(make_tar(members))
    assert (found.backend, found.requires) == ("setuptools.build_meta:__legacy__", ("setuptools>=40.8.0",))


def test_a_folder_below() -> None:
    members: dict[str, bytes | tarfile.TarInfo] = {
        "source/py/pyproject.toml": b"[build-system]\nrequires = []\nbuild-backend = 'own'\n",
        "source/pyproject.toml": b"[",
    }
    found = survey(make_tar(members), subfolder="py")
    assert (found.folder, found.backend, found.requires) == ("source/py", "own", ())
    with pytest.raises(FormatError, match="has no folder elsewhere"):
        survey(make_tar(members), subfolder="elsewhere")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "not one folder at its top"),
        ({"setup.py": b""}, "not one folder at its top"),
        ({"a/x": b"", "b/x": b""}, "not one folder at its top"),
        ({"a": link(tarfile.SYMTYPE, "/etc")}, "not one folder at its top"),
        ({"a/../../x": b""}, "leaves the root"),
        ({"/a/x": b""}, "leaves the root"),
        ({"a/dev": link(tarfile.CHRTYPE, "")}, "neither file, link nor folder"),
        ({"a/pyproject.toml": b"build-system = 3"}, "build-system is no table"),
        ({"a/pyproject.toml": b"[build-system]\nrequires = 'x'"}, "requires is no list of texts"),
        ({"a/pyproject.toml": b"[build-system]\nrequires = []\nbuild-backend = 'os; x'"}, "names no module"),
        ({"a/pyproject.toml": b"[build-system]\nrequires = []\nbackend-path = ['../up']"}, "leaves the root"),
        ({"a/pyproject.toml": b"\xff\xfe"}, "is not TOML"),
        ({"a/pyproject.toml": b"#" * (1 << 20) + b"##"}, "has 1048578 bytes"),
    ],
)
def test_what_is_refused(members: dict[str, bytes | tarfile.TarInfo], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        survey(make_tar(members))


@pytest.mark.parametrize("name", ["../x", "/x", "a\\x", "a/../../x"])
def test_a_zip_that_leaves_itself(name: str) -> None:
    with pytest.raises(FormatError, match="leaves the root"):
        survey(make_zip({"a/y": b"", name: b""}), "hull-1.0.zip")


def test_bombs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_archive, "_RATIO_FREE", 1 << 16)
    members = {"a/zeros": bytes(4 << 20)}
    with pytest.raises(FormatError, match="more than the"):
        survey(gzip.compress(make_tar(dict(members))), "hull-1.0.tar.gz")
    with pytest.raises(FormatError, match="more than the"):
        survey(make_zip(members), "hull-1.0.zip")
    monkeypatch.setattr(source_archive, "MAX_MEMBERS", 3)
    with pytest.raises(FormatError, match="more than 3 members"):
        survey(make_tar({f"a/{number}": b"" for number in range(4)}))


def test_a_truncated_archive() -> None:
    whole = {"tar.gz": gzip.compress(make_tar({"a/x": bytes(range(256)) * 40})), "zip": make_zip({"a/x": bytes(range(256)) * 40})}
    for suffix, data in whole.items():
        for length in range(0, len(data) - 8, 97):
            with pytest.raises(FormatError):
                survey(data[:length], f"hull-1.0.{suffix}")


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_damage_is_a_format_error(data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from(["zip", "tar.gz", "tar"]))
    members = {"a/pyproject.toml": b"[build-system]\nrequires = []\n", "a/x": b"text" * 99}
    whole = make_zip(members) if suffix == "zip" else make_tar(dict(members))
    whole = gzip.compress(whole) if suffix == "tar.gz" else whole
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    with contextlib.suppress(FormatError):
        survey(damaged, f"hull-1.0.{suffix}")
        for member in read_members(stream_source(io.BytesIO(damaged), f"hull-1.0.{suffix}", len(damaged)), "x"):
            assert not member.path.startswith(("/", ".."))
