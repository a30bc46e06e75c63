"""A managed CPython: any version over any base, for another platform from this host, and the same one on this machine.

uv takes it from a list and a mirror of the test's own; the Python in the archives is real, of the host's distribution.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.flow.conftest import BOTH, Seed, Wherry, copy_store, layers_of, write_project
from tests.flow.test_reference_base import publish_real_base
from tests.simulators.managed_python import archive_of_records, list_downloads
from tests.simulators.registry import RegistrySimulator
from wherry.formats.lockfile import parse_lock
from wherry.formats.untar import read_members
from wherry.model.lock import PlatformLock
from wherry.model.platform import Platform
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform
from wherry.store.images import pick_image

pytestmark = pytest.mark.network

VERSION = "3.11.2"
SUBDIRS = {"linux/amd64": "linux-64", "linux/arm64": "linux-aarch64"}
MAIN = """\
import json, os, ssl, sys, tinyone
print(json.dumps([sys.version_info[:3], sys.executable, sys.base_prefix, tinyone.VERSION, os.path.exists(json.__cached__)]))
"""
DECLARED = 'name = "managed"\npython = "3.11"\ninterpreter = "managed"\n'


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory, conda_records: Callable[[str], list[Path]]) -> str:
    folder = tmp_path_factory.mktemp("mirror")
    archives = {
        (VERSION, platform): archive_of_records(folder / f"cpython-{VERSION}+20240101-{subdir}.tar.gz", conda_records(subdir))
        for platform, subdir in SUBDIRS.items()
    }
    return list_downloads(folder, archives)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory, seed: Seed, mirror: str) -> Wherry:
    store = tmp_path_factory.mktemp("managed") / "store"
    copy_store(seed.wherry.store, store)
    return replace(seed.wherry, store=store).with_env(UV_PYTHON_DOWNLOADS_JSON_URL=mirror)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, there: Wherry) -> Path:
    """A project, built for both platforms."""
    project = write_project(tmp_path_factory.mktemp("built"), {"main.py": MAIN, "wherry.toml": DECLARED})
    there.build(project, *BOTH)
    return project


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    """The same, locked."""
    return Path(shutil.copytree(built, tmp_path / "managed"))


def test_one_build_makes_both_platforms(there: Wherry, built: Path, tmp_path: Path) -> None:
    for platform, subdir in SUBDIRS.items():
        locked = lock_of(built, platform)
        assert (locked.interpreter.source, locked.interpreter.version) == ("managed", VERSION)
        assert locked.interpreter.archive is not None
        assert locked.interpreter.archive.file == f"cpython-{VERSION}+20240101-{subdir}.tar.gz"
        assert not [deb.name for deb in locked.debs if "python" in deb.name]
        names = {layer.name: layer for layer in locked.layers}
        assert names["python"].members == names["bytecode-python"].members == (f"cpython {VERSION}",)
    amd64, arm64 = (lock_of(built, platform) for platform in SUBDIRS)
    compiled = [next(layer.diff_id for layer in locked.layers if layer.name == "bytecode-wheels") for locked in (amd64, arm64)]
    assert compiled[0] == compiled[1] is not None
    files = unpack(there.store, "linux/arm64", tmp_path / "root")
    assert "opt/python/bin/python3.11" in files
    assert "opt/python/lib/python3.11/__pycache__/os.cpython-311.pyc" in files


@pytest.mark.engine
def test_both_run(there: Wherry, built: Path, tmp_path: Path) -> None:
    require_tool("bwrap")
    assert there.ok("run", "--on", "bubblewrap", cwd=built) == answer("/opt/env/bin/python", "/opt/python")
    require_tool("proot", "qemu-aarch64-static")
    root = tmp_path / "root"
    unpack(there.store, "linux/arm64", root)
    command = ["proot", "-q", "qemu-aarch64-static", "-r", str(root), "-b", "/proc", "-b", "/dev", "-w", "/app"]
    done = subprocess.run(
        [*command, "/opt/env/bin/python", "main.py"], capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]}
    )
    assert done.stdout == answer("/opt/env/bin/python", "/opt/python"), done.stderr


def test_the_environment_here_has_the_very_same_one(there: Wherry, project: Path, tmp_path: Path) -> None:
    prefix = Path(there.ok("env", "create", cwd=project).strip())
    done = subprocess.run(
        [prefix / "bin/python", "main.py"],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.stdout == answer(f"{prefix}/bin/python", f"{prefix}/python", compiled=False)
    root = tmp_path / "root"
    files = {path for path in unpack(there.store, str(read_host_platform()), root) if path.startswith("opt/python/")}
    own = {path for path in files if "__pycache__" not in path}
    assert own == {f"opt/python/{path.relative_to(prefix / 'python')}" for path in (prefix / "python").rglob("*") if is_file(path)}
    assert [path for path in own if (root / path).read_bytes() != (prefix / path.removeprefix("opt/")).read_bytes()] == []
    assert "leave it away" in there.refused("env", "create", "--python", "/usr/bin/python3", cwd=project, code=2)
    there.ok("env", "remove", cwd=project)
    assert not prefix.exists()


def test_another_build_in_the_mirror_is_not_taken_unasked(there: Wherry, project: Path, tmp_path: Path) -> None:
    """What is locked is in the cache, so uv's list is not even asked."""
    elsewhere = there.with_env(UV_PYTHON_DOWNLOADS_JSON_URL=(tmp_path / "no.json").as_uri())
    elsewhere.build(project, "--locked")
    before = (project / "wherry.lock").read_bytes()
    there.ok("lock", *BOTH, "--upgrade-package", "python", cwd=project)
    assert (project / "wherry.lock").read_bytes() == before


def test_what_cannot_be_is_said(there: Wherry, project: Path) -> None:
    (project / "wherry.toml").write_text('interpreter = "managed"\n')
    assert 'try: python = "3.12"' in there.refused("lock", cwd=project, code=10)
    (project / "wherry.toml").write_text('interpreter = "managed"\npython = "3.12"\n')
    assert "uv has no Python 3.12 for linux/amd64" in there.refused("lock", *BOTH[:2], cwd=project, code=11)
    (project / "wherry.toml").write_text('interpreter = "mine"\npython = "3.12"\n')
    assert "interpreter" in there.refused("lock", cwd=project, code=10)


@pytest.mark.engine
def test_over_somebody_elses_base_without_python(seed: Seed, there: Wherry, tmp_path: Path) -> None:
    require_tool("bwrap")
    with RegistrySimulator() as registry:
        base = publish_real_base(seed, registry, 1)
        files = {"main.py": MAIN, "wherry.toml": DECLARED.replace("managed", "over-base", 1) + f'base = "{base}"\n'}
        project = write_project(tmp_path / "over-base", files)
        built = there.build(project)
        assert [layer["cause"] for layer in layers_of(built)][:2] == ["layer 1", f"cpython {VERSION}"]
        assert there.ok("run", "--on", "bubblewrap", cwd=project) == answer("/opt/env/bin/python", "/opt/python")


def answer(executable: str, prefix: str, *, compiled: bool = True) -> str:
    return json.dumps([[3, 11, 2], executable, prefix, "1.0", compiled]) + "\n"


def is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts


def lock_of(project: Path, platform: str) -> PlatformLock:
    return parse_lock((project / "wherry.lock").read_text()).for_platform(Platform.parse(platform))


def unpack(store_path: Path, platform: str, root: Path) -> set[str]:
    """The image's files below `root`, links too; gives the paths of the files."""
    store = DiskStore(store_path)
    stored = pick_image(store, store.resolve("managed:latest"), Platform.parse(platform))
    found = set()
    for layer, diff_id in zip(stored.manifest.layers, stored.config.diff_ids, strict=True):
        for member in read_members(read_layer(store, layer.digest, diff_id), platform):
            target = root / member.path
            target.parent.mkdir(parents=True, exist_ok=True)
            if member.link:
                target.symlink_to(member.link)
            elif member.kind.value == b"5":
                target.mkdir(exist_ok=True)
            else:
                found.add(member.path)
                target.write_bytes(b"".join(member.content))
                target.chmod(member.mode)
    return found
