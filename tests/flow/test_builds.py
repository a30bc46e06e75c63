"""Packages that nobody publishes as wheels, through the command line: for Debian's Python, for conda's, and the project itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tools.conda_channel.channel import Channel
from tools.conda_channel.samples import write_samples

from tests.conftest import require_tool
from tests.flow.conftest import BOTH, Seed, Wherry, layers_of, write_project
from tests.flow.test_reference_base import publish_real_base
from tests.simulators.managed_python import archive_of_records, list_downloads
from tests.simulators.registry import RegistrySimulator
from tests.simulators.shipyard import make_sdist, source_files
from wherry.formats.lockfile import parse_lock
from wherry.model.lock import BuildKind, PlatformLock

pytestmark = [pytest.mark.network, pytest.mark.engine]

MANAGED = "cpython-3.11.2+20240101-linux-64.tar.gz"
SHOW = "import json, sys, {name}\nprint(json.dumps([{name}.VERSION, sys.version_info[:2], sys.prefix]))\n"


@pytest.fixture(autouse=True)
def _sandbox() -> None:
    require_tool("bwrap")


def locked(project: Path) -> tuple[PlatformLock, ...]:
    return parse_lock((project / "wherry.lock").read_text()).platforms


def answer(wherry: Wherry, project: Path) -> object:
    return json.loads(wherry.ok("run", "--on", "bubblewrap", "--network", "none", cwd=project))


def test_another_machine_builds_the_same_image(seed: Seed, wherry: Wherry, alone: Wherry, tmp_path: Path) -> None:
    """`alone` has a cache of its own, of before the build."""
    seed.index.add(make_sdist("keel", "1.0", requires=("tinyone",)))
    files = {
        "main.py": SHOW.format(name="keel"),
        "requirements.txt": "keel\n",
        "wherry.toml": 'allow-build = ["Keel"]\nbytecode = "none"\n',
    }
    project = write_project(tmp_path / "project", files)
    done = wherry.run("build", *BOTH, "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("building keel out of keel-1.0.tar.gz") == 1, "once, for both platforms"
    made = json.loads(done.stdout)
    assert answer(wherry, project) == ["1.0", [3, 11], "/opt/env"]
    first, second = locked(project)
    assert first.builds == second.builds
    assert [wheel.name for wheel in first.wheels] == ["keel", "tinyone"]

    elsewhere = tmp_path / "elsewhere" / "under another name"
    shutil.copytree(project, elsewhere)
    there = replace(alone, store=tmp_path / "another store").with_env(TZ="Asia/Tokyo", PYTHONHASHSEED="5")
    done = there.run("build", "--locked", *BOTH, "--json", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert "building keel 1.0 again" in done.stderr
    assert [image["config"] for image in json.loads(done.stdout)["images"]] == [image["config"] for image in made["images"]]


def test_without_a_word_nothing_is_built(seed: Seed, wherry: Wherry, tmp_path: Path) -> None:
    seed.index.add(make_sdist("rudder", "1.0"))
    project = write_project(tmp_path / "project", {"requirements.txt": "rudder\n"})
    said = wherry.refused("lock", cwd=project, code=11)
    assert "requirements.txt:1: rudder has no wheel at all, and is not built unasked" in said
    assert 'try: allow-build = ["rudder"] in wherry.toml' in said


def own_package(folder: Path, files: Mapping[str, str] | None = None) -> Path:
    """A project whose own package is built by a backend that lies in it."""
    sources = source_files("ownship", "0.1", requires=("tinyone",))
    head = '[project]\nname = "ownship"\nversion = "0.1"\ndependencies = ["tinyone"]\n'
    project = write_project(
        folder,
        {
            **sources,
            "pyproject.toml": head + sources["pyproject.toml"],
            "main.py": SHOW.format(name="ownship"),
            "wherry.toml": 'allow-build = ["ownship"]\nbytecode = "none"\n',
            **(files or {}),
        },
    )
    (project / "requirements.txt").unlink()
    return project


def test_the_projects_own_package_follows_its_files(wherry: Wherry, tmp_path: Path) -> None:
    project = own_package(tmp_path / "ownship")
    wherry.ok("build", cwd=project)
    assert answer(wherry, project) == ["0.1", [3, 11], "/opt/env"]
    (build,) = locked(project)[0].builds
    assert (build.name, build.kind) == ("ownship", BuildKind.FOLDER)
    (project / "module.py").write_text("VERSION = 'changed'\n")
    assert "was built from other files than its folder has now" in wherry.refused("build", "--locked", cwd=project, code=11)
    assert "ownship" in wherry.run("build", cwd=project).stderr
    assert answer(wherry, project) == ["changed", [3, 11], "/opt/env"]
    assert "building" not in wherry.run("build", cwd=project).stderr


def test_a_package_over_a_base_by_reference(seed: Seed, wherry: Wherry, tmp_path: Path) -> None:
    seed.index.add(make_sdist("capstan", "1.0", requires=("tinyone",)))
    with RegistrySimulator() as registry:
        text = f'base = "{publish_real_base(seed, registry)}"\nbytecode = "none"\nallow-build = ["capstan"]\n'
        files = {"main.py": SHOW.format(name="capstan"), "requirements.txt": "capstan\n", "wherry.toml": text}
        project = write_project(tmp_path / "project", files)
        wherry.build(project)
        assert answer(wherry, project) == ["1.0", [3, 11], "/opt/env"]
    assert locked(project)[0].interpreter.source == "base"


def test_a_package_for_a_managed_python(
    seed: Seed, wherry: Wherry, tmp_path: Path, conda_records: Callable[[str], list[Path]]
) -> None:
    seed.index.add(make_sdist("windlass", "1.0", requires=("tinyone",)))
    archives = {("3.11.2", "linux/amd64"): archive_of_records(tmp_path / MANAGED, conda_records("linux-64"))}
    there = wherry.with_env(UV_PYTHON_DOWNLOADS_JSON_URL=list_downloads(tmp_path, archives))
    text = 'python = "3.11"\ninterpreter = "managed"\nplatforms = ["linux/amd64"]\nbytecode = "none"\nallow-build = ["windlass"]\n'
    files = {"main.py": SHOW.format(name="windlass"), "requirements.txt": "windlass\n", "wherry.toml": text}
    project = write_project(tmp_path / "project", files)
    there.build(project)
    assert answer(there, project) == ["1.0", [3, 11], "/opt/env"]
    assert locked(project)[0].interpreter.source == "managed"


def test_a_package_for_conda_s_python(
    seed: Seed, wherry: Wherry, tmp_path: Path, conda_records: Callable[[str], list[Path]]
) -> None:
    pytest.importorskip("rattler")
    made: Channel = write_samples(tmp_path / "channel", python=False)
    for archive in conda_records("linux-64"):
        made.add_archive(archive)
    made.write_index()
    seed.index.add(make_sdist("anchor", "1.0", requires=("tinyone",)))
    text = f"channels:\n  - {made.folder.as_uri()}\ndependencies:\n  - python=3.11\n  - pip:\n    - anchor\n"
    files = {
        "environment.yml": text,
        "main.py": SHOW.format(name="anchor"),
        "wherry.toml": 'platforms = ["linux/amd64"]\nallow-build = ["anchor"]\nbytecode = "none"\n',
    }
    project = write_project(tmp_path / "project", files)
    (project / "requirements.txt").unlink()
    result = wherry.build(project)
    assert answer(wherry, project) == ["1.0", [3, 11], "/opt/conda"]
    (only,) = locked(project)
    assert [build.name for build in only.builds] == ["anchor"]
    assert [wheel.name for wheel in only.wheels] == ["anchor", "tinyone"]
    assert layers_of(result)
