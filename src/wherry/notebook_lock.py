"""What JupyterLab is made of beside a project's packages: `wherry.lock.notebook`, locked apart and never in the project's image.

It has the grammar of `wherry.lock`: per platform the wheels, and the layers that they give an image which has the project's below.
Rules: a distribution that the project has is the project's, in its version, and is not brought again; packages of the project's
that JupyterLab cannot live with are refused. The file stands while the project's packages stay, and keeps what still fits else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from packaging.requirements import Requirement as Pep508
from packaging.utils import canonicalize_name

from wherry.bases import open_bases
from wherry.errors import LockError
from wherry.lock.conda_names import list_distributions
from wherry.lock.provided import Provided, constrain_to_provided, keep_besides, without_provided
from wherry.lock.resolution import glibc_of
from wherry.lock.storage import read_lock, write_lock
from wherry.lock.target import WheelTarget
from wherry.lock.wheels import LockOptions, lock_wheels
from wherry.model.declaration import Bytecode, Environment, EnvironmentKind, Requirement
from wherry.model.digest import Digest
from wherry.model.lock import LayerKind, Lock, LockedLayer, LockedWheel, PlatformLock, packages_digest
from wherry.pipeline import LockedProject, Project
from wherry.sources.package_sources import PackageSources

NOTEBOOK_LOCK = "wherry.lock.notebook"
TOOLS = ("jupyterlab>=4", "ipykernel>=6")
_HEAD = "# JupyterLab beside the packages of wherry.lock. Written by `wherry notebook`; never part of the project's image.\n"
_LAYER = "wheels-notebook"


def lock_notebook(project: Project, locked: LockedProject, tools: Sequence[str] = ()) -> Lock:
    """The lock of the notebook's wheels for every platform of the project's lock; made or changed where it does not answer it.

    `tools` are distributions besides JupyterLab, by name: one that was asked for once stays.
    """
    former = read_lock(project.root, NOTEBOOK_LOCK)
    tools = tuple(sorted({*tools, *_list_tools(former)}))
    digest = _digest_of(locked, tools)
    if former is not None and former.declaration == digest:
        return former
    resolve = partial(_resolve, project, locked, (*TOOLS, *tools), former)
    lock = Lock(declaration=digest, platforms=tuple(map(resolve, locked.value.platforms)))
    if keep_notebook_lock(project, lock):
        project.say(f"wrote {project.root / NOTEBOOK_LOCK}")
    return lock


def is_notebook_layer(layer: LockedLayer) -> bool:
    """Whether a layer of an image is the notebook's; all others are the project's."""
    return layer.name.removeprefix("bytecode-") == _LAYER


def keep_notebook_lock(project: Project, lock: Lock) -> bool:
    """Write it; False where the file says that already."""
    return write_lock(project.root, lock, NOTEBOOK_LOCK, _HEAD)


def _list_tools(former: Lock | None) -> Iterable[str]:
    usual = {Pep508(text).name for text in TOOLS}
    wheels = former.platforms[0].wheels if former is not None and former.platforms else ()
    return (wheel.name for wheel in wheels if wheel.requested and wheel.name not in usual)


def _digest_of(locked: LockedProject, tools: Sequence[str]) -> Digest:
    """Of all that the lock answers: what is asked for, and beside what."""
    lines = [*TOOLS, *tools, locked.declaration.bytecode.value]
    lines += [f"{one.platform} {one.interpreter.version} {packages_digest(one)}" for one in locked.value.platforms]
    return Digest.of("\n".join(lines).encode())


def _resolve(
    project: Project, locked: LockedProject, tools: Sequence[str], former: Lock | None, beside: PlatformLock
) -> PlatformLock:
    known = next((one for one in former.platforms if one.platform == beside.platform), None) if former is not None else None
    wheels = _resolve_wheels(project, locked, tools, known, beside)
    return PlatformLock(
        platform=beside.platform,
        base=None,
        interpreter=beside.interpreter,
        debs=(),
        wheels=wheels,
        layers=_plan_layers(wheels, locked.declaration.bytecode),
    )


def _resolve_wheels(
    project: Project, locked: LockedProject, tools: Sequence[str], known: PlatformLock | None, beside: PlatformLock
) -> tuple[LockedWheel, ...]:
    declared, offline = locked.declaration, locked.wishes.offline
    wanted = tuple(Requirement(text=text, name=canonicalize_name(Pep508(text).name)) for text in tools)
    indexes = declared.environment.indexes
    asking = replace(declared, environment=Environment(kind=EnvironmentKind.REQUIREMENTS, requirements=wanted, indexes=indexes))
    provided = Provided(stand=list_distributions(beside.records) | {wheel.name: wheel.version for wheel in beside.wheels})
    sources = PackageSources(declared.root, indexes, project.env, project.cache, offline=offline)
    target = WheelTarget(platform=beside.platform, glibc=_find_glibc(project, locked, beside), python=beside.interpreter.version)
    options = LockOptions(offline=offline)
    try:
        with constrain_to_provided(asking, provided) as request:
            wheels = lock_wheels(request, target, sources, keep=keep_besides(known, provided), options=options)
    except LockError as error:
        raise LockError(f"JupyterLab does not go together with the project's packages: {error.what}", hint=error.hint) from error
    return without_provided(wheels, provided)


def _find_glibc(project: Project, locked: LockedProject, beside: PlatformLock) -> tuple[int, int]:
    """The base's: a wheel for a newer one does not run in the image."""
    found = glibc_of(beside.debs)
    if found is not None:
        return found
    declared, offline = locked.declaration, locked.wishes.offline
    with open_bases(declared, project.env, project.store, project.cache, False, offline, project.progress) as bases:
        return bases.lock_base(beside.platform, beside).glibc


def _plan_layers(wheels: Sequence[LockedWheel], bytecode: Bytecode) -> tuple[LockedLayer, ...]:
    """One layer, and its bytecode where the project's packages have theirs."""
    if not wheels:
        return ()
    members = tuple(f"{wheel.name} {wheel.version}" for wheel in wheels)
    layers = (LockedLayer(name=_LAYER, kind=LayerKind.WHEELS, members=members),)
    if bytecode is not Bytecode.LAYER:
        return layers
    return (*layers, LockedLayer(name=f"bytecode-{_LAYER}", kind=LayerKind.BYTECODE, members=members))
