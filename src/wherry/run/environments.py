"""Environments on this machine, made from a lock: laid out whole beside their place, then renamed to it.

An environment is a virtual one (`virtual_environment`) or a prefix of conda's (`conda_prefix`), and knows what it was made
from: `wherry.json` at its prefix names the project, the digest of the locked packages and the kernel that goes with it.
Rules: nothing of a package runs; a folder that wherry did not make is neither replaced nor removed.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from wherry.errors import StoreError, UsageError
from wherry.model.digest import Digest
from wherry.run.activation import render_hook
from wherry.store.folders import replace_folder
from wherry.store.places import environments_path
from wherry.store.posix import explain_os_errors

RECORD = "wherry.json"
SCHEMA = 1
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_MAKE_ROOM = "free some space"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRecord:
    """What an environment says of itself. `lock` is the digest of the locked packages of `platform` (`packages_digest`).

    `place` is its prefix, which stands in its scripts: it works nowhere else.
    """

    name: str
    place: str
    project: str
    platform: str
    lock: str
    python: str  # full version of the one that runs it
    locked_python: str
    executable: str
    variables: Mapping[str, str]
    kernel: str | None = None
    conda: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEnvironment:
    """An environment that is there, and its state: ``ok``, ``stale`` (locked anew since), ``no lock``, ``moved`` or ``broken``."""

    prefix: Path
    record: EnvironmentRecord
    state: str


def project_place(root: Path) -> Path:
    """Where a project's own environment lies."""
    return root / ".wherry" / "env"


def named_place(folder: Path, name: str) -> Path:
    """Where the environment of this name lies."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be the name of an environment", where="NAME", hint="letters, digits, and - _ . inside")
    return folder / name


def find_place(root: Path, name: str | None, env: Mapping[str, str]) -> Path:
    """Where an environment lies: the project's own, or the one of this name."""
    return project_place(root.absolute()) if name is None else named_place(environments_path(env), name)


def hide_from_git(folder: Path) -> None:
    """Make a project's folder of environments, of which git knows nothing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / ".gitignore").exists():
            (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"cannot be written: {error.strerror}", where=str(folder), hint="wherry env create NAME: it lies outside of the project"
        ) from error


def create_environment(prefix: Path, record: EnvironmentRecord, fill: Callable[[Path], None]) -> None:
    """Make an environment at `prefix`, or make it anew; `fill` lays it out in the folder that it is given.

    On an error what was there before stays.
    """
    refuse_strangers(prefix)
    with explain_os_errors(prefix, _MAKE_ROOM), replace_folder(prefix) as making:
        fill(making)
        write_activation(making, prefix, record)
        write_record(making, record)


def tell_python(record: EnvironmentRecord) -> tuple[str, ...]:
    """What there is to tell of the Python that an environment is made around."""
    if record.python == record.locked_python:
        return ()
    return (f"Python {record.python} here, {record.locked_python} in the image: only the minor version is the same",)


def refuse_others(prefix: Path, project: Path) -> None:
    """What lies at an environment's place must be one of this project's, or nothing."""
    refuse_strangers(prefix)
    record = read_record(prefix)
    if record is not None and record.place == str(prefix) and record.project != str(project):
        what = f"the environment {record.name} is that of {record.project}"
        raise UsageError(what, where=str(prefix), hint=f"another name, or first: wherry env remove {record.name}")


def refuse_strangers(prefix: Path) -> None:
    """What lies at an environment's place must be one of ours, or nothing."""
    if (prefix.exists() or prefix.is_symlink()) and not (prefix / RECORD).is_file():
        raise UsageError("there is something that wherry did not make", where=str(prefix), hint="remove it, or give a NAME")


def write_activation(making: Path, prefix: Path, record: EnvironmentRecord) -> None:
    """What editors and people source; `wherry env hook` prints the same."""
    for shell, file in (("sh", "activate"), ("fish", "activate.fish")):
        text = render_hook(shell, prefix, record.name, record.variables, conda=record.conda)
        (making / "bin" / file).write_text(text, encoding="utf-8")


def write_record(folder: Path, record: EnvironmentRecord) -> None:
    (folder / RECORD).write_text(json.dumps({"schema": SCHEMA, **asdict(record)}, indent=2) + "\n", encoding="utf-8")


def read_record(prefix: Path) -> EnvironmentRecord | None:
    """What the environment at `prefix` says of itself; None where there is none, or none that this version knows."""
    try:
        value = json.loads((prefix / RECORD).read_text(encoding="utf-8"))
        return EnvironmentRecord(**value) if value.pop("schema") == SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def list_names(named: Path) -> tuple[str, ...]:
    """The names of the environments that have one, sorted."""
    places = named.iterdir() if named.is_dir() else ()
    return tuple(sorted(place.name for place in places if not place.name.startswith(".")))


def list_environments(
    project: Path | None, named: Path, digest_of: Callable[[EnvironmentRecord], Digest | None]
) -> Iterator[FoundEnvironment]:
    """The project's own environment, then those that have a name, sorted. `digest_of` tells what a project has locked now."""
    places = [project_place(project)] if project is not None else []
    places += [named / name for name in list_names(named)]
    for prefix in places:
        record = read_record(prefix)
        if record is not None:
            yield FoundEnvironment(prefix=prefix, record=record, state=_tell_state(prefix, record, digest_of(record)))


def find_environment(prefix: Path) -> EnvironmentRecord:
    """The environment at `prefix`, or an error that says how to make it."""
    record = read_record(prefix)
    if record is None:
        raise StoreError("there is no environment of wherry's", where=str(prefix), hint="wherry env create")
    return record


def require_place(prefix: Path) -> EnvironmentRecord:
    """The environment at `prefix`, fit to be stepped into: one that was moved still names the place that it was made for."""
    record = find_environment(prefix)
    if record.place != str(prefix):
        raise StoreError(f"was made for {record.place}, and works only there", where=str(prefix), hint="wherry env create")
    return record


def remove_environment(prefix: Path) -> EnvironmentRecord:
    """Remove an environment that wherry made, and its kernel."""
    record = find_environment(prefix)
    with explain_os_errors(prefix):
        with replace_folder(prefix) as gone:
            write_record(gone, record)  # still ours, should the next step not be reached
        shutil.rmtree(prefix)
        if record.kernel is not None and names_prefix(Path(record.kernel), prefix):
            shutil.rmtree(record.kernel, ignore_errors=True)
    return record


def names_prefix(kernel: Path, prefix: Path) -> bool:
    """Whether a kernel's folder starts this environment's Python."""
    try:
        return bool(json.loads((kernel / "kernel.json").read_text(encoding="utf-8"))["argv"][0] == f"{prefix}/bin/python")
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return False


def _tell_state(prefix: Path, record: EnvironmentRecord, digest: Digest | None) -> str:
    if record.place != str(prefix):
        return "moved"
    if not (prefix / "bin/python").exists():
        return "broken"
    if digest is None:
        return "no lock"
    return "ok" if str(digest) == record.lock else "stale"
