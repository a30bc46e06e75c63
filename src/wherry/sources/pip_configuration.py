"""What pip is configured for, and how to say it to uv, which reads none of pip's configuration (docs/adr/0003).

Reads pip's files in pip's order (global, user, the virtual environment's own, `PIP_CONFIG_FILE`, then `PIP_*` variables;
the last one wins, key by key). Where uv itself is configured (a `UV_*` variable or a `uv.toml`), uv's configuration wins
whole. Index options of a requirements file come on top of either, as pip has it.

URLs may hold credentials. They travel in the environment of the child process, never on a command line or in a log.
"""

from __future__ import annotations

import configparser
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry.errors import DeclarationError, UsageError
from wherry.model.declaration import IndexOptions

_INDEX_VARIABLES = (
    "UV_INDEX",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
    "UV_CONFIG_FILE",
)
_INDEX_KEYS = ("index", "index-url", "extra-index-url", "find-links", "no-index", "default-index")
_TRUE = ("1", "true", "yes", "on", "y", "t")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipConfiguration:
    """The options of pip's configuration that say where files are; empty where nothing is configured."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    certificates: Path | None = None
    trusted_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UvSettings:
    """How to start uv: a whole environment, and arguments that hold no URL. `repr` shows no value."""

    environment: Mapping[str, str] = field(repr=False)
    arguments: tuple[str, ...] = ()
    certificates: Path | None = None
    trusted_hosts: tuple[str, ...] = ()


def read_pip_configuration(environment: Mapping[str, str]) -> PipConfiguration:
    """Gather pip's options from its files and from `PIP_*`. A file that is no configuration is a `UsageError`."""
    values: dict[str, str] = {}
    for path in _configuration_files(environment):
        values.update(_read_file(path))
    for variable, value in environment.items():
        if variable.startswith("PIP_") and value:
            values[variable.removeprefix("PIP_").lower().replace("_", "-")] = value
    certificates = values.get("cert")
    return PipConfiguration(
        index_url=values.get("index-url") or None,
        extra_index_urls=tuple(values.get("extra-index-url", "").split()),
        find_links=tuple(values.get("find-links", "").split()),
        no_index=values.get("no-index", "").lower() in _TRUE,
        certificates=Path(certificates).expanduser() if certificates else None,
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
    )


def plan_uv_settings(root: Path, options: IndexOptions, environment: Mapping[str, str]) -> UvSettings:
    """Translate pip's configuration and a requirements file's own options into settings of uv.

    With more than one index pip takes the best version of all, uv the first index that has the name. Where the
    indexes came from pip, uv is told to do as pip does, unless `UV_INDEX_STRATEGY` says otherwise.
    """
    result = {name: value for name, value in environment.items() if not name.startswith("PIP_")}
    result |= {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
    result.pop("FORCE_COLOR", None)
    pip = read_pip_configuration(environment)
    from_uv = is_uv_configured(root, environment)
    first = options.index_url or (None if from_uv else pip.index_url)
    extra = (() if from_uv or options.index_url else pip.extra_index_urls) + options.extra_index_urls
    links = (() if from_uv else _existing(pip.find_links, root)) + options.find_links
    if first:
        result.pop("UV_INDEX_URL", None)
        result["UV_DEFAULT_INDEX"] = _as_url(first, root)
    if extra:
        former = environment.get("UV_EXTRA_INDEX_URL", "").split()
        result["UV_EXTRA_INDEX_URL"] = " ".join([*former, *(_as_url(url, root) for url in extra)])
        result.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    if links:
        former = [link for link in environment.get("UV_FIND_LINKS", "").split(",") if link]
        result["UV_FIND_LINKS"] = ",".join([*former, *(_as_link(link, root) for link in links)])
    if pip.certificates is not None and pip.certificates.is_file():
        result.setdefault("SSL_CERT_FILE", str(pip.certificates))
    if pip.trusted_hosts and not from_uv:
        result.setdefault("UV_INSECURE_HOST", " ".join(pip.trusted_hosts))
    arguments: tuple[str, ...] = ()
    if options.no_index or (pip.no_index and not from_uv):
        arguments += ("--no-index",)
    if options.pre:
        arguments += ("--prerelease", "allow")
    certificates = result.get("SSL_CERT_FILE")
    return UvSettings(
        environment=result,
        arguments=arguments,
        certificates=Path(certificates) if certificates else None,
        trusted_hosts=tuple(result.get("UV_INSECURE_HOST", "").split()),
    )


def is_uv_configured(root: Path, environment: Mapping[str, str]) -> bool:
    """Whether uv has been told where indexes are: by a variable, a `uv.toml` or the project's `[tool.uv]`."""
    if any(environment.get(name) for name in _INDEX_VARIABLES):
        return True
    if _has_index(_read_toml(root / "pyproject.toml").get("tool", {}), "uv"):
        return True
    home = Path(environment.get("HOME") or "/")
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    system = [Path(folder) for folder in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if folder]
    folders = [root, *root.parents, user / "uv", *(folder / "uv" for folder in system), Path("/etc/uv")]
    return any(_names_index(_read_toml(folder / "uv.toml")) for folder in folders)


def _has_index(table: Any, name: str) -> bool:
    return isinstance(table, dict) and isinstance(table.get(name), dict) and _names_index(table[name])


def _names_index(table: Mapping[str, Any]) -> bool:
    pip = table.get("pip")
    if any(isinstance(index, dict) and not index.get("explicit") for index in _tables(table.get("index"))):
        return True
    keys = [key for key in _INDEX_KEYS if key != "index"]
    return any(key in table for key in keys) or (isinstance(pip, dict) and any(key in pip for key in keys))


def _tables(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _read_toml(path: Path) -> dict[str, Any]:
    """A file that uv cannot read either is uv's to complain about."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _configuration_files(environment: Mapping[str, str]) -> list[Path]:
    chosen = environment.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    home = Path(environment.get("HOME") or "/")
    folders = [Path(folder) for folder in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if folder]
    files = [folder / "pip" / "pip.conf" for folder in folders]
    files.append(Path("/etc/pip.conf"))
    if environment.get("PIP_ISOLATED", "").lower() not in _TRUE:
        files.append(home / ".pip" / "pip.conf")
        files.append(Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf")
    files.append(Path(environment.get("VIRTUAL_ENV") or sys.prefix) / "pip.conf")
    if chosen:
        files.append(Path(chosen))
    return files


def _read_file(path: Path) -> dict[str, str]:
    """The options of [global], then of [install] over them: those that `pip install` would see."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
    except OSError:
        return {}
    except (configparser.Error, UnicodeDecodeError):
        raise UsageError("this is no pip configuration", where=str(path), hint="pip config debug") from None
    values: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            values.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    return values


def _as_url(text: str, root: Path) -> str:
    """An index may be given as a folder."""
    if "://" in text:
        return text
    return (root / Path(text).expanduser()).resolve().as_uri()


def _existing(links: tuple[str, ...], root: Path) -> tuple[str, ...]:
    """A folder that is not there is a warning to pip, and an error to uv."""
    return tuple(link for link in links if "://" in link or (root / Path(link).expanduser()).exists())


def _as_link(text: str, root: Path) -> str:
    if "," in text:
        raise DeclarationError("uv cannot take a --find-links with a comma in it", where="index options")
    return text if "://" in text else str((root / Path(text).expanduser()).resolve())
