"""agent.toml: what the documentation shows is what is read, and nothing else is taken."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from wherry.agent.settings import AgentSettings, read_settings
from wherry.engines.port import MountKind
from wherry.errors import DeviceError
from wherry.store.host import read_host_platform

REFERENCE = Path(__file__).parents[3] / "docs/reference/agent.md"


def read(folder: Path, text: str) -> AgentSettings:
    (folder / "agent.toml").write_text(text)
    return read_settings(folder / "agent.toml")


def test_nothing_is_needed(tmp_path: Path) -> None:
    settings = read(tmp_path, "")
    assert (settings.engine, settings.container.name, settings.platform) == ("podman", "app", read_host_platform())
    assert settings.channel.root == tmp_path / "root.json"


def test_what_the_reference_shows(tmp_path: Path) -> None:
    (tmp_path / "tariff.toml").write_text('name = "t"\nprice_per_mb = 0.1\n')
    shown = re.search(r"```toml\n(.*?)```", REFERENCE.read_text(), re.DOTALL)
    assert shown
    settings = read(tmp_path, shown[1])
    assert [mount.kind for mount in settings.container.mounts] == [MountKind.BIND, MountKind.VOLUME]
    assert [str(port) for port in settings.container.ports] == ["8080:80", "127.0.0.1:9000:9000"]
    assert settings.container.options == ("--device", "/dev/i2c-1")
    assert settings.update.health is not None
    assert settings.update.health.http == "80/ready"
    assert settings.update.lock == Path("/run/app/busy")
    assert settings.budget.month == 5_000_000
    assert settings.budget.tariff is not None
    assert settings.channel.poll == timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('engine = "moby"', "engine"),
        ("speed = 1", "speed"),
        ("[container]\nnmae = 'x'", "nmae"),
        ("[container]\nname = 3", "name"),
        ("[container]\nvolumes = ['/data']", "volumes"),
        ("[container]\nvolumes = [3]", "volumes"),
        ("[container]\nports = ['http']", "ports"),
        ("[container]\nports = ['1:2:3:4']", "ports"),
        ("[update]\nmemory-mb = true", "memory-mb"),
        ("[update.health]\nlog = 'x'\ncommand = ['y']", "agent.toml"),
        ("[budget]\nmonth = 'much'", "month"),
        ("[budget]\nwindows = ['night']", "agent.toml"),
        ("[budget]\ntariff = 'none.toml'", "none.toml"),
        ("platform = 'linux/none'", "agent.toml"),
        ("engine = ", "agent.toml"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(DeviceError) as caught:
        read(tmp_path, text)
    assert where in str(caught.value.where)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cannot be read"):
        read_settings(tmp_path / "none.toml")
