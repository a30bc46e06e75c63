"""Plans what bubblewrap mounts: a pure-ish look at an image's root, giving bwrap's arguments in their order.

The root stays read-only and nothing is ever created in it. Where a mount needs a folder that the image lacks, the
nearest folder above it becomes a small tmpfs that shows the image's own entries one by one. Symbolic links in
targets are resolved inside the root, as the container would see them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wherry.errors import EngineError, UsageError

_MAX_LINKS = 40
_MAX_OPENED = 1500  # bwrap takes 9,000 arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Something at `target`; `options` are bwrap's arguments, which end with the target. `is_folder` says what must be there."""

    target: str
    options: tuple[str, ...]
    is_folder: bool = True


def resolve_inside(root: Path, path: str) -> str:
    """The path that the container sees at `path`, links followed inside `root`; absolute. Missing parts stay as given."""
    pending = [part for part in PurePosixPath(path).parts if part != "/"][::-1]
    done: list[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part == "..":
            done = done[:-1]
            continue
        place = root.joinpath(*done, part)
        if not place.is_symlink():
            done.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise EngineError(f"too many symbolic links in {path}", where=str(root))
        link = str(place.readlink())
        if link.startswith("/"):
            done = []
        pending += [piece for piece in link.split("/") if piece not in ("", ".")][::-1]
    return "/" + "/".join(done)


def find_command(root: Path, program: str, search: str, workdir: str, mounted: Iterable[str]) -> str | None:
    """The program's path as `execvp` would find it; None if there is none. What lies in a mount is taken to be there."""
    mounts = tuple(f"{target}/" for target in mounted)
    if "/" in program:
        places = [str(PurePosixPath(workdir) / program)]
    else:
        places = [f"{folder or '.'}/{program}" for folder in search.split(":")]
    for place in places:
        inside = resolve_inside(root, place)
        if inside.startswith(mounts):
            return place
        found = root / inside.lstrip("/")
        if found.is_file() and os.access(found, os.X_OK):
            return place
    return None


def plan_mounts(root: Path, placed: tuple[Placed, ...]) -> list[str]:
    """bwrap's arguments for the root and for what is placed in it. Of two at one target the later counts."""
    by_target = {item.target: item for item in placed}
    items = sorted(by_target.values(), key=lambda item: item.target.count("/"))
    if any(item.target == "/" for item in items):
        raise UsageError("nothing can be mounted at / itself", hint="mount at a folder below it")
    opened = sorted({folder for item in items if (folder := _find_opened(root, item, by_target)) is not None})
    arguments = [] if "/" in opened else ["--ro-bind", str(root), "/"]
    for folder in opened:
        arguments += [] if folder == "/" else ["--tmpfs", folder]
        arguments += _show_entries(root, folder)
    for item in items:
        arguments += item.options
    for folder in reversed(opened):
        arguments += ["--remount-ro", folder]
    return arguments


def _find_opened(root: Path, item: Placed, by_target: dict[str, Placed]) -> str | None:
    """The folder of the root that must become a tmpfs for this item; None if its place exists or lies in another mount."""
    path = PurePosixPath(item.target)
    if any(str(above) in by_target for above in path.parents if str(above) != "/"):
        return None
    place = root / item.target.lstrip("/")
    if (place.is_dir() and item.is_folder) or (place.is_file() and not item.is_folder):
        return None
    for above in path.parents:
        if (root / str(above).lstrip("/")).is_dir():
            if place.exists():
                raise EngineError(f"{item.target} is {'no folder' if item.is_folder else 'no file'} in the image")
            return str(above)
    return "/"


def _show_entries(root: Path, folder: str) -> list[str]:
    arguments: list[str] = []
    inside = root / folder.lstrip("/")
    entries = sorted(inside.iterdir())
    if len(entries) > _MAX_OPENED:
        raise EngineError(f"{folder} has {len(entries)} entries: nothing can be mounted in it", hint="choose another folder")
    for entry in entries:
        target = str(PurePosixPath(folder) / entry.name)
        if entry.is_symlink():
            arguments += ["--symlink", str(entry.readlink()), target]
        else:
            arguments += ["--ro-bind", str(entry), target]
    return arguments
