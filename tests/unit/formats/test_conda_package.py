from __future__ import annotations

import hashlib
import io
import json
import tarfile
import warnings
from pathlib import Path

import pytest
from tools.conda_channel.evil import damaged_archives, evil_packages, make_bomb, write_evil_package
from tools.conda_channel.packages import PLACEHOLDER, CondaPackage, Form, Member, list_paths, write_package
from tools.conda_channel.samples import almanac, compass, hello, old_anchor, talker

from wherry.errors import FormatError
from wherry.formats.conda_package import inspect_conda_package
from wherry.model import conda_package as model

FORMS: tuple[Form, ...] = (".conda", ".tar.bz2")


def inspect(path: Path) -> model.CondaPackage:
    with path.open("rb") as stream:
        return inspect_conda_package(stream, path.name)


@pytest.mark.parametrize("form", FORMS)
def test_a_sound_package_is_told_in_full(tmp_path: Path, form: Form):
    package = compass("linux-64")
    found = inspect(write_package(tmp_path, package, form))
    assert (found.name, found.version, found.build, found.subdir, found.noarch) == ("compass", "1.0", "h1a2b3c_0", "linux-64", "")
    assert found.depends == ("__glibc >=2.17",)
    assert [entry.path for entry in found.paths] == sorted(package.files)
    by_path = {entry.path: entry for entry in found.paths}
    program = by_path["bin/compass"]
    data = package.all_files()["bin/compass"].data
    assert program == model.PackagedPath(
        path="bin/compass",
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        executable=True,
        placeholder=PLACEHOLDER,
        binary=True,
    )
    assert by_path["lib/libcompass.so"].link == "libcompass.so.1.0"
    assert (by_path["etc/compass.conf"].placeholder, by_path["etc/compass.conf"].binary) == (PLACEHOLDER, False)


@pytest.mark.parametrize("form", FORMS)
def test_noarch_links_and_odd_but_allowed_names(tmp_path: Path, form: Form):
    found = inspect(write_package(tmp_path, hello("1.0"), form))
    assert (found.noarch, found.entry_points) == ("python", ("hello = hello:main",))
    data = {entry.path: entry for entry in inspect(write_package(tmp_path, almanac(), form)).paths}
    assert data["share/almanac/deep/er/Müller's list.txt"].size == 6
    assert data["share/almanac/copied"].no_link


@pytest.mark.parametrize("form", FORMS)
def test_packages_of_the_oldest_kind_are_read(tmp_path: Path, form: Form):
    paths = inspect(write_package(tmp_path, old_anchor("linux-64"), form)).paths
    assert [(entry.path, entry.placeholder) for entry in paths] == [("etc/anchor.conf", PLACEHOLDER), ("share/anchor/iron", "")]
    assert all(entry.sha256 for entry in paths)


def test_scripts_are_named_and_shown(tmp_path: Path):
    found = inspect(write_package(tmp_path, talker()))
    assert [script.kind for script in found.scripts] == ["post-link", "pre-link", "pre-unlink"]
    assert "registered" in found.scripts[0].text
    files = {"etc/conda/activate.d/a.sh": b"export A=1\n", "python-scripts/.act-post-link.sh": b"#!/bin/sh\n"}
    acts = inspect(write_package(tmp_path, CondaPackage(name="act", noarch="python", files=files)))
    assert acts.activation == ("etc/conda/activate.d/a.sh",)
    assert acts.scripts[0].kind == "post-link"


@pytest.mark.parametrize("what", sorted(evil_packages()))
def test_what_is_wrong_inside_is_refused_by_name(tmp_path: Path, what: str):
    for form in FORMS:
        path = write_evil_package(tmp_path, what, form)
        with pytest.raises(FormatError) as caught:
            inspect(path)
        assert path.name in (caught.value.where or "")
        assert str(caught.value).isprintable() or str(caught.value).replace("\n", "").isprintable()


def test_a_damaged_or_ambiguous_zip_is_refused(tmp_path: Path):
    path = write_package(tmp_path, almanac())
    seen = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for what, data in damaged_archives(path.read_bytes()):
            seen += 1
            with pytest.raises(FormatError):
                pytest.fail(f"{what} was accepted: {inspect_conda_package(io.BytesIO(data), path.name)}")
    assert seen > 20


def test_a_damaged_tar_is_refused(tmp_path: Path):
    path = write_package(tmp_path, almanac(), ".tar.bz2")
    whole = path.read_bytes()
    for data in (whole[:0], whole[:30], whole[:-20], whole[:40] + b"\0\1\2" + whole[43:], whole + b"more"):
        with pytest.raises(FormatError):
            inspect_conda_package(io.BytesIO(data), path.name)


@pytest.mark.parametrize("form", FORMS)
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, form: Form, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wherry.formats.conda_archive._SMALL", 1 << 20)
    path = make_bomb(tmp_path, 8 << 20, form)
    assert path.stat().st_size < 20_000
    with pytest.raises(FormatError, match="more than the"):
        inspect(path)


def test_large_members_and_zip64_are_sound(tmp_path: Path):
    data = hashlib.shake_128(b"seed").digest(3 << 20)
    found = inspect(write_package(tmp_path, CondaPackage(name="big", noarch="generic", files={"share/big": data})))
    assert found.paths[0].size == len(data)


def test_a_package_without_any_file_is_sound(tmp_path: Path):
    assert inspect(write_package(tmp_path, CondaPackage(name="meta", noarch="generic"))).paths == ()


def test_hard_links_share_their_content(tmp_path: Path):
    sound = CondaPackage(name="hard", noarch="generic", files={"share/a": b"same\n"})
    link = tarfile.TarInfo("share/b")
    link.type, link.linkname = tarfile.LNKTYPE, "share/a"
    entries = [*list_paths(sound), {**list_paths(sound)[0], "_path": "share/b"}]
    info = {"info/paths.json": json.dumps({"paths": entries, "paths_version": 1}).encode()}
    package = CondaPackage(name="hard", noarch="generic", files=sound.files, info=info, members=(Member(info=link),))
    first, second = inspect(write_package(tmp_path, package)).paths
    assert first.sha256 == second.sha256


@pytest.mark.parametrize("name", ["pkg.zip", "pkg-1.0-0", "pkg.tar.zst"])
def test_only_names_of_packages_are_read(name: str):
    with pytest.raises(FormatError, match="not the name"):
        inspect_conda_package(io.BytesIO(b""), name)


# Real packages that lack what they name: fixtures of other projects with their files taken out, and zlib as upstream broke it.
BROKEN = {
    "dotslash-test-1.0.0-0.conda": "paths.json",
    "flask-0.11.1-py_0.tar.bz2": "not in it",
    "fly-2.5.2-0.tar.bz2": "not in it",
    "info-only-1.0.0-0.conda": "lacks a part",
    "spiffy-test-app-0.5-pyh6afbcc8_0.tar.bz2": "not in it",
    "symlink-test-1.0.0-0.conda": "paths.json",
    "zip64-test-1.0.0-0.conda": "paths.json",
    "zlib-1.2.11-h1de35cc_3.conda": "a link that leaves the prefix: ''",
    "zlib-1.2.11-h7b6447c_3.conda": "a link that leaves the prefix: ''",
    "zlib-1.2.11-h7b6447c_3.tar.bz2": "no softlink",
}


def test_real_packages_are_read_or_refused_with_a_reason(shared_data: Path):
    archives = [path for path in (shared_data / "conda/packages").rglob("*") if path.name.endswith(FORMS)]
    assert len(archives) == 81
    refused = {}
    for path in archives:
        try:
            found = inspect(path)
            assert path.name.startswith(f"{found.name}-{found.version}-{found.build}.")
        except FormatError as error:
            refused[path.name] = error.what + (error.where or "")
    assert sorted(refused) == sorted(BROKEN)
    for name, words in BROKEN.items():
        assert words in refused[name], refused[name]
