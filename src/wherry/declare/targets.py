"""The grammar of ``[targets.NAME]``: where jobs go. A decoded table to `Target` values, checked one by one.

Rules: every key is optional but `backend`, which an `engine` implies; an unknown key is an error with the nearest known one;
`local` and `container` are there without being written. Nothing here is locked or built into an image. Reads no other file than
the one that holds the project's table, so that a prepared job begins quickly.

A table with Azure ML Workbench's key `type`, as `wherry init --from aml_config` writes it, is understood where it means this
machine; one that means another place is kept for its author, and no job can go there.
"""

from __future__ import annotations

import difflib
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wherry.declare.azure_batch import AZURE_KEYS, parse_azure
from wherry.declare.paths import relative_path
from wherry.errors import DeclarationError
from wherry.model.job import BackendKind, DataFolder, Limits, Target

_ENGINES = ("podman", "docker", "bubblewrap")
_ON_NODES = ("pyxis", "apptainer", "any")
_KEYS = ("backend", "engine", "cpus", "memory", "gpus", "time", "env", "data", "network", "engine-args", "address")
_OF_WORKBENCH = {"local": (BackendKind.LOCAL, None), "docker": (BackendKind.CONTAINER, "docker")}
_OF_WORKBENCH["localdocker"] = _OF_WORKBENCH["docker"]
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?b)?", re.IGNORECASE)
_TIME = re.compile(r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_ADDRESS = re.compile(r"auto|[A-Za-z0-9.-]+:[0-9]{1,5}")
_CREDENTIAL = re.compile(r"(?:.*_)?(?:PASSWORD|SECRET|TOKEN|SAS|CONNECTION_STRING|(?:ACCESS|ACCOUNT|API|SECRET|STORAGE)_KEY)")
_LEAST_MEMORY = 16 << 20
DEFAULTS = (Target(name="local", backend=BackendKind.LOCAL), Target(name="container", backend=BackendKind.CONTAINER))


def read_targets(root: Path) -> dict[str, Target]:
    """The targets of the project at `root`, those that need no words among them."""
    table, origin = read_own_table(root)
    written = parse_targets(table.get("targets", {}), origin)
    return {target.name: target for target in (*DEFAULTS, *written)}


def read_own_table(root: Path) -> tuple[Mapping[str, Any], str]:
    """The table that the project at `root` wrote for wherry, as it stands there, and the file's name; empty where there is none."""
    own, pyproject = root / "wherry.toml", root / "pyproject.toml"
    if own.is_file():
        return _read_table(own), "wherry.toml"
    tool = _read_table(pyproject).get("tool") if pyproject.is_file() else None
    table = tool.get("wherry") if isinstance(tool, dict) else None
    return table if isinstance(table, dict) else {}, "pyproject.toml: tool.wherry"


def _read_table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n"))
    except OSError as error:
        raise DeclarationError(f"cannot be read: {error.strerror}", where=path.name) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise DeclarationError(f"not TOML: {error}", where=path.name) from error


def parse_targets(table: object, origin: str) -> tuple[Target, ...]:
    """Check ``[targets]``. `origin` names the file in every `DeclarationError`."""
    if not isinstance(table, Mapping):
        raise DeclarationError("not a table", where=f"{origin}: targets", hint="[targets.NAME]")
    found = (_read_target(name, value, f"{origin}: targets.{name}") for name, value in table.items())
    return tuple(target for target in found if target is not None)


def _read_target(name: str, table: object, where: str) -> Target | None:
    if not isinstance(table, Mapping) or "type" not in table:
        return _parse_target(name, table, where)
    kind = _OF_WORKBENCH.get(str(table["type"]).lower())
    if kind is None:
        return None
    return Target(name=name, backend=kind[0], engine=kind[1], limits=Limits(gpus="all" if table.get("gpus") is True else None))


def _parse_target(name: str, table: object, where: str) -> Target:
    if not _NAME.fullmatch(name):
        raise DeclarationError(f"{name!r} cannot be the name of a target", where=where, hint="letters, digits, and - _ . inside")
    if not isinstance(table, Mapping):
        raise DeclarationError("not a table", where=where, hint=f"[targets.{name}]")
    is_azure = table.get("backend") == BackendKind.AZURE_BATCH.value
    check_known(table, (*_KEYS, *AZURE_KEYS) if is_azure else _KEYS, where)
    engine = _parse_engine(table.get("engine"), where, slurm=table.get("backend") == BackendKind.SLURM.value)
    target = Target(
        name=name,
        backend=_parse_backend(table.get("backend"), engine, where),
        engine=engine,
        limits=parse_limits({key: table.get(key) for key in ("cpus", "memory", "gpus", "time")}, where),
        env=parse_variables(table.get("env", {}), f"{where}.env"),
        data=parse_data(table["data"], f"{where}.data") if "data" in table else None,
        network=_parse_network(table.get("network"), f"{where}.network"),
        engine_args=_parse_engine_args(table.get("engine-args", []), f"{where}.engine-args"),
        azure=parse_azure(table, where) if is_azure else None,
        address=_parse_address(table.get("address"), f"{where}.address"),
    )
    _refuse_engine_args(target, f"{where}.engine-args")
    if target.address and target.backend is not BackendKind.RAY:
        raise DeclarationError(f"{target.backend.value} has no address", where=f"{where}.address", hint='backend = "ray"')
    if target.backend is BackendKind.LOCAL and (target.engine or target.network):
        raise DeclarationError("a local job has no engine and no network of its own", where=where, hint='backend = "container"')
    return target


def add_engine_args(target: Target, text: str, where: str) -> Target:
    """The target with words of a command line after its own, split as a shell would."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise DeclarationError(f"{text!r}: {error}", where=where, hint=f"{where} '--partition=gpu --gres=gpu:1'") from error
    added = replace(target, engine_args=(*target.engine_args, *words))
    _refuse_engine_args(added, where)
    return added


def _refuse_engine_args(target: Target, where: str) -> None:
    if target.engine_args and target.backend is not BackendKind.SLURM:
        raise DeclarationError(f"{target.backend.value} takes no such arguments", where=where, hint='backend = "slurm"')


def _parse_engine_args(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
        raise DeclarationError("not a list of words", where=where, hint='["--partition=gpu", "--gres=gpu:1"]')
    return tuple(value)


def _parse_address(value: object, where: str) -> str | None:
    if value is not None and not (isinstance(value, str) and _ADDRESS.fullmatch(value)):
        raise DeclarationError(f"{value!r} is no address of Ray", where=where, hint='"head.cluster:6379", or "auto" on a node')
    return value


def check_known(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """An error for a key that is not known, with the nearest one that is."""
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.6)
            hint = f"{near[0]} instead of {key}" if near else f"one of {', '.join(known)}"
            raise DeclarationError(f"unknown key {key!r}", where=where, hint=hint)


def _parse_engine(value: object, where: str, *, slurm: bool) -> str | None:
    if value in _ON_NODES and not slurm:
        what = f"{value!r} is an engine of Slurm's nodes"
        raise DeclarationError(what, where=f"{where}.engine", hint=f'backend = "slurm", or one of {", ".join(_ENGINES)}')
    if value is not None and value not in (*_ENGINES, *_ON_NODES):
        raise DeclarationError(f"jobs do not run in {value!r}", where=f"{where}.engine", hint=", ".join(_ENGINES))
    return str(value) if value is not None else None


def _parse_backend(value: object, engine: str | None, where: str) -> BackendKind:
    kinds = [kind.value for kind in BackendKind]
    if value is None and engine is not None:
        return BackendKind.CONTAINER
    if value not in kinds:
        what = "which backend?" if value is None else f"no backend {value!r}"
        raise DeclarationError(what, where=f"{where}.backend", hint=" or ".join(f'backend = "{kind}"' for kind in kinds))
    return BackendKind(value)


def parse_limits(table: Mapping[str, object], where: str, dot: str = ".") -> Limits:
    """Limits as they are written: ``cpus = 1.5``, ``memory = "4GiB"``, ``gpus = "all"`` or a number, ``time = "1h30m"``."""
    return Limits(
        cpus=_parse_cpus(table.get("cpus"), f"{where}{dot}cpus"),
        memory=_parse_memory(table.get("memory"), f"{where}{dot}memory"),
        gpus=_parse_gpus(table.get("gpus"), f"{where}{dot}gpus"),
        seconds=parse_time(table.get("time"), f"{where}{dot}time"),
    )


def _parse_cpus(value: object, where: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except ValueError:
        number = 0.0
    if not 0.01 <= number <= 4096:
        raise DeclarationError(f"{value!r} is no number of processors", where=where, hint="such as 2 or 0.5")
    return number


def _parse_memory(value: object, where: str) -> int | None:
    if value is None:
        return None
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    size = int(float(found[1]) * 1024 ** " kmgt".index(found[2].lower() or " ")) if found else 0
    if size < _LEAST_MEMORY:
        raise DeclarationError(f"{value!r} is no amount of memory", where=where, hint='such as "4GiB"; at least 16MiB')
    return size


def _parse_gpus(value: object, where: str) -> str | None:
    if value is None:
        return None
    text = str(value)
    if isinstance(value, bool) or not (text == "all" or (text.isdecimal() and 0 < int(text) <= 64)):
        raise DeclarationError(f"{value!r} is no number of GPUs", where=where, hint='a number, or "all"')
    return text


def parse_time(value: object, where: str) -> float | None:
    """A length of time in seconds: ``"1h30m"``, ``"2d"``, or a number."""
    if value is None:
        return None
    text = value.strip() if isinstance(value, str) else ""
    found = _TIME.fullmatch(f"{text}s" if text.isdecimal() else text)
    if isinstance(value, str) and found:
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        total = float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    else:
        total = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
    if not 0 < total <= 366 * 86400:
        raise DeclarationError(f"{value!r} is no length of time", where=where, hint='such as "90m", "1h30m" or "2d"')
    return total


def parse_variables(table: object, where: str) -> tuple[tuple[str, str], ...]:
    """Variables for jobs: names and texts or whole numbers."""
    if not isinstance(table, Mapping):
        raise DeclarationError("not a table", where=where, hint='{ NAME = "value" }')
    for key, value in table.items():
        if not _VARIABLE.fullmatch(key) or key.startswith("WHERRY_"):
            raise DeclarationError(f"{key!r} is not the name of a variable of yours", where=where)
        if _CREDENTIAL.fullmatch(key.upper()):
            hint = f"set {key} where the tasks run: what is written here goes into records, states and command lines"
            raise DeclarationError(f"{key} is a credential's name, and none belongs into a file", where=where, hint=hint)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise DeclarationError(f"the value of {key} is no text", where=where, hint=f'{key} = "1"')
    return tuple(sorted((key, str(value)) for key, value in table.items()))


def parse_data(value: object, where: str) -> tuple[DataFolder, ...]:
    """Folders of the project: ``"data"`` to read, ``"data:rw"`` to write too."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DeclarationError("not a list of folders", where=where, hint='data = ["data", "scratch:rw"]')
    found = []
    for text in value:
        path, _, mode = text.partition(":")
        if mode not in ("", "ro", "rw"):
            raise DeclarationError(f"unknown mode {mode!r}", where=where, hint=f'"{path}:rw", or "{path}" to read only')
        found.append(DataFolder(path=relative_path(path, where), writable=mode == "rw"))
    return tuple(found)


def _parse_network(value: object, where: str) -> str | None:
    if value is not None and (not isinstance(value, str) or not value or value.startswith("-")):
        raise DeclarationError(f"{value!r} is no network", where=where, hint='"none", "host", or one of the engine')
    return value
