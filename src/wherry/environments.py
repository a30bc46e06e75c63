"""Environments on this machine from the same lock as the image: what `wherry env create` composes.

The lock's wheels for the host's platform, laid out by the very plan that the image's layers are written by, so that each
file of a wheel's own RECORD is the same here and there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from wherry.assemble.wheels import PlannedWheels, plan_wheels
from wherry.errors import StoreError, UsageError, WherryError
from wherry.formats.lockfile import parse_lock
from wherry.formats.tar import TarEntry
from wherry.model.declaration import Declaration
from wherry.model.digest import Digest
from wherry.model.layout import EnvironmentLayout
from wherry.model.lock import LockedWheel, PlatformLock, packages_digest
from wherry.model.platform import Platform
from wherry.model.progress import Progress
from wherry.run.activation import environment_values, localise_variables
from wherry.run.environments import (
    EnvironmentRecord,
    FoundEnvironment,
    create_environment,
    list_environments,
    named_place,
    own_python,
    project_place,
    refuse_strangers,
)
from wherry.run.interpreters import LocalPython, find_python, probe_python, require_glibc
from wherry.run.kernels import kernel_place, register_kernel
from wherry.run.wheel_trees import PlannedWheel, open_trees
from wherry.sources.artefacts import ArtefactFinder
from wherry.store.places import environments_path

_LOCKFILE = "wherry.lock"

# A Python that is brought along: its folder, and its program in there.
BringPython = Callable[[], tuple[Path, Path]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentWish:
    """`name`: one of the user's own environments instead of the project's. `python`: the program to build it around."""

    name: str | None = None
    python: str | None = None
    copy: bool = False
    kernel: bool = False


def find_place(root: Path, name: str | None, env: Mapping[str, str]) -> Path:
    """Where an environment lies: the project's own, or the one of this name."""
    return project_place(root.absolute()) if name is None else named_place(environments_path(env), name)


def make_environment(
    declared: Declaration,
    locked: PlatformLock,
    wish: EnvironmentWish,
    finder: ArtefactFinder,
    env: Mapping[str, str],
    cache: Path,
    progress: Progress,
    say: Callable[[str], None],
    bring_python: BringPython | None = None,
) -> FoundEnvironment:
    """Make the environment, or make it anew; `locked` is the lock of this machine's platform.

    `bring_python` gives the locked Python where it is one that can be had here, unpacked.
    """
    prefix = find_place(declared.root, wish.name, env)
    refuse_strangers(prefix)
    name = wish.name or declared.name
    kernel = _plan_kernel(locked, name, prefix, env) if wish.kernel else None
    python, brought = _find_python(locked, wish, prefix, env, bring_python)
    require_glibc(python, [wheel.file for wheel in locked.wheels])
    if python.version != locked.interpreter.version:
        say(f"Python {python.version} here, {locked.interpreter.version} in the image: only the minor version is the same")
    record = _describe(declared, locked, python, name, kernel)
    if wish.name is None:
        _hide_from_git(prefix.parent)
    paths = finder.fetch_all(locked.wheels)
    with ExitStack() as stack:
        layout = EnvironmentLayout(prefix=str(prefix).lstrip("/"), minor=python.minor)
        planned = plan_wheels(zip(locked.wheels, paths, strict=True), layout, stack)
        for clash in planned.clashes:
            say(f"{clash.path} is in {clash.kept} and in {clash.dropped}: that of {clash.kept} is in the environment")
        trees = stack.enter_context(open_trees(cache, python.minor, copy=wish.copy))
        wheels = [_plan_wheel(wheel, planned, layout) for wheel in locked.wheels]
        create_environment(prefix, record, python, wheels, trees, progress, brought)
    if kernel is not None:
        register_kernel(kernel, name, prefix, environment_values(prefix, record.variables))
    return FoundEnvironment(prefix=prefix, record=record, state="ok")


def _find_python(
    locked: PlatformLock, wish: EnvironmentWish, prefix: Path, env: Mapping[str, str], bring_python: BringPython | None
) -> tuple[LocalPython, Path | None]:
    """The Python to build around, and where it lies if it has to be brought along."""
    if bring_python is None:
        return find_python(locked.interpreter.version, env, wish.python), None
    if wish.python is not None:
        raise UsageError("the lock brings a Python of its own", where="--python", hint="leave it away")
    brought, program = bring_python()
    return own_python(prefix, brought, probe_python(program)), brought


def survey_environments(root: Path | None, env: Mapping[str, str], platform: Platform) -> tuple[FoundEnvironment, ...]:
    """All environments that are known here: that of the project at `root`, and the named ones."""

    def digest_of(record: EnvironmentRecord) -> Digest | None:
        try:
            text = (Path(record.project) / _LOCKFILE).read_text(encoding="utf-8")
            return packages_digest(parse_lock(text).for_platform(platform))
        except (OSError, ValueError, WherryError):
            return None

    return tuple(list_environments(root.absolute() if root else None, environments_path(env), digest_of))


def _plan_kernel(locked: PlatformLock, name: str, prefix: Path, env: Mapping[str, str]) -> Path:
    names = {wheel.name for wheel in locked.wheels} | {record.name for record in locked.records}
    if "ipykernel" not in names:
        raise UsageError(
            "a kernel needs ipykernel, and it is not locked", where="--kernel", hint="add ipykernel to the requirements"
        )
    return kernel_place(env, name, prefix)


def _describe(
    declared: Declaration, locked: PlatformLock, python: LocalPython, name: str, kernel: Path | None
) -> EnvironmentRecord:
    return EnvironmentRecord(
        name=name,
        project=str(declared.root),
        platform=str(locked.platform),
        lock=str(packages_digest(locked)),
        python=python.version,
        locked_python=locked.interpreter.version,
        executable=python.executable,
        variables=localise_variables(dict(declared.env), declared.workdir, declared.root),
        kernel=str(kernel) if kernel else None,
    )


def _plan_wheel(wheel: LockedWheel, planned: PlannedWheels, layout: EnvironmentLayout) -> PlannedWheel:
    """A file that is read from the wheel is its own; what was made when it was planned names this environment."""
    start = len(layout.prefix) + 1
    entries = [_below(entry, start) for entry in planned.layouts[wheel.name].entries]
    return PlannedWheel(
        wheel=wheel,
        own=tuple(entry for entry in entries if not isinstance(entry.content, bytes)),
        generated=tuple(entry for entry in entries if isinstance(entry.content, bytes)),
        dropped=frozenset(path[start:] for path in planned.dropped[wheel.name]),
    )


def _below(entry: TarEntry, start: int) -> TarEntry:
    return TarEntry(
        path=entry.path[start:], kind=entry.kind, mode=entry.mode, size=entry.size, link=entry.link, content=entry.content
    )


def _hide_from_git(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / ".gitignore").exists():
            (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"cannot be written: {error.strerror}", where=str(folder), hint="--name NAME, outside of the project"
        ) from error
