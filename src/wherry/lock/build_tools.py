"""The tools of a build: wheels that its source asks for, resolved for this host and locked (docs/spec/builds.md).

They are never built themselves, and never come from an address. Versions that a former build of the same package used stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Pep508
from packaging.utils import canonicalize_name, parse_wheel_filename

from wherry.errors import LockError
from wherry.lock.target import WheelTarget
from wherry.lock.wheels import LockOptions, lock_wheels
from wherry.model.declaration import Declaration, Environment, EnvironmentKind, Requirement
from wherry.model.lock import LockedBuild, LockedInterpreter, LockedWheel, PlatformLock
from wherry.model.platform import Platform
from wherry.sources.package_sources import PackageSources


def resolve_tools(
    name: str,
    requires: Sequence[str],
    declaration: Declaration,
    target: WheelTarget,
    sources: PackageSources,
    former: tuple[LockedWheel, ...],
    options: LockOptions,
) -> tuple[LockedWheel, ...]:
    """Wheels for `target`, which is this host, of what the build of `name` asks for."""
    environment = Environment(
        kind=EnvironmentKind.REQUIREMENTS,
        files=(f"the build of {name}",),
        requirements=tuple(_parse_tool(text, name) for text in requires),
        indexes=declaration.environment.indexes,
    )
    interpreter = LockedInterpreter(source="base", version=target.python, path="/python")
    keep = PlatformLock(platform=target.platform, base=None, interpreter=interpreter, debs=(), wheels=former, layers=())
    try:
        return lock_wheels(replace(declaration, environment=environment), target, sources, keep=keep, options=options)
    except LockError as error:
        raise LockError(f"{name} cannot be built: {error.what}", where=error.where, hint=error.hint) from error


def require_tools(build: LockedBuild, host: Platform) -> None:
    """Some tools are compiled; then only a host of their kind can build again."""
    for tool in build.tools:
        tags = parse_wheel_filename(tool.file)[3]
        if not any(tag.platform == "any" or tag.platform.endswith(f"_{host.machine}") for tag in tags):
            raise LockError(
                f"{build.name} is built with {tool.name}, which was locked for another kind of machine than {host}: {tool.file}",
                where="wherry.lock",
                hint=f"--find a folder that has the wheel of {build.name} {build.version}",
            )


def _parse_tool(text: str, name: str) -> Requirement:
    try:
        parsed = Pep508(text)
    except (InvalidRequirement, RecursionError):
        raise LockError(f"the build of {name} asks for what is no requirement: {text[:80]!r}") from None
    if parsed.url:
        raise LockError(f"the build of {name} asks for {parsed.name} from an address, and only released wheels are taken for that")
    return Requirement(text=text, name=canonicalize_name(parsed.name))
