"""Plans what `wherry export` writes for those who stay with Docker, and says what each file loses against wherry.

A Dockerfile gets what Docker's own means can keep of the lock: each wheel by its digest, a published base by its
digest, and the project's files by name, so that no secret slips in. What they cannot keep is refused by name (packages
of conda's, wheels that nobody publishes, a Python of uv's) or told as a loss (Debian's versions, equal image IDs).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from wherry.errors import UsageError
from wherry.model.declaration import Bytecode, DebianBase, Declaration, ReferenceBase
from wherry.model.docker_files import CopiedFile, DockerRecipe, DockerService, PinnedWheels
from wherry.model.lock import Lock, LockedWheel, PlatformLock
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.model.scoring import RUNTIME

_BELOW = ("ca-certificates", "tzdata", "netbase", "libstdc++6", "libgomp1")  # what wheels expect to be there
_PATTERN = frozenset("*?[\\\"'")  # builders read these in a name, quoted or not
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_LISTED = "new files: this names the project's files one by one; export again when one comes or goes"
_ELSE = "wherry export compose or systemd: they start the image that wherry builds"


def plan_dockerfile(
    declared: Declaration,
    lock: Lock,
    code: Iterable[CopiedFile],
    models: Iterable[Sequence[CopiedFile]],
) -> DockerRecipe:
    """The image as a Dockerfile, for the declared platforms."""
    locked = [lock.for_platform(platform) for platform in declared.platforms]
    for one in locked:
        _refuse_unknown_to_docker(one)
    files, trained = tuple(code), tuple(tuple(model) for model in models)
    _refuse_unwritable((*declared.env, *declared.labels), (*files, *(file for model in trained for file in model)))
    first = locked[0]
    return DockerRecipe(
        name=declared.name,
        base=_name_base(declared, locked),
        python=first.interpreter.path,
        packages=_list_packages(declared, first),
        venv_packages=_list_venv_packages(first),
        wheels=pin_wheels([(one.platform, one.wheels) for one in locked]),
        compiles=declared.bytecode is not Bytecode.NONE,
        code=files,
        models=trained,
        env=declared.env,
        labels=declared.labels,
        ports=declared.ports,
        volumes=declared.volumes,
        entrypoint=declared.entrypoint,
        user=declared.user,
        workdir=declared.workdir,
        losses=(*_list_building_losses(declared, locked), _LISTED),
    )


def plan_service(declared: Declaration, image: str | None) -> DockerService:
    """A container of the image: the project's own, which has to be in the engine, or one that a registry has."""
    reference = Reference.parse(image) if image else None
    volumes = tuple((_name_volume(declared.name, place), place) for place in declared.volumes)
    losses = [
        "updates: the engine fetches each changed layer whole and from its start, where wherry-agent fetches what changed in it",
        "trust: no signature is verified; whoever may write to the registry or the engine decides what runs",
        "going back: an image that does not get well stays, until somebody names the former one",
    ]
    if reference is None:
        losses.append("the image's identity: the engine runs what has this name, where wherry run looks at the image's ID")
    elif reference.digest is None:
        losses.append("the image's identity: a tag may mean another image tomorrow; name NAME@DIGEST, as wherry push prints it")
    name = str(reference) if reference else f"{declared.name}:latest"
    return DockerService(
        name=declared.name,
        image=name,
        pulled=reference is not None,
        ports=declared.ports,
        volumes=volumes,
        losses=tuple(losses),
    )


def pin_wheels(platforms: Sequence[tuple[Platform, Sequence[LockedWheel]]]) -> tuple[PinnedWheels, ...]:
    """The platforms' wheels as one list: a version that all of them have is pinned once, with the digests of all."""
    found: dict[tuple[str, str], list[tuple[Platform, LockedWheel]]] = {}
    for platform, wheels in platforms:
        for wheel in wheels:
            found.setdefault((wheel.name, wheel.version), []).append((platform, wheel))
    return tuple(
        PinnedWheels(
            name=name,
            version=version,
            digests=tuple(dict.fromkeys(wheel.sha256 for _, wheel in have)),
            machines=() if len(have) == len(platforms) else tuple(platform.machine for platform, _ in have),
        )
        for (name, version), have in sorted(found.items())
    )


def _list_building_losses(declared: Declaration, locked: Sequence[PlatformLock]) -> tuple[str, ...]:
    wheels = max(locked, key=lambda one: len(one.wheels)).wheels
    size = sum(wheel.size for wheel in wheels) / 1e6
    first = locked[0]
    losses = []
    if isinstance(declared.base, DebianBase):
        debs = f"{len(first.debs)} packages of Debian that the lock pins by digest"
        losses.append(
            f"the base: its {debs}, Python {first.interpreter.version} among them, are here those of the day of the build"
        )
    elif declared.system_packages:
        losses.append(f"versions of Debian's packages ({', '.join(declared.system_packages)}): those of the day of the build")
    losses += [
        "one image everywhere: each build gives another image ID, with its own times and bytecode",
        "small updates: all wheels are one layer; where one changes, all move again" + (f" ({size:.1f} MB)" if wheels else ""),
        "safety while it is built: apt's scripts and pip run as root, and need an engine and the network",
    ]
    return tuple(losses)


def plan_devcontainer(declared: Declaration, lock: Lock) -> DockerRecipe:
    """The environment to develop in, without the project's files, which are mounted."""
    plain = plan_dockerfile(declared, lock, (), ())
    shipped = "the shipped image: here are a shell, apt, another user and all of the folder's files; run the image before it ships"
    return replace(plain, entrypoint=(), labels=(), develops=True, losses=(*plain.losses[:-1], shipped))


def _refuse_unknown_to_docker(locked: PlatformLock) -> None:
    if locked.records or locked.interpreter.source in ("conda", "managed"):
        where = f"wherry.lock, {locked.platform}"
        kind = "packages of conda's" if locked.records else f"a Python of source {locked.interpreter.source!r}"
        raise UsageError(f"a Dockerfile cannot have {kind} by digest", where=where, hint=_ELSE)
    unpublished = [build.name for build in locked.builds] + [wheel.name for wheel in locked.wheels if wheel.name == RUNTIME]
    if unpublished:
        names = ", ".join(unpublished)
        raise UsageError(f"no index has the wheels that were built here: {names}", where="wherry.lock", hint=_ELSE)


def _name_base(declared: Declaration, locked: Sequence[PlatformLock]) -> str:
    if isinstance(declared.base, ReferenceBase):
        pinned = {one.base.manifest for one in locked if one.base is not None}
        if len(pinned) != 1:
            raise UsageError(
                "the lock pins another image of the base for each platform, and a Dockerfile has one", hint="--platform OS/ARCH"
            )
        return f"{declared.base.reference.name}@{pinned.pop()}"
    return f"debian:{declared.base.suite}-slim"


def _list_packages(declared: Declaration, locked: PlatformLock) -> tuple[str, ...]:
    """What apt installs: what wherry's base has besides Debian's own, Python, and what the author asks for."""
    for package in declared.system_packages:
        if not _PACKAGE.fullmatch(package):
            raise UsageError(f"cannot be told to apt as it is: {package!r}", where="system-packages", hint=_ELSE)
    if isinstance(declared.base, ReferenceBase):
        return tuple(sorted({*declared.system_packages, *_debian_python(locked)}))
    return tuple(sorted({*_BELOW, *_debian_python(locked), *declared.system_packages}))


def _debian_python(locked: PlatformLock) -> tuple[str, ...]:
    return (f"python{locked.interpreter.minor}",) if locked.interpreter.source == "debian" else ()


def _list_venv_packages(locked: PlatformLock) -> tuple[str, ...]:
    return tuple(f"{package}-venv" for package in _debian_python(locked))


def _name_volume(name: str, place: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_.-]+", "-", f"{name}{place}").rstrip("-")


def _refuse_unwritable(values: Iterable[tuple[str, str]], files: Iterable[CopiedFile]) -> None:
    texts = [text for pair in values for text in pair]
    names = [text for file in files for text in (file.path, file.link or "")]
    for text in (*texts, *names):
        if not text.isprintable():
            raise UsageError(f"cannot stand in a Dockerfile: {text!r}", hint=_ELSE)
    for name in names:
        if not _PATTERN.isdisjoint(name):
            raise UsageError(
                "builders read a pattern or a quote in this name", where=name, hint="rename it, or leave it out: code.exclude"
            )
