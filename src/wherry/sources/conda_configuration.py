"""Where this machine's conda looks for channels: its own configuration files and variables, read as conda reads them.

Files in conda's order, from the system's to the user's and the environment's (``.condarc``, ``condarc``, ``condarc.d/``;
mamba's ``.mambarc`` beside them), then ``CONDA_*`` variables; the last one wins key by key, maps are merged, lists are
joined, the later file's items first. ``$NAME`` and ``${NAME}`` in a value stand for variables: so a credential can be a
reference. Of channels without an address it knows what conda knows: an alias, custom channels, multichannels,
mirrors. Values may hold credentials: none is in a `repr` or in a message.

Nothing is asked of the network; a file that is no configuration is a `UsageError`. Markers such as ``#!final`` are not
obeyed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry.errors import UsageError

ALIAS = "https://conda.anaconda.org"
_PACKAGES = "https://repo.anaconda.com"
_DEFAULTS = ("pkgs/main", "pkgs/r")
_NAMES = (".condarc", "condarc", ".mambarc")
_TRUE = ("1", "true", "yes", "on", "y", "t")
_LARGEST = 1 << 20
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaConfiguration:
    """The settings that say where channels are. Each map's values are addresses or names, in conda's order of preference."""

    alias: str = field(default=ALIAS, repr=False)
    default_channels: tuple[str, ...] = field(default=_DEFAULTS, repr=False)
    custom_channels: Mapping[str, str] = field(default_factory=dict, repr=False)  # name → the address it lies below
    multichannels: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)  # name or address → addresses
    channels: tuple[str, ...] = field(default=(), repr=False)  # for environments that name none
    certificates: Path | None = None
    checks_certificates: bool = True
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)  # scheme, or scheme://host → proxy
    adds_tokens: bool = True  # anaconda-client's, to its own servers
    offline: bool = False


def read_conda_configuration(environment: Mapping[str, str]) -> CondaConfiguration:
    """Gather conda's settings from its files and from `CONDA_*`."""
    values: dict[str, Any] = {}
    for path in _configuration_files(environment):
        _merge(values, _read_file(path, environment))
    _merge_variables(values, environment)
    verify = values.get("ssl_verify", True)
    return CondaConfiguration(
        alias=_text(values.get("channel_alias")).rstrip("/") or ALIAS,
        default_channels=_texts(values.get("default_channels")) or _DEFAULTS,
        custom_channels={"pkgs": _PACKAGES, **_map(values.get("custom_channels"))},
        multichannels={name: _texts(members) for name, members in _table(values.get("custom_multichannels")).items()},
        mirrors={name: _texts(places) for name, places in _table(values.get("mirrored_channels")).items()},
        channels=_texts(values.get("channels")),
        certificates=Path(verify).expanduser() if isinstance(verify, str) and "/" in verify else None,
        checks_certificates=not (verify is False or str(verify).lower() in ("false", "no", "0")),
        proxies=_map(values.get("proxy_servers")),
        adds_tokens=_truth(values.get("add_anaconda_token", True)),
        offline=_truth(values.get("offline", False)),
    )


def _configuration_files(environment: Mapping[str, str]) -> Iterator[Path]:
    """conda's search path; a later one wins."""
    home = environment.get("HOME", "")
    folders = ["/etc/conda", "/var/lib/conda"]
    folders += [environment[name] for name in ("CONDA_ROOT", "MAMBA_ROOT_PREFIX") if environment.get(name)]
    if environment.get("XDG_CONFIG_HOME"):
        folders.append(f"{environment['XDG_CONFIG_HOME']}/conda")
    if home:
        folders += [f"{home}/.config/conda", f"{home}/.conda", home]
    if environment.get("CONDA_PREFIX"):
        folders.append(environment["CONDA_PREFIX"])
    for folder in map(Path, folders):
        names = _NAMES if str(folder) != home else (".condarc", ".mambarc")
        yield from (folder / name for name in names if (folder / name).is_file())
        if str(folder) != home:
            drop_ins = folder / "condarc.d"
            yield from sorted(path for path in drop_ins.glob("*") if path.suffix in (".yml", ".yaml") and path.is_file())
    for variable in ("CONDARC", "MAMBARC"):
        if environment.get(variable) and Path(environment[variable]).is_file():
            yield Path(environment[variable])


def _read_file(path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    try:
        import yaml  # of the extra `conda`
    except ImportError:
        raise UsageError("conda's configuration needs pyyaml, which is not installed", hint='pip install "wherry[conda]"') from None
    try:
        with path.open("rb") as file:
            document = yaml.safe_load(file.read(_LARGEST).decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except yaml.MarkedYAMLError as error:  # its text would show the line, which may hold a credential
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError("is not valid YAML", where=f"{path}{line}") from None
    except (ValueError, yaml.YAMLError, RecursionError):
        raise UsageError("is not valid YAML", where=str(path)) from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise UsageError("is not a configuration of conda's: no key: value", where=str(path))
    return {str(key): _expand(value, environment) for key, value in document.items()}


def _merge(values: dict[str, Any], later: Mapping[str, Any]) -> None:
    for key, value in later.items():
        former = values.get(key)
        if isinstance(former, dict) and isinstance(value, dict):
            values[key] = {**former, **value}
        elif isinstance(former, list) and isinstance(value, list):
            values[key] = [*value, *(item for item in former if item not in value)]
        elif value is not None:
            values[key] = value


def _merge_variables(values: dict[str, Any], environment: Mapping[str, str]) -> None:
    for key in ("channel_alias", "ssl_verify", "offline", "add_anaconda_token"):
        text = environment.get(f"CONDA_{key.upper()}", "")
        if text:
            values[key] = text
    for key in ("channels", "default_channels"):
        text = environment.get(f"CONDA_{key.upper()}", "")
        if text:
            _merge(values, {key: [part.strip() for part in text.split(",") if part.strip()]})


def _expand(value: object, environment: Mapping[str, str]) -> object:
    """Put variables in; one that is not set stays as it is written, as with conda."""
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: environment.get(found[1] or found[2], found[0]), value)
    if isinstance(value, list):
        return [_expand(item, environment) for item in value]
    if isinstance(value, dict):
        return {str(key): _expand(item, environment) for key, item in value.items()}
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(item for item in items if isinstance(item, str) and item)


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _map(value: object) -> dict[str, str]:
    return {key: item for key, item in _table(value).items() if isinstance(item, str) and item}


def _truth(value: object) -> bool:
    return value if isinstance(value, bool) else str(value).lower() in _TRUE
