"""A project of wheels alone with conda's Python: the image's from a channel, and the prefix here with the same one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tools.conda_channel.channel import Channel

from tests.conftest import require_tool
from tests.flow.conftest import Wherry, write_project
from wherry.formats.lockfile import parse_lock
from wherry.store.host import read_host_platform

pytest.importorskip("rattler")
pytestmark = pytest.mark.network

MAIN = """\
import json, ssl, sys, tinyone
print(json.dumps([sys.version_info[:2], sys.executable, sys.prefix, sys.base_prefix, tinyone.VERSION]))
"""


@pytest.fixture(scope="module")
def channels(tmp_path_factory: pytest.TempPathFactory, conda_records: Callable[[str], list[Path]]) -> Path:
    """conda-forge is a folder here, as conda's own configuration says."""
    folder = tmp_path_factory.mktemp("channels")
    channel = Channel(folder / "conda-forge")
    for archive in conda_records(read_host_platform().subdir):
        channel.add_archive(archive)
    channel.write_index()
    (folder / "condarc").write_text(f"custom_channels:\n  conda-forge: {folder.as_uri()}\n")
    return folder


@pytest.fixture
def there(wherry: Wherry, channels: Path) -> Wherry:
    return wherry.with_env(CONDARC=str(channels / "condarc"))


def test_wheels_with_condas_python(there: Wherry, tmp_path: Path) -> None:
    declared = 'name = "mixed"\npython = "3.11"\ninterpreter = "conda"\nbytecode = "none"\n'
    project = write_project(tmp_path / "mixed", {"main.py": MAIN, "wherry.toml": declared})
    there.build(project)
    (locked,) = parse_lock((project / "wherry.lock").read_text()).platforms
    assert (locked.interpreter.source, locked.interpreter.path) == ("conda", "/opt/conda/bin/python3.11")
    assert {record.channel for record in locked.records} == {"conda-forge"}
    assert [wheel.name for wheel in locked.wheels] == ["tinyone"]
    assert not [deb.name for deb in locked.debs if "python" in deb.name]
    require_tool("bwrap")
    printed = there.ok("run", "--on", "bubblewrap", cwd=project)
    assert json.loads(printed) == [[3, 11], "/opt/conda/bin/python", "/opt/conda", "/opt/conda", "1.0"]
    prefix = there.ok("env", "create", "--frozen", cwd=project).strip()
    done = subprocess.run([f"{prefix}/bin/python", "main.py"], cwd=project, capture_output=True, text=True, check=True, env={})
    assert json.loads(done.stdout) == [[3, 11], f"{prefix}/bin/python", prefix, prefix, "1.0"]


def test_a_version_that_the_channel_lacks_is_refused(there: Wherry, tmp_path: Path) -> None:
    declared = 'python = "3.12"\ninterpreter = "conda"\n'
    project = write_project(tmp_path / "mixed", {"wherry.toml": declared})
    said = there.refused("lock", cwd=project, code=11)
    assert "python" in said
    assert "3.12" in said
