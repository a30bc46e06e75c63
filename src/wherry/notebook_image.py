"""The project's image with JupyterLab's layers over its packages, for notebooks in containers; never the project's own image.

Its layers below are the project's, bit for bit, and those on top are locked in `wherry.lock.notebook`. One for a session on this
machine has neither code nor models, for the project's folder lies over it; one that is shared has both.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wherry.assemble.layers import write_layer
from wherry.engines.port import EngineImage
from wherry.errors import StoreError
from wherry.formats.tar import add_parents, directory_entry, file_entry
from wherry.lock.storage import write_lock
from wherry.model.declaration import Compression
from wherry.model.image import BuildResult, BuiltLayer
from wherry.model.lock import LayerKind, Lock, PlatformLock
from wherry.model.oci import NOTEBOOK
from wherry.notebook_lock import NOTEBOOK_LOCK, is_notebook_layer, keep_notebook_lock, lock_notebook
from wherry.pipeline import LockedProject, Project, Wishes, describe_image
from wherry.preparation import OpenProject
from wherry.rebuild import created_time, read_last_build, store_images
from wherry.run import notebook_start
from wherry.run.launch import pick_runnable
from wherry.run.readiness import recall, remember
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform
from wherry.store.images import StoredImage
from wherry.store.places import cache_path, store_path

START = "/opt/notebook/start.py"
PORT = notebook_start.PORT
VOLUMES = tuple(f"{notebook_start.WORK}/{name}" for name in notebook_start.FOLDERS)
SESSION_TAG = "notebook"
_HINT = "notebook-image"
_FOR_ALL = 0o1777


def prepare_session_image(
    root: Path, env: Mapping[str, str], open_project: OpenProject, tools: Sequence[str] = ()
) -> tuple[DiskStore, StoredImage, EngineImage]:
    """The image of a session on this machine, built where one of the locks changed."""
    store, cache = DiskStore(store_path(env)), cache_path(env)
    known = recall(cache, root, _HINT)
    if known is not None and set(tools) <= set(known["tools"]) and _find_digest(store, known["name"]) == known["image"]:
        return store, *pick_runnable(store, known["name"], read_host_platform())
    since = time.time_ns()
    project = open_project()
    built = build_session_image(project, tools)
    if files := project.list_watched():
        value = {"name": built.name, "image": str(built.index), "tools": list(tools)}
        remember(cache, root, _HINT, (*files, NOTEBOOK_LOCK), value, since)
    return store, *pick_runnable(store, built.name, read_host_platform())


def _find_digest(store: DiskStore, name: str) -> str | None:
    found = store.names().get(name)
    return str(found.digest) if found is not None else None


def build_session_image(project: Project, tools: Sequence[str] = ()) -> BuildResult:
    """Packages and JupyterLab alone, for this machine. `tools` are further distributions that are wanted beside it."""
    locked = project.ready_lock(Wishes(platforms=(read_host_platform(),)))
    return _build(project, locked, tools, (), SESSION_TAG, shared=False)


def build_shared_image(project: Project) -> BuildResult:
    """All that a colleague needs: the project as its image has it, JupyterLab, and folders that are to be volumes."""
    project.build()
    last = read_last_build(project.root, project.cache)
    if last is None:
        raise StoreError("the build left no trace", where=str(project.cache), hint="the same command again")
    return _build(project, project.ready_lock(Wishes()), (), last[1], "shared-notebook", shared=True)


def _build(
    project: Project, locked: LockedProject, tools: Sequence[str], own: Sequence[BuiltLayer], tag: str, *, shared: bool
) -> BuildResult:
    declared, notebook = locked.declaration, lock_notebook(project, locked, tools)
    pairs = [(one, notebook.for_platform(one.platform)) for one in locked.value.platforms]
    whole = replace(locked.value, platforms=tuple(_lay_over(one, beside) for one, beside in pairs))
    learned, made = project.assemble(declared, whole, locked.wishes)
    _keep_learned(project, locked, notebook, learned)
    recipe = replace(describe_image(declared, made), entrypoint=("python", START), volumes=(), ports=(), user="0:0")
    if shared:
        recipe = replace(recipe, volumes=VOLUMES, ports=(f"{PORT}/tcp",), labels=(*recipe.labels, (NOTEBOOK, PORT)))
    with project.store.in_use():
        start = _write_start(project.store, recipe.compression, shared=shared)
        return store_images(recipe, [*own, start], f"{declared.name}:{tag}", project.store, created_time(project.env))


def _lay_over(locked: PlatformLock, notebook: PlatformLock) -> PlatformLock:
    return replace(locked, wheels=(*locked.wheels, *notebook.wheels), layers=(*locked.layers, *notebook.layers))


def _keep_learned(project: Project, locked: LockedProject, notebook: Lock, learned: Lock) -> None:
    """What the build found out about the layers goes to the lock that each is in."""
    write_lock(project.root, _choose_layers(locked.value, learned, notebooks=False))
    keep_notebook_lock(project, _choose_layers(notebook, learned, notebooks=True))


def _choose_layers(lock: Lock, learned: Lock, *, notebooks: bool) -> Lock:
    def choose(one: PlatformLock) -> PlatformLock:
        layers = learned.for_platform(one.platform).layers
        own = (layer for layer in layers if is_notebook_layer(layer) is notebooks)
        return replace(one, layers=tuple(own))

    return replace(lock, platforms=tuple(map(choose, lock.platforms)))


def _write_start(store: DiskStore, compression: Compression, *, shared: bool) -> BuiltLayer:
    """The layer with what starts JupyterLab, and the folders that fresh volumes take their mode from."""
    program = Path(notebook_start.__file__).read_bytes()
    volumes = [directory_entry(volume.strip("/"), _FOR_ALL) for volume in VOLUMES if shared]
    blob = write_layer(add_parents([file_entry(START.strip("/"), program), *volumes]), store, compression)
    return BuiltLayer(
        name="notebook-start",
        kind=LayerKind.CODE,
        diff_id=blob.diff_id,
        digest=blob.digest,
        size=blob.size,
        media_type=blob.media_type,
        members=("notebook-start",),
    )
