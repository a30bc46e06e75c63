"""The options of `wherry check` that say what the target has: its driver's CUDA, and Windows' DLLs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.check.gpu import DeclaredGpu
from wherry.check.images import describe_archive, list_paths
from wherry.errors import FormatError, UsageError
from wherry.model.cuda import parse_version
from wherry.model.platform import Platform
from wherry.model.progress import Progress
from wherry.model.reference import Reference
from wherry.store.places import cache_path

if TYPE_CHECKING:
    from wherry.check.windows import WindowsDlls

Cuda = Annotated[
    str | None, typer.Option("--cuda", metavar="VERSION", help="Of an image: the CUDA version that the target's driver has: 12.4.")
]
Dlls = Annotated[
    list[str] | None,
    typer.Option(
        "--dlls", metavar="PLACE", help="Of a wheel for Windows: DLLs that are there too: a list, folder, wheel or Windows image."
    ),
]
_WINDOWS = Platform("windows", "amd64")
_ARCHIVES = (".tar", ".tar.gz", ".tgz")


def read_target_gpu(cuda: str | None) -> DeclaredGpu | None:
    """What ``--cuda`` says; None where it says nothing."""
    if cuda is None:
        return None
    try:
        parse_version(cuda)
    except ValueError:
        raise UsageError(f"{cuda!r} is not a version of CUDA", where="--cuda", hint="--cuda 12.4") from None
    return DeclaredGpu(cuda=cuda)


def read_target_dlls(places: Sequence[str], progress: Progress, *, plain_http: bool) -> WindowsDlls:
    """Lists, folders and wheels add to the DLLs that every Windows has; an image of Windows says itself which it has."""
    # Only here, and below: no image needs its tables.
    from wherry.check.windows import WindowsDlls, pick_system_dlls, read_dll_names, read_known_dlls

    found = read_known_dlls()
    images: list[tuple[str, ...]] = []
    more: list[str] = []
    for place in places:
        path = Path(place)
        if path.is_file() and place.endswith(_ARCHIVES):
            with describe_archive(path, (_WINDOWS,)) as subjects:
                images.append(pick_system_dlls(list_paths(subjects[0], cache_path(os.environ), progress)))
        elif path.exists():
            more += read_dll_names(path)
        else:
            images.append(_read_remote(place, progress, plain_http))
        if images and not images[-1]:
            raise FormatError("no image of Windows: no DLL lies in Windows/System32", where=place)
    if images:
        found = WindowsDlls(core=frozenset(name.lower() for names in images for name in names))
    return found.extend(more)


def _read_remote(place: str, progress: Progress, plain_http: bool) -> tuple[str, ...]:
    # Only here: an HTTP client takes long to import.
    from wherry.check.remote import describe_remote
    from wherry.check.windows import pick_system_dlls
    from wherry.cli.pull import names_a_registry
    from wherry.sources.registries import access_registries

    if not names_a_registry(place):
        raise UsageError(
            f"{place} is not here", where="--dlls", hint="a list, a folder, a wheel, an archive or a reference with its registry"
        )
    access = access_registries(os.environ, cache=cache_path(os.environ), plain_http=plain_http)
    try:
        subject = describe_remote(access, Reference.parse(place), _WINDOWS)
        return pick_system_dlls(list_paths(subject, cache_path(os.environ), progress))
    finally:
        access.close()
