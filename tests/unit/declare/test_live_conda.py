"""A live conda prefix: conda's packages as specs, what pip did to it as the pip section, and every difference by name."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from tests.unit.declare.projects import ONE, write_files
from tests.unit.declare.test_live import SITE, dist
from wherry.declare.conda_file import read_conda_file
from wherry.declare.live import LiveEnvironment, read_live_environment, render_live

FORGE = "https://conda.anaconda.org/conda-forge"


def record(
    name: str,
    version: str,
    *,
    dists: dict[str, str] | None = None,
    channel: str = FORGE,
    subdir: str = "linux-64",
    url: str | None = None,
    record_digest: str = "",
) -> dict[str, str | bytes]:
    """A conda-meta record; `dists` are distributions that it brought, name to version."""
    folders = [f"{SITE}/{key}-{release}.dist-info" for key, release in (dists or {}).items()]
    document = {
        "name": name,
        "version": version,
        "build": "py312_0",
        "subdir": subdir,
        "channel": f"{channel}/{subdir}",
        "url": f"{channel}/{subdir}/{name}-{version}-py312_0.conda" if url is None else url,
        "files": [f"{folder}/{file}" for folder in folders for file in ("METADATA", "RECORD")] + [f"lib/{name}.so"],
        "paths_data": {"paths": [{"_path": f"{folder}/RECORD", "sha256": record_digest} for folder in folders]},
    }
    return {f"conda-meta/{name}-{version}-py312_0.json": json.dumps(document)}


def prefix(root: Path, *parts: dict[str, str | bytes]) -> Path:
    files: dict[str, str | bytes] = {"conda-meta/history": ""}
    for part in (record("python", "3.12.1"), *parts):
        files |= part
    return write_files(root / "conda", files)


def lines(live: LiveEnvironment) -> dict[str, tuple[str, str]]:
    return {(package.requirement or package.name): (package.fate.value, package.why) for package in live.packages}


def test_conda_s_packages_are_kept_without_their_builds(tmp_path: Path) -> None:
    live = read_live_environment(
        prefix(
            tmp_path,
            record("numpy", "1.26.4", dists={"numpy": "1.26.4"}),
            dist("numpy", "1.26.4", installer="conda", url={"url": "file:///home/conda/feedstock_root/numpy", "dir_info": {}}),
            record("libblas", "3.9.0"),
            record("pip", "24.0", dists={"pip": "24.0"}, subdir="noarch"),
            dist("pip", "24.0"),
            record("ld_impl_linux-64", "2.40"),
            record("hmmer", "3.4", channel="https://me:s3cret@conda.example/t/tk-9/bio"),
        )
    )
    assert live.python == "3.12"
    assert live.channels == ("conda-forge", "https://conda.example/bio")
    assert render_live(live) == (
        "# Python 3.12. Read from a live conda environment by wherry init --from-env; build strings are left out.\n"
        "channels:\n  - conda-forge\n  - https://conda.example/bio\n"
        "dependencies:\n"
        "  - https://conda.example/bio::hmmer=3.4\n"
        "  - ld_impl_linux-64=2.40  # [linux64]\n"
        "  - libblas=3.9.0\n"
        "  - numpy=1.26.4\n"
        "  - pip=24.0\n"
        "  - python=3.12.1\n"
    )
    assert {fate for fate, _ in lines(live).values()} == {"kept"}
    assert live.notes == ("`@ file://` in pip's list, numpy: conda's own builds, asked for from conda's channels",)


def test_what_pip_put_over_conda_s_is_asked_of_both(tmp_path: Path) -> None:
    same = b"numpy/__init__.py,,\n"
    live = read_live_environment(
        prefix(
            tmp_path,
            record("numpy", "1.26.0", dists={"numpy": "1.26.0"}),
            dist("numpy", "1.26.4"),
            record("scipy", "1.12", dists={"scipy": "1.12"}, record_digest=ONE),
            {**dist("scipy", "1.12"), f"{SITE}/scipy-1.12.dist-info/RECORD": b"pip's\n"},
            record("pandas", "2.2", dists={"pandas": "2.2"}, record_digest=hashlib.sha256(same).hexdigest()),
            {**dist("pandas", "2.2"), f"{SITE}/pandas-2.2.dist-info/RECORD": same},
            record("gone", "1.0", dists={"gone": "1.0"}),
            record("torch-cpu", "2.1", dists={"torch": "2.1", "functorch": "2.1"}),
            dist("torch", "2.1"),
            dist("flask", "3.0"),
            dist(
                "wheelhouse",
                url={"url": "https://files.example/wheelhouse-1.0-py3-none-any.whl", "archive_info": {"hash": f"sha256={ONE}"}},
            ),
            dist("local", url={"url": "file:///home/me/local.whl", "archive_info": {}}),
        )
    )
    both = "pip put it over conda's numpy 1.26.0: both are asked for"
    assert lines(live) == {
        "flask==3.0": ("kept", ""),
        "gone=1.0": ("changed", "somebody removed the files of its distribution gone; conda's package is asked for again"),
        "local==1.0": ("changed", "came from a file of this machine"),
        "numpy=1.26.0": ("kept", ""),
        "numpy==1.26.4": ("changed", both),
        "pandas=2.2": ("kept", ""),
        "python=3.12.1": ("kept", ""),
        "scipy=1.12": ("changed", "pip laid the same version over conda's files; conda's package stands in for both"),
        "torch-cpu=2.1": ("kept", ""),
        f"wheelhouse @ https://files.example/wheelhouse-1.0-py3-none-any.whl#sha256={ONE}": ("kept", ""),
    }
    text = render_live(live)
    assert f"      - numpy==1.26.4  # {both}\n" in text
    assert "  - pip:\n      - flask==3.0\n" in text
    write_files(tmp_path, {"environment.yml": text})
    found = read_conda_file(tmp_path, "environment.yml", {})
    assert found.environment.conda is not None
    assert found.python == "3.12"
    wanted = {package.requirement for package in live.packages}
    asked = {spec.text for spec in found.environment.conda.specs} | {one.text for one in found.environment.requirements}
    assert asked == wanted


def test_what_another_machine_cannot_have_is_named(tmp_path: Path) -> None:
    user = ".local/lib/python3.12/site-packages"
    home = write_files(tmp_path / "home", {**dist("extra", site=user), **dist("numpy", "2.0", site=user)})
    live = read_live_environment(
        prefix(
            tmp_path,
            record("numpy", "1.26.0", dists={"numpy": "1.26.0"}),
            dist("numpy", "1.26.0", installer="conda"),
            dist("boat", url={"url": "file:///home/me/boat", "dir_info": {"editable": True}}),
            record("mine", "0.1", url="file:///home/me/mine-0.1-py312_0.conda", dists={"mine": "0.1"}),
            dist("mine", "0.2", url={"url": "https://me:s3cret@git.example/mine", "vcs_info": {"vcs": "git"}}),
            record("near", "1", channel="file:///srv/channel"),
            dist("orphan", installer="conda"),
            {"conda-meta/broken-1-0.json": "{", "conda-meta/odd-1-0.json": '{"name": "a b", "version": "1"}'},
        ),
        home=home,
    )
    assert lines(live) == {
        "boat": ("impossible", "an editable install of /home/me/boat"),
        "extra==1.0": ("changed", "was installed with pip install --user"),
        "file:///srv/channel::near=1": ("kept", ""),
        "mine=0.1": ("changed", "came from a file of this machine"),
        "mine": ("impossible", "from git: https://…@git.example/mine; it hides conda's mine 0.1"),
        "numpy=1.26.0": ("kept", ""),
        "numpy==2.0": ("changed", "pip install --user put it over conda's numpy 1.26.0: both are asked for"),
        "orphan==1.0": ("changed", "was conda's"),
        "python=3.12.1": ("kept", ""),
    }
    said = "\n".join(live.notes)
    for text in ("broken-1-0.json is damaged", "odd-1-0.json is damaged", "file:///srv/channel is a folder", "--user: extra 1.0"):
        assert text in said
    text = render_live(live)
    assert "s3cret" not in text + said
    assert "  # not possible: boat 1.0 (an editable install of /home/me/boat)\n" in text
    write_files(tmp_path, {"environment.yml": text})
    read_conda_file(tmp_path, "environment.yml", {})


def test_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    """A pipe never ends, and neither does /dev/zero."""
    broken = prefix(tmp_path, dist("numpy", "1.0"))
    os.mkfifo(broken / "conda-meta/python-3.0-0.json")
    os.mkfifo(broken / "conda-meta/pipe-1-0.json")
    (broken / "conda-meta/zero-1-0.json").symlink_to("/dev/zero")
    os.mkfifo(next(broken.rglob("*.dist-info")) / "direct_url.json")
    live = read_live_environment(broken)
    assert set(lines(live)) == {"numpy==1.0", "python=3.12.1"}
    for name in ("pipe-1-0", "python-3.0-0", "zero-1-0"):
        assert f"conda-meta/{name}.json is damaged: its package is not in the list" in live.notes


def test_two_records_of_one_distribution_are_told(tmp_path: Path) -> None:
    live = read_live_environment(prefix(tmp_path, dist("numpy", "1.0"), dist("numpy", "2.0")))
    assert "numpy-1.0.dist-info and numpy-2.0.dist-info lie side by side: the first one counts" in live.notes


def test_records_without_an_address(tmp_path: Path) -> None:
    live = read_live_environment(
        prefix(tmp_path, dist("flask"), record("a", "1", url=""), record("b", "1", channel="<unknown>", url=""))
    )
    assert lines(live)["a=1"] == ("kept", "")
    assert lines(live)["b=1"] == ("changed", "came from a file of this machine")
