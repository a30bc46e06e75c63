"""What wherry itself needs in an environment that another tool has resolved: found beside its packages, which stand as they are."""

from __future__ import annotations

from dataclasses import replace

from wherry.lock.conda_names import list_distributions
from wherry.lock.provided import constrain_to_provided, divide_provided, without_provided
from wherry.lock.target import WheelTarget
from wherry.lock.wheels import LockOptions, lock_wheels
from wherry.model.declaration import Declaration, Environment, EnvironmentKind, Requirement
from wherry.model.lock import LockedRecord, LockedWheel, PlatformLock
from wherry.sources.package_sources import PackageSources

# In these what is asked for besides is resolved with all the rest.
_TOGETHER = (EnvironmentKind.REQUIREMENTS, EnvironmentKind.PYPROJECT, EnvironmentKind.CONDA, EnvironmentKind.EMPTY)


def lock_besides(
    declaration: Declaration,
    wheels: tuple[LockedWheel, ...],
    records: tuple[LockedRecord, ...],
    target: WheelTarget,
    sources: PackageSources,
    *,
    keep: PlatformLock | None,
    options: LockOptions,
) -> tuple[LockedWheel, ...]:
    """The wheels, and those that are needed besides, sorted by name."""
    environment = declaration.environment
    if not environment.besides or environment.kind in _TOGETHER:
        return wheels
    alone = Environment(
        kind=EnvironmentKind.REQUIREMENTS,
        files=environment.files,
        constraints=tuple(Requirement(text=f"{wheel.name}=={wheel.version}", name=wheel.name) for wheel in wheels),
        indexes=environment.indexes,
        besides=environment.besides,
    )
    provided = divide_provided(list_distributions(records), environment.besides, target)
    with constrain_to_provided(replace(declaration, environment=alone), provided) as asked:
        found = lock_wheels(asked, target, sources, keep=keep, options=options)
    there = {wheel.name for wheel in wheels}
    more = [wheel for wheel in without_provided(found, provided) if wheel.name not in there]
    return tuple(sorted((*wheels, *more), key=lambda wheel: wheel.name))
