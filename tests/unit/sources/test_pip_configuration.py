"""pip's configuration as pip reads it, and what uv is told of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.errors import DeclarationError, UsageError
from wherry.model.declaration import IndexOptions
from wherry.sources.pip_configuration import is_uv_configured, plan_uv_settings, read_pip_configuration

NONE = IndexOptions()


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment in which no file of this machine counts, but for those that a test writes."""
    folder = tmp_path / "home"
    folder.mkdir()
    return {
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_CONFIG_DIRS": str(folder / "xdg"),
        "VIRTUAL_ENV": str(folder / "venv"),
        "PIP_CONFIG_FILE": os.devnull,
        "PATH": os.environ["PATH"],
    }


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_files_come_in_pips_order(home: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    del home["PIP_CONFIG_FILE"]
    root = Path(home["HOME"])
    write(root / "xdg/pip/pip.conf", "[global]\nindex-url = https://one.example/simple\nfind-links = /a /b\n")
    write(root / "config/pip/pip.conf", "[global]\nindex_url = https://two.example/simple\n[install]\nno-index = true\n")
    write(
        root / "venv/pip.conf",
        "[global]\nindex-url = https://three.example/simple\ncert = /x.pem\nextra-index-url =\n  https://a.example\n  https://b.example\n",
    )
    found = read_pip_configuration(home)
    assert found.index_url == "https://three.example/simple"
    assert found.extra_index_urls == ("https://a.example", "https://b.example")
    assert found.no_index
    assert found.certificates == Path("/x.pem")
    assert read_pip_configuration({**home, "PIP_INDEX_URL": "https://four.example"}).index_url == "https://four.example"


def test_a_file_of_ones_own(home: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "own.conf", "[global]\ntrusted-host = index.example other.example:8080\n")
    found = read_pip_configuration({**home, "PIP_CONFIG_FILE": str(tmp_path / "own.conf")})
    assert found.trusted_hosts == ("index.example", "other.example:8080")


def test_nothing_is_configured(home: dict[str, str], tmp_path: Path) -> None:
    settings = plan_uv_settings(tmp_path, NONE, home)
    assert not [name for name in settings.environment if name.startswith("UV_") and "INDEX" in name]
    assert settings.arguments == ()


def test_a_file_that_is_none(home: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "own.conf", "index-url = before any section\n")
    with pytest.raises(UsageError, match="no pip configuration"):
        read_pip_configuration({**home, "PIP_CONFIG_FILE": str(tmp_path / "own.conf")})


def test_uv_is_told(home: dict[str, str], tmp_path: Path) -> None:
    environment = {
        **home,
        "PIP_INDEX_URL": "https://ada:s3cret@index.example/simple",
        "PIP_EXTRA_INDEX_URL": "https://two.example/simple file:///srv/simple",
        "PIP_FIND_LINKS": "wheels not-there https://links.example/page.html",
        "PIP_TRUSTED_HOST": "two.example",
    }
    (tmp_path / "wheels").mkdir()
    settings = plan_uv_settings(tmp_path, NONE, environment)
    told = settings.environment
    assert told["UV_DEFAULT_INDEX"] == "https://ada:s3cret@index.example/simple"
    assert told["UV_EXTRA_INDEX_URL"] == "https://two.example/simple file:///srv/simple"
    assert told["UV_FIND_LINKS"] == f"{tmp_path / 'wheels'},https://links.example/page.html"
    assert told["UV_INSECURE_HOST"] == "two.example"
    assert told["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert not [name for name in told if name.startswith("PIP_")]
    assert not any("s3cret" in argument for argument in settings.arguments)
    assert "s3cret" not in repr(settings)


def test_one_index_needs_no_strategy(home: dict[str, str], tmp_path: Path) -> None:
    settings = plan_uv_settings(tmp_path, NONE, {**home, "PIP_INDEX_URL": "https://index.example/simple"})
    assert "UV_INDEX_STRATEGY" not in settings.environment


def test_uvs_own_configuration_wins(home: dict[str, str], tmp_path: Path) -> None:
    environment = {**home, "PIP_INDEX_URL": "https://pip.example/simple", "PIP_NO_INDEX": "1"}
    told = plan_uv_settings(tmp_path, NONE, {**environment, "UV_INDEX_URL": "https://uv.example/simple"})
    assert told.environment["UV_INDEX_URL"] == "https://uv.example/simple"
    assert "UV_DEFAULT_INDEX" not in told.environment
    assert told.arguments == ()
    write(tmp_path / "project" / "uv.toml", 'index-url = "https://uv.example/simple"\n')
    assert "UV_DEFAULT_INDEX" not in plan_uv_settings(tmp_path / "project", NONE, environment).environment


@pytest.mark.parametrize(
    ("text", "configured"),
    [
        ('[[tool.uv.index]]\nname = "a"\nurl = "https://uv.example"\n', True),
        ('[[tool.uv.index]]\nname = "a"\nurl = "https://uv.example"\nexplicit = true\n', False),
        ('[tool.uv.pip]\nextra-index-url = ["https://uv.example"]\n', True),
        ("[tool.uv]\nmanaged = false\n", False),
        ("not toml [", False),
    ],
)
def test_a_projects_uv_table(home: dict[str, str], tmp_path: Path, text: str, configured: bool) -> None:
    write(tmp_path / "pyproject.toml", text)
    assert is_uv_configured(tmp_path, home) is configured


def test_a_requirements_files_options_come_on_top(home: dict[str, str], tmp_path: Path) -> None:
    options = IndexOptions(
        index_url="https://file.example/simple", extra_index_urls=("https://more.example/simple",), find_links=("w",), pre=True
    )
    environment = {**home, "UV_INDEX_URL": "https://uv.example/simple", "UV_EXTRA_INDEX_URL": "https://uv2.example/simple"}
    settings = plan_uv_settings(tmp_path, options, environment)
    assert settings.environment["UV_DEFAULT_INDEX"] == "https://file.example/simple"
    assert settings.environment["UV_EXTRA_INDEX_URL"] == "https://uv2.example/simple https://more.example/simple"
    assert settings.environment["UV_FIND_LINKS"] == str(tmp_path / "w")
    assert settings.arguments == ("--prerelease", "allow")


def test_no_index(home: dict[str, str], tmp_path: Path) -> None:
    assert plan_uv_settings(tmp_path, NONE, {**home, "PIP_NO_INDEX": "true"}).arguments == ("--no-index",)
    assert plan_uv_settings(tmp_path, IndexOptions(no_index=True), home).arguments == ("--no-index",)


def test_certificates(home: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "ca.pem", "")
    environment = {**home, "PIP_CERT": str(tmp_path / "ca.pem")}
    assert plan_uv_settings(tmp_path, NONE, environment).certificates == tmp_path / "ca.pem"
    own = {**environment, "SSL_CERT_FILE": "/other.pem"}
    assert plan_uv_settings(tmp_path, NONE, own).environment["SSL_CERT_FILE"] == "/other.pem"


def test_a_comma_cannot_be_said(home: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="comma"):
        plan_uv_settings(tmp_path, IndexOptions(find_links=("a,b",)), home)
