"""Packages that are damaged, hostile, missing or at odds: told in a few words, and nothing half-written stays."""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.conftest import Wherry, tree_of, write_project
from tests.simulators.bases import base_layers, publish_base
from tests.simulators.python_index import PythonIndex, Wheel, make_wheel
from tests.simulators.registry import RegistrySimulator
from tests.simulators.wheels import make_wheel as write_wheel
from tests.simulators.wheels import record_digest
from wherry.model.platform import Platform

pytestmark = pytest.mark.network


@pytest.fixture
def own_index() -> Iterator[PythonIndex]:
    """An index of the test's own, to serve what nobody else should get."""
    with PythonIndex() as simulator:
        simulator.add(make_wheel("tinyone", "1.0"), make_wheel("tinyone", "1.1"))
        yield simulator


@pytest.fixture
def served(wherry: Wherry, own_index: PythonIndex, tmp_path: Path) -> Wherry:
    """Looks at that index alone; fetched wheels and uv's memory are the test's own."""
    (tmp_path / "cache").mkdir()
    for name in ("debian", "interpreters", "layers"):
        (tmp_path / "cache" / name).symlink_to(wherry.cache / name)
    own = Wherry(store=wherry.store, cache=tmp_path / "cache", env=wherry.env)
    return own.with_env(UV_DEFAULT_INDEX=own_index.url, UV_CACHE_DIR=str(tmp_path / "uv"))


def evil_wheel(folder: Path, kind: str) -> Wheel:
    """A wheel that uv resolves, as it reads METADATA alone, and that must not be laid out."""
    good = {"evil/__init__.py": b"X = 1\n"}
    if kind == "path escape":
        path = write_wheel(folder, "evil", files={**good, "../../../etc/evil.py": b"X = 2\n"})
    elif kind == "absolute path":
        path = write_wheel(folder, "evil", files={**good, "/etc/evil.py": b"X = 2\n"})
    elif kind == "lying RECORD":
        path = write_wheel(folder, "evil", files=good, record={"evil/__init__.py": f"{record_digest(b'X = 9')},6"})
    elif kind == "not in RECORD":
        path = write_wheel(folder, "evil", files=good, unrecorded={"evil/more.py": b"X = 3\n"})
    elif kind == "two members of one name":
        path = write_wheel(folder, "evil", files=good)
        with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
            warnings.simplefilter("ignore")
            archive.writestr("evil/__init__.py", b"X = 666\n")
    elif kind == "truncated":
        path = write_wheel(folder, "evil", files={"evil/__init__.py": b"#" * 5000 + bytes(range(256)) * 40})
        data = bytearray(path.read_bytes())
        data[60:120] = bytes(60)
        path.write_bytes(bytes(data))
    else:
        raise AssertionError(kind)
    return Wheel(name="evil", version="1.0", file=path.name, data=path.read_bytes())


KINDS = ("path escape", "absolute path", "lying RECORD", "not in RECORD", "two members of one name", "truncated")


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_wheel_is_refused_by_name(served: Wherry, own_index: PythonIndex, tmp_path: Path, kind: str) -> None:
    own_index.add(evil_wheel(tmp_path / "wheels", kind))
    project = write_project(tmp_path / "project", {"requirements.txt": "evil==1.0\n"})
    done = served.run("lock", cwd=project)
    if done.returncode != 0:  # uv may refuse it already; then in words of ours
        assert "Traceback" not in done.stderr
        assert "evil" in done.stderr
        assert not (project / "wherry.lock").exists()
        return
    before = tree_of(served.store, project)
    told = served.refused("build", cwd=project, code=12)
    assert "evil-1.0-py3-none-any.whl" in told
    assert tree_of(served.store, project) == before
    assert not (tmp_path.parent / "etc/evil.py").exists()


def test_other_bytes_than_locked_are_never_used(served: Wherry, own_index: PythonIndex, tmp_path: Path) -> None:
    project = write_project(tmp_path / "project")
    served.ok("lock", cwd=project)
    before = tree_of(served.store, project)
    own_index.fail("/files/tinyone-1.0-py3-none-any.whl", *["wrong"] * 20)
    told = served.refused("build", cwd=project, code=15)
    assert "tinyone" in told
    assert "sha256" in told or "digest" in told
    assert tree_of(served.store, project) == before
    assert not list(served.cache.glob("artefacts/**/tinyone*"))


def test_other_bytes_in_a_find_folder_are_never_used(served: Wherry, own_index: PythonIndex, tmp_path: Path) -> None:
    project = write_project(tmp_path / "project")
    served.ok("lock", cwd=project)
    own_index.wheels.clear()
    folder = tmp_path / "found"
    folder.mkdir()
    good = make_wheel("tinyone", "1.0")
    (folder / good.file).write_bytes(bytes(byte ^ 1 for byte in good.data))
    told = served.refused("build", "--find", folder, cwd=project, code=15)
    assert good.file in told
    assert not list(served.cache.glob("artefacts/**/tinyone*"))
    (folder / good.file).write_bytes(good.data)
    served.ok("build", "--find", folder, cwd=project)


def test_a_version_that_has_vanished_is_named_with_the_way_forward(served: Wherry, own_index: PythonIndex, tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", {"requirements.txt": "tinyone\n"})
    served.ok("lock", cwd=project)
    before = tree_of(project)
    own_index.wheels[:] = [make_wheel("tinyone", "1.2")]
    told = served.refused("build", cwd=project, code=11)
    assert "tinyone 1.1" in told
    assert "wherry lock --upgrade-package tinyone" in told
    assert tree_of(project) == before
    served.with_env(UV_CACHE_DIR=str(tmp_path / "uv2")).ok("lock", "--upgrade-package", "tinyone", cwd=project)
    served.ok("build", cwd=project)


@pytest.mark.parametrize("platform", ["linux/arm64", "linux/arm/v7"])
def test_no_wheel_for_a_platform_says_which_have_one(served: Wherry, own_index: PythonIndex, tmp_path: Path, platform: str) -> None:
    own_index.add(make_wheel("onlyhere", "1.0", tag="cp311-cp311-manylinux_2_17_x86_64"))
    with RegistrySimulator() as registry:
        layers = {Platform.parse(text): base_layers() for text in ("linux/amd64", platform)}
        settings = f'base = "{publish_base(registry, "library/pybase", "3.11", layers)}"\n'
        files = {"requirements.txt": "tinyone\nonlyhere==1.0\n", "wherry.toml": settings}
        project = write_project(tmp_path / "project", files)
        told = served.refused("lock", "--platform", "linux/amd64", "--platform", platform, cwd=project, code=11)
        assert "onlyhere" in told
        assert platform in told
        assert "linux/amd64" in told.replace(f"--platform {platform}", "")
        assert "tinyone" not in told
        assert not (project / "wherry.lock").exists()
        served.ok("lock", "--platform", "linux/amd64", cwd=project)


def test_only_a_source_distribution_is_refused_by_name(served: Wherry, own_index: PythonIndex, tmp_path: Path) -> None:
    data = io.BytesIO(b"not looked into").getvalue()
    page = f'<a href="/files/srconly-1.0.tar.gz#sha256={hashlib.sha256(data).hexdigest()}">srconly-1.0.tar.gz</a>'
    own_index.extra_pages["/simple/srconly/"] = page.encode()
    project = write_project(tmp_path / "project", {"requirements.txt": "srconly\n"})
    told = served.refused("lock", cwd=project, code=11)
    assert "srconly" in told
    assert not (project / "wherry.lock").exists()


def test_a_conflict_is_explained_in_a_few_lines(served: Wherry, own_index: PythonIndex, tmp_path: Path) -> None:
    own_index.add(make_wheel("tinytwo", "2.0", requires=("tinyone>=1.1",)))
    project = write_project(tmp_path / "project", {"requirements.txt": "tinyone==1.0\ntinytwo==2.0\n"})
    told = served.refused("lock", cwd=project, code=11)
    assert "tinyone==1.0" in told
    assert "tinytwo" in told
    assert len(told.splitlines()) <= 15
    assert not (project / "wherry.lock").exists()
    assert own_index.root not in told


def test_an_unknown_package_is_named(served: Wherry, tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", {"requirements.txt": "tinyone\nno-such-thing\n"})
    told = served.refused("lock", cwd=project, code=11)
    assert "no-such-thing" in told


def test_an_index_that_is_away_is_worth_another_try(served: Wherry, tmp_path: Path) -> None:
    project = write_project(tmp_path / "project")
    away = served.with_env(UV_DEFAULT_INDEX="http://127.0.0.1:9/simple", UV_HTTP_TIMEOUT="2", UV_HTTP_RETRIES="0")
    told = away.refused("lock", cwd=project, code=14)
    assert "127.0.0.1:9" in told
    assert not (project / "wherry.lock").exists()


def test_credentials_of_an_index_are_never_told_or_locked(served: Wherry, own_index: PythonIndex, tmp_path: Path) -> None:
    own_index.credentials = ("person", "hunter2secret")
    project = write_project(tmp_path / "project", {"requirements.txt": "tinyone\n"})
    private = served.with_env(UV_DEFAULT_INDEX=own_index.url_with_credentials())
    done = private.run("build", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    (project / "requirements.txt").write_text("tinyone\nno-such-thing\n")
    said += private.refused("lock", cwd=project, code=11)
    assert "hunter2secret" not in said
    for root in (project, served.store, served.cache / "urls", served.cache / "builds"):
        for path in root.rglob("*"):
            assert not path.is_file() or b"hunter2secret" not in path.read_bytes(), path
