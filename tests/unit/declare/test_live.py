"""A live environment: what is kept, what changes, what is impossible."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.unit.declare.projects import ONE, write_files
from wherry.declare.live import LiveEnvironment, read_live_environment, render_requirements
from wherry.declare.live_package import Fate
from wherry.declare.prefix import choose_prefix
from wherry.errors import DeclarationError

SITE = "lib/python3.12/site-packages"


def dist(
    name: str, version: str = "1.0", *, site: str = SITE, url: object = None, installer: str = "pip", requires: str = ""
) -> dict[str, str | bytes]:
    folder = f"{site}/{name}-{version}.dist-info"
    files: dict[str, str | bytes] = {
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + (f"Requires-Dist: {requires}\n" if requires else "")
        + "\nName: not this\n",
        f"{folder}/INSTALLER": f"{installer}\n",
    }
    if url is not None:
        files[f"{folder}/direct_url.json"] = url if isinstance(url, str) else json.dumps(url)
    return files


def venv(root: Path, *dists: dict[str, str | bytes], settings: str = "version = 3.12.1\n") -> Path:
    files: dict[str, str | bytes] = {"pyvenv.cfg": settings}
    for one in dists:
        files |= one
    return write_files(root / "venv", files)


def fates(live: LiveEnvironment) -> dict[str, tuple[str, str]]:
    return {package.name: (package.fate.value, package.requirement) for package in live.packages}


def test_kept_changed_impossible(tmp_path: Path) -> None:
    wheel = "https://me:s3cret@files.example/w-1.0-py3-none-any.whl"
    live = read_live_environment(
        venv(
            tmp_path,
            dist("numpy", "2.1.0"),
            dist("From_File", url={"url": "file:///tmp/from_file-1.0-py3-none-any.whl", "archive_info": {}}),
            dist("built", url={"url": "file:///croot/built/work", "dir_info": {}}),
            dist("w", url={"url": wheel, "archive_info": {"hashes": {"sha256": ONE}}}),
            dist("oldhash", url={"url": wheel.replace("/w-", "/oldhash-"), "archive_info": {"hash": f"sha256={ONE}"}}),
            dist("sd", url={"url": "https://files.example/sd-1.0.tar.gz", "archive_info": {"hashes": {"sha256": ONE}}}),
            dist("ed", url={"url": "file:///home/me/ed", "dir_info": {"editable": True}}),
            dist("fromgit", url={"url": "https://me:s3cret@git.example/x", "vcs_info": {"vcs": "git", "commit_id": "abc"}}),
            dist("odd", url="{"),
            {f"{SITE}/broken-1.dist-info/METADATA": "nonsense"},
            {f"{SITE}/legacy-2.0.egg-info/PKG-INFO": "Name: legacy\nVersion: 2.0\n"},
            {f"{SITE}/linked.egg-link": "/home/me/linked\n."},
            dist("pip"),
            dist("setuptools"),
        )
    )
    assert live.python == "3.12"
    assert fates(live) == {
        "numpy": ("kept", "numpy==2.1.0"),
        "From_File": ("changed", "From_File==1.0"),
        "built": ("changed", "built==1.0"),
        "w": ("kept", f"w @ https://files.example/w-1.0-py3-none-any.whl#sha256={ONE}"),
        "oldhash": ("kept", f"oldhash @ https://files.example/oldhash-1.0-py3-none-any.whl#sha256={ONE}"),
        "sd": ("changed", "sd==1.0"),
        "ed": ("impossible", ""),
        "fromgit": ("impossible", ""),
        "odd": ("impossible", ""),
        "broken": ("impossible", ""),
        "legacy": ("changed", "legacy==2.0"),
        "linked": ("impossible", ""),
    }
    text = render_requirements(live)
    assert "s3cret" not in text
    assert "built==1.0  # came from a file of this machine\n" in text
    assert "# not possible: ed 1.0 (an editable install of /home/me/ed)\n" in text


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    from wherry.declare.requirements import read_requirements

    live = read_live_environment(
        venv(tmp_path, dist("numpy", "2.1.0"), dist("x", url={"url": "file:///x.whl"}), dist("e", url="{"))
    )
    write_files(tmp_path, {"requirements.txt": render_requirements(live)})
    found = read_requirements(tmp_path, "requirements.txt", {})
    assert [requirement.text for requirement in found.requirements] == ["numpy==2.1.0", "x==1.0"]


def test_installers_are_kept_when_something_requires_them(tmp_path: Path) -> None:
    live = read_live_environment(venv(tmp_path, dist("setuptools"), dist("pip"), dist("old", requires="Setuptools (>=40)")))
    assert set(fates(live)) == {"setuptools", "old"}


def test_the_project_itself_is_left_out(tmp_path: Path) -> None:
    url = {"url": (tmp_path / "p").as_uri(), "dir_info": {"editable": True}}
    live = read_live_environment(venv(tmp_path, dist("mine", url=url)), root=tmp_path / "p")
    assert live.packages == ()
    assert "mine is the project itself" in live.notes[0]


def test_user_site_counts_where_python_looks_there(tmp_path: Path) -> None:
    user = write_files(tmp_path / "home", dist("extra", site=".local/lib/python3.12/site-packages"))
    closed = venv(tmp_path, dist("numpy"))
    assert set(fates(read_live_environment(closed, home=user))) == {"numpy"}
    open_one = venv(
        tmp_path, dist("numpy"), settings="version = 3.12.1\ninclude-system-site-packages = true\nhome = /nowhere/bin\n"
    )
    live = read_live_environment(open_one, home=user)
    assert fates(live)["extra"] == ("changed", "extra==1.0")
    assert "pip install --user: extra 1.0" in live.notes[0]


def test_the_python_that_runs_wherry_is_the_default() -> None:
    live = read_live_environment(None)
    assert live.prefix == Path(sys.prefix)
    assert live.python == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert "packaging" in fates(live)


@pytest.mark.parametrize("files", [{}, {"pyvenv.cfg": "version = 3.12.1"}, {"pyvenv.cfg": "version = 2.7"}])
def test_a_folder_that_is_no_prefix_is_refused(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    with pytest.raises(DeclarationError, match="here"):
        read_live_environment(write_files(tmp_path, files))
    with pytest.raises(DeclarationError, match="no such folder"):
        read_live_environment(tmp_path / "nowhere")


def test_the_active_environment_is_chosen_first(tmp_path: Path) -> None:
    assert choose_prefix(tmp_path, {}) == Path(sys.prefix)
    write_files(tmp_path, {"venv/pyvenv.cfg": ""})
    assert choose_prefix(tmp_path, {}) == tmp_path / "venv"
    assert choose_prefix(tmp_path, {"CONDA_PREFIX": "/c"}) == Path("/c")
    assert choose_prefix(tmp_path, {"CONDA_PREFIX": "/c", "VIRTUAL_ENV": "/v"}) == Path("/v")
    assert Fate.KEPT.value == "kept"
