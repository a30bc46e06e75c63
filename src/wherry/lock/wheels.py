"""Resolves the Python environment of one platform to exact wheels. uv resolves, as a program; nothing of a package runs.

uv is asked twice: for the pins with who asked for each, then, held to those pins, for the files (`pylock.toml`).
A platform that uv has no name for is resolved for all platforms at once, and chosen from by tags. An environment that
is resolved already (`pylock.toml`, `uv.lock`) is chosen from alike. What a former lock has stays unless it is upgraded.
"""

from __future__ import annotations

import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag
from packaging.utils import canonicalize_name

from wherry.errors import DeclarationError, LockError, TransferError
from wherry.lock.annotations import Pin, parse_pins
from wherry.lock.candidates import NOTHING_BUILT, Candidate, rank_of, select_candidates
from wherry.lock.places import name_index
from wherry.lock.provided import is_stand_in
from wherry.lock.refusals import explain_missing_wheels, honour_hashes
from wherry.lock.sizes import complete_candidates
from wherry.lock.target import WheelTarget, tags_of
from wherry.model.declaration import Declaration, EnvironmentKind
from wherry.model.declaration import Requirement as RequirementLine
from wherry.model.lock import LockedWheel, PlatformLock
from wherry.sources.package_sources import PackageSources
from wherry.sources.uv_program import run_uv

_COMPILE = ("pip", "compile", "--no-header", "--only-binary", ":all:")


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOptions:
    """uv's meanings. Upgraded packages forget their former version; `upgrade` forgets all of them.

    `refresh_names` looks into conda's archives for the Python distributions that they bring.
    """

    upgrade: bool = False
    upgrade_packages: frozenset[str] = field(default_factory=frozenset)
    offline: bool = False
    refresh_names: bool = False


def lock_wheels(
    declaration: Declaration,
    target: WheelTarget,
    sources: PackageSources,
    *,
    keep: PlatformLock | None,
    options: LockOptions,
    built: Mapping[str, Candidate] = NOTHING_BUILT,
) -> tuple[LockedWheel, ...]:
    """The wheels of one platform, sorted by name, each with its true size. Those that are `built` count in resolved files."""
    kind = declaration.environment.kind
    asked = declaration.environment.requirements or declaration.environment.besides
    if not asked and kind in (EnvironmentKind.EMPTY, EnvironmentKind.CONDA):
        return ()
    pins: Mapping[str, Pin] = {}
    if kind is EnvironmentKind.PYLOCK:
        candidates = _select_author_lock(declaration, target, built)
    elif kind is EnvironmentKind.UV_LOCK:
        candidates, pins = _export_uv_lock(declaration, target, sources, options, built)
    else:
        former = _allowed_pins(_former_pins(keep, options), declaration)
        candidates, pins = resolve_candidates(declaration, target, sources, former, options)
        candidates = _keep_files(candidates, keep, options, target)
    candidates = honour_hashes(candidates, declaration.environment, target, sources)
    kept = {} if options.upgrade or keep is None else {wheel.name: wheel for wheel in keep.wheels}
    return _as_wheels(complete_candidates(candidates, kept, sources), pins)


def lock_candidates(candidates: Sequence[Candidate], keep: PlatformLock | None, sources: PackageSources) -> tuple[LockedWheel, ...]:
    """Wheels that another tool has chosen, each with its true size."""
    kept = {wheel.name: wheel for wheel in keep.wheels} if keep is not None else {}
    return _as_wheels(complete_candidates(candidates, kept, sources), {})


def _select_author_lock(declaration: Declaration, target: WheelTarget, built: Mapping[str, Candidate]) -> tuple[Candidate, ...]:
    environment = declaration.environment
    path = declaration.root / environment.files[0]
    text = _read_text(path, environment.files[0])
    groups = environment.groups or None
    return select_candidates(text, path.parent, environment.files[0], target, environment.extras, groups, built)


def _export_uv_lock(
    declaration: Declaration,
    target: WheelTarget,
    sources: PackageSources,
    options: LockOptions,
    built: Mapping[str, Candidate],
) -> tuple[tuple[Candidate, ...], Mapping[str, Pin]]:
    environment = declaration.environment
    folder = (declaration.root / environment.files[0]).parent
    arguments = ["export", "--frozen", "--no-header", "--no-default-groups", "--no-emit-workspace", *_choices(declaration, "")]
    pylock = run_uv([*arguments, "--format", "pylock.toml"], sources.settings, folder, offline=options.offline)
    listed = run_uv([*arguments, "--format", "requirements.txt", "--no-hashes"], sources.settings, folder, offline=options.offline)
    return select_candidates(pylock, folder, environment.files[0], target, built=built), parse_pins(listed)


def resolve_candidates(
    declaration: Declaration,
    target: WheelTarget,
    sources: PackageSources,
    former: Mapping[str, str],
    options: LockOptions,
) -> tuple[tuple[Candidate, ...], Mapping[str, Pin]]:
    """Two runs of uv in a folder of our own; the second one may choose files only, not versions."""
    with tempfile.TemporaryDirectory(prefix="wherry-") as scratch:
        folder = Path(scratch)
        asked = [*_COMPILE, *_target_arguments(target), *_write_request(declaration, folder), *_refresh(options)]
        pins_file = folder / "pins.txt"
        second = ["--format", "pylock.toml", "--constraints", str(pins_file)]
        try:
            _pin_versions(asked, former, pins_file, declaration.root, sources, options)
            pylock = run_uv([*asked, *second], sources.settings, declaration.root, offline=options.offline)
            chosen = select_candidates(pylock, declaration.root, _where(declaration), target)
            candidates = tuple(candidate for candidate in chosen if not is_stand_in(candidate.file))
        except LockError as error:
            raise explain_missing_wheels(error, declaration.environment, target, sources) from None
        except TransferError as error:
            raise name_index(error, declaration.environment.indexes) from error
        pins = parse_pins(pins_file.read_text(encoding="utf-8"))
    return candidates, pins


def _pin_versions(
    asked: list[str], former: Mapping[str, str], pins_file: Path, root: Path, sources: PackageSources, options: LockOptions
) -> None:
    """Resolve, and leave the pins with their annotations in `pins_file`.

    Former versions are constraints first: where they all still fit, that is the answer. Only else are they uv's
    preferences, which it gives up as soon as the first index that has the version lacks a wheel for this platform.
    """
    lines = "".join(f"{name}=={version}\n" for name, version in sorted(former.items()))
    first = [*asked, "--output-file", str(pins_file), "--annotation-style", "split", "--no-strip-markers"]
    if former:
        kept = pins_file.with_name("kept.txt")
        kept.write_text(lines, encoding="utf-8")
        with suppress(LockError):
            run_uv([*first, "--constraints", str(kept)], sources.settings, root, offline=options.offline)
            return
    pins_file.write_text(lines, encoding="utf-8")
    run_uv(first, sources.settings, root, offline=options.offline)


def _where(declaration: Declaration) -> str:
    return next(iter(declaration.environment.files), declaration.origin)


def _target_arguments(target: WheelTarget) -> tuple[str, ...]:
    python = ("--python-version", target.python, "--python", sys.executable)
    if target.uv_platform is None:
        return ("--universal", *python)
    return ("--python-platform", target.uv_platform, *python)


def _refresh(options: LockOptions) -> list[str]:
    """uv may have old index pages in its cache; whoever upgrades wants to see today's."""
    if options.upgrade:
        return ["--refresh"]
    return [argument for name in sorted(options.upgrade_packages) for argument in ("--refresh-package", name)]


def _write_request(declaration: Declaration, folder: Path) -> tuple[str, ...]:
    environment = declaration.environment
    if environment.kind is EnvironmentKind.PYPROJECT:
        request = [*_project_arguments(declaration), *_choices(declaration, environment.files[0])]
        # What was built for a source of [tool.uv.sources] comes as a constraint.
        built = [entry.name for entry in environment.requirements if entry.source is not None]
        request += [argument for name in built for argument in ("--no-sources-package", name)]
    else:
        request = [_write_lines(environment.requirements, folder / "requirements.in")]
    if environment.besides:
        request.append(_write_lines(environment.besides, folder / "besides.in"))
    if not environment.constraints:
        return tuple(request)
    return (*request, "--constraints", _write_lines(environment.constraints, folder / "constraints.in"))


def _write_lines(entries: Sequence[RequirementLine], file: Path) -> str:
    file.write_text("".join(f"{entry.text}\n" for entry in entries), encoding="utf-8")
    return str(file)


def _project_arguments(declaration: Declaration) -> tuple[str, ...]:
    """The file itself, so that uv sees its sources and indexes; a file of groups alone has nothing else to compile."""
    name = declaration.environment.files[0]
    try:
        document = tomllib.loads(_read_text(declaration.root / name, name))
    except tomllib.TOMLDecodeError as error:
        raise DeclarationError(f"is not TOML: {error}", where=name) from None
    if "project" not in document and not declaration.environment.groups:
        raise DeclarationError("has no [project] table and no group was chosen", where=name, hint="name a dependency group")
    return (name,) if "project" in document else ()


def _choices(declaration: Declaration, file: str) -> list[str]:
    environment = declaration.environment
    prefix = f"{file}:" if file else ""
    extras = [argument for name in environment.extras for argument in ("--extra", name)]
    return extras + [argument for name in environment.groups for argument in ("--group", f"{prefix}{name}")]


def _former_pins(keep: PlatformLock | None, options: LockOptions) -> dict[str, str]:
    if keep is None or options.upgrade:
        return {}
    forgotten = {canonicalize_name(name) for name in options.upgrade_packages}
    return {wheel.name: wheel.version for wheel in keep.wheels if wheel.name not in forgotten}


def _allowed_pins(pins: dict[str, str], declaration: Declaration) -> dict[str, str]:
    """Without those that the author's own requirements and constraints now rule out."""
    environment = declaration.environment
    for entry in (*environment.requirements, *environment.constraints):
        name = canonicalize_name(entry.name)
        with suppress(InvalidRequirement):
            if name in pins and not Requirement(entry.text).specifier.contains(pins[name], prereleases=True):
                pins = {other: version for other, version in pins.items() if other != name}
    return pins


def _keep_files(
    candidates: Sequence[Candidate], keep: PlatformLock | None, options: LockOptions, target: WheelTarget
) -> tuple[Candidate, ...]:
    """An index may have got a second, better fitting wheel of a version since: the one that was locked stays."""
    pins = _former_pins(keep, options)
    former = {wheel.name: wheel for wheel in keep.wheels if wheel.name in pins} if keep is not None else {}
    order = {tag: number for number, tag in enumerate(tags_of(target))}
    return tuple(_keep_file(candidate, former.get(candidate.name), order) for candidate in candidates)


def _keep_file(candidate: Candidate, former: LockedWheel | None, order: dict[Tag, int]) -> Candidate:
    if former is None or former.version != candidate.version or former.sha256 == candidate.sha256:
        return candidate
    if rank_of(former.file, order) is None:
        return candidate
    return replace(candidate, file=former.file, sha256=former.sha256, size=former.size, url="")


def _as_wheels(candidates: Sequence[Candidate], pins: Mapping[str, Pin]) -> tuple[LockedWheel, ...]:
    names = {candidate.name for candidate in candidates}
    asked: dict[str, set[str]] = {candidate.name: set(candidate.requires) & names for candidate in candidates}
    for pin in pins.values():
        for parent in pin.parents & names:
            asked[parent].update({pin.name} & names)
    needed = set().union(*asked.values())
    return tuple(
        LockedWheel(
            name=candidate.name,
            version=candidate.version,
            file=candidate.file,
            size=candidate.size or 0,
            sha256=candidate.sha256,
            requires=tuple(sorted(asked[candidate.name])),
            requested=pins[candidate.name].requested if candidate.name in pins else candidate.name not in needed,
        )
        for candidate in candidates
    )


def _read_text(path: Path, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(f"cannot be read: {error}", where=where) from None
