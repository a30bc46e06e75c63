"""Environments on this machine from the same lock as the image: what `wherry env create` composes.

The lock's packages for the host's platform, laid out by the very plan that the image's layers are written by, so that each
file of a wheel's own RECORD, and of a record's list, is the same here and there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from wherry.assemble.inputs import fetch_wheels
from wherry.assemble.packages import CondaSource, open_packages
from wherry.assemble.wheels import PlannedWheels, plan_wheels
from wherry.errors import UsageError, WherryError
from wherry.formats.lockfile import parse_lock
from wherry.model.declaration import Declaration
from wherry.model.digest import Digest
from wherry.model.layout import EnvironmentLayout, environment_layout
from wherry.model.lock import LockedWheel, PlatformLock, packages_digest
from wherry.model.platform import Platform
from wherry.model.progress import Progress
from wherry.run.activation import environment_values, localise_variables
from wherry.run.conda_prefix import fill_prefix, plan_record
from wherry.run.environments import (
    EnvironmentRecord,
    FoundEnvironment,
    create_environment,
    find_place,
    hide_from_git,
    list_environments,
    project_place,
    refuse_others,
    tell_python,
)
from wherry.run.interpreters import find_python, probe_python, require_glibc
from wherry.run.kept_layouts import Keeping, Layout, keep_layout
from wherry.run.kernels import kernel_place, register_kernel
from wherry.run.local_python import LocalPython
from wherry.run.package_trees import PackageTrees, PlannedPackage, open_trees
from wherry.run.virtual_environment import fill_environment, own_python
from wherry.sources.artefacts import ArtefactFinder
from wherry.sources.staged_records import stage_records
from wherry.store.host import read_host_glibc
from wherry.store.places import environments_path

_LOCKFILE = "wherry.lock"
# A Python that is brought along: its folder, and its program in there.
BringPython = Callable[[], tuple[Path, Path]]
Fill = Callable[[Path], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentWish:
    """`name`: one of the user's own environments instead of the project's. `python`: the program to build it around."""

    name: str | None = None
    python: str | None = None
    copy: bool = False
    kernel: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSources:
    """Where an environment's parts come from. `bring_python` gives the locked Python where that can be had unpacked."""

    finder: ArtefactFinder
    conda: CondaSource
    bring_python: BringPython | None = None


def make_environment(
    declared: Declaration,
    locked: PlatformLock,
    wish: EnvironmentWish,
    sources: EnvironmentSources,
    env: Mapping[str, str],
    cache: Path,
    progress: Progress,
    say: Callable[[str], None],
    keeping: Keeping | None = None,
) -> FoundEnvironment:
    """Make the environment, or make it anew; `locked` is the lock of this machine's platform.

    With `keeping` its layout is kept for the next time, unless something is wished of it.
    """
    prefix = find_place(declared.root, wish.name, env)
    refuse_others(prefix, declared.root)
    name = wish.name or declared.name
    kernel = _plan_kernel(locked, name, prefix, env) if wish.kernel else None
    if wish.name is None:
        hide_from_git(prefix.parent)
    place = _Place(prefix, wish, env, cache, progress)
    with (_plan_conda if _is_conda(locked) else _plan_venv)(locked, place, sources) as plan:
        record = _describe(declared, locked, plan.python, name, prefix, kernel)
        for note in (*plan.notes, *tell_python(record)):
            say(note)
        create_environment(prefix, record, plan.fill)
    if keeping is not None and plan.layout is not None and wish == EnvironmentWish(name=wish.name):
        keep_layout(plan.layout, record, keeping, wish.name, env, cache)
    if kernel is not None:
        register_kernel(kernel, name, prefix, environment_values(prefix, record.variables, conda=record.conda))
    return FoundEnvironment(prefix=prefix, record=record, state="ok")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an environment is made, and how."""

    prefix: Path
    wish: EnvironmentWish
    env: Mapping[str, str]
    cache: Path
    progress: Progress

    def open_trees(self, minor: str) -> AbstractContextManager[PackageTrees]:
        return open_trees(self.cache, minor, copy=self.wish.copy)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What `fill` lays out, and what there is to tell of it; `layout` where the trees alone can tell it again."""

    python: LocalPython
    fill: Fill
    notes: tuple[str, ...]
    layout: Layout | None = None


@contextmanager
def _plan_venv(locked: PlatformLock, place: _Place, sources: EnvironmentSources) -> Iterator[_Plan]:
    python, brought = _find_python(locked, place, sources.bring_python)
    require_glibc(python, [wheel.file for wheel in locked.wheels])
    layout = EnvironmentLayout(prefix=str(place.prefix).lstrip("/"), minor=python.minor)
    with ExitStack() as stack:
        paths = sources.finder.fetch_all(locked.wheels)
        planned = plan_wheels(zip(locked.wheels, paths, strict=True), layout, stack)
        notes = tuple(
            f"{clash.path} is in {clash.kept} and in {clash.dropped}: that of {clash.kept} is in the environment"
            for clash in planned.clashes
        )
        wheels = tuple(plan_package(wheel, planned, layout) for wheel in locked.wheels)
        trees = stack.enter_context(place.open_trees(python.minor))
        fill = partial(fill_environment, python=python, brought=brought, wheels=wheels, trees=trees, progress=place.progress)
        kept = Layout(packages=wheels, notes=notes) if brought is None else None
        yield _Plan(python=python, fill=fill, notes=notes, layout=kept)


@contextmanager
def _plan_conda(locked: PlatformLock, place: _Place, sources: EnvironmentSources) -> Iterator[_Plan]:
    """Conda's Python lies in the prefix itself."""
    if place.wish.python is not None:
        raise UsageError("Python is one of the environment's packages", where="--python", hint="leave it away")
    executable = f"{place.prefix}/bin/python{locked.interpreter.minor}"
    python = LocalPython(executable=executable, version=locked.interpreter.version, glibc=read_host_glibc())
    require_glibc(python, [wheel.file for wheel in locked.wheels])
    here = replace(locked, interpreter=replace(locked.interpreter, path=executable))
    layout = environment_layout(here.interpreter)
    with ExitStack() as stack:
        opened = open_packages(here, here.layers, partial(fetch_wheels, sources.finder), sources.conda.fetch, stack)
        archives = [(record, opened.archives[record.name]) for record in here.records]
        staging = stage_records(archives, python=f"{layout.minor}.0", prefix=layout.prefix, folder=place.cache)
        staged = stack.enter_context(staging)
        packages = [plan_package(wheel, opened.wheels, layout) for wheel in here.wheels]
        packages += [plan_record(one, layout.prefix, opened.records.kept[name]) for name, one in staged.items()]
        trees = stack.enter_context(place.open_trees(layout.minor))
        fill = partial(fill_prefix, packages=packages, trees=trees, progress=place.progress)
        yield _Plan(python=python, fill=fill, notes=tuple(opened.list_notes()))


def _is_conda(locked: PlatformLock) -> bool:
    return environment_layout(locked.interpreter).is_conda


def _find_python(locked: PlatformLock, place: _Place, bring_python: BringPython | None) -> tuple[LocalPython, Path | None]:
    """The Python to build around, and where it lies if it has to be brought along."""
    if bring_python is None:
        return find_python(locked.interpreter.version, place.env, place.wish.python), None
    if place.wish.python is not None:
        raise UsageError("the lock brings a Python of its own", where="--python", hint="leave it away")
    brought, program = bring_python()
    return own_python(place.prefix, brought, probe_python(program)), brought


def survey_environments(root: Path | None, env: Mapping[str, str], platform: Platform) -> tuple[FoundEnvironment, ...]:
    """All environments that are known here: that of the project at `root`, and the named ones."""

    def digest_of(record: EnvironmentRecord) -> Digest | None:
        try:
            text = (Path(record.project) / _LOCKFILE).read_text(encoding="utf-8")
            return packages_digest(parse_lock(text).for_platform(platform))
        except (OSError, ValueError, WherryError):
            return None

    return tuple(list_environments(root.absolute() if root else None, environments_path(env), digest_of))


def find_ready(declared: Declaration, locked: PlatformLock, env: Mapping[str, str]) -> FoundEnvironment | None:
    """The project's own environment, if it is whole and made from this lock, for these variables."""
    prefix, digest = project_place(declared.root), packages_digest(locked)
    variables = localise_variables(dict(declared.env), declared.workdir, declared.root)
    for found in list_environments(declared.root, environments_path(env), lambda _record: digest):
        if found.prefix == prefix and found.state == "ok" and found.record.variables == variables:
            return found
    return None


def _plan_kernel(locked: PlatformLock, name: str, prefix: Path, env: Mapping[str, str]) -> Path:
    names = {wheel.name for wheel in locked.wheels} | {record.name for record in locked.records}
    if "ipykernel" not in names:
        raise UsageError(
            "a kernel needs ipykernel, and it is not locked", where="--kernel", hint="add ipykernel to the requirements"
        )
    return kernel_place(env, name, prefix)


def _describe(
    declared: Declaration, locked: PlatformLock, python: LocalPython, name: str, prefix: Path, kernel: Path | None
) -> EnvironmentRecord:
    return EnvironmentRecord(
        name=name,
        place=str(prefix),
        project=str(declared.root),
        platform=str(locked.platform),
        lock=str(packages_digest(locked)),
        python=python.version,
        locked_python=locked.interpreter.version,
        executable=python.executable,
        variables=localise_variables(dict(declared.env), declared.workdir, declared.root),
        kernel=str(kernel) if kernel else None,
        conda=_is_conda(locked),
    )


def plan_package(wheel: LockedWheel, planned: PlannedWheels, layout: EnvironmentLayout) -> PlannedPackage:
    """A wheel below a prefix. What is read from it is its own; what was made when it was planned names this environment."""
    start = len(layout.prefix) + 1
    entries = [replace(entry, path=entry.path[start:]) for entry in planned.layouts[wheel.name].entries]
    return PlannedPackage(
        sha256=wheel.sha256,
        own=tuple(entry for entry in entries if not isinstance(entry.content, bytes)),
        generated=tuple(entry for entry in entries if isinstance(entry.content, bytes)),
        dropped=frozenset(path[start:] for path in planned.dropped[wheel.name]),
    )
