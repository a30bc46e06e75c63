"""The last step of every build, and the whole of a rebuild: the project's own files on top of a recipe.

After a build its state is kept in the cache: the recipe, and a stamp (size, times, inode) of every file it came from.
While the files that declare the project are unchanged, a build starts here: it looks at stamps, writes the layers of
code and models that changed, and composes the image. It imports nothing heavy, so that all of it takes a tenth of a
second; the full build of `pipeline.py` ends in the same functions, so both give the same image.

A stamp proves nothing about a file changed within the clock's grain of the last look: such a file counts as changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.assemble.files import disk_entry, model_files, path_in_image
from wherry.assemble.image import ComposedImage, compose_image, compose_index
from wherry.assemble.layers import LayerBlob, write_layer
from wherry.assemble.recipe import Recipe, parse_layer, parse_recipe, render_layer, render_recipe
from wherry.declare.code import CodeFile, list_code, list_tokens, survey_code
from wherry.declare.model_files import default_models
from wherry.errors import FormatError
from wherry.formats.tar import TarEntry, add_parents, directory_entry, symlink_entry
from wherry.model.declaration import CodeSelection, ModelFile
from wherry.model.digest import Digest
from wherry.model.image import BuildResult, BuiltImage, BuiltLayer
from wherry.model.lock import LayerKind
from wherry.store.disk import DiskStore
from wherry.store.posix import write_atomically
from wherry.version import VERSION

_STATE_VERSION = 2
_GRAIN = 20_000_000  # ns: no file system in use keeps times more coarsely than some milliseconds, but for FAT
_FIXED_CREATED = "1980-01-01T00:00:00Z"
_FOR_ALL = 0o1777

Stamp = list[int] | None
# A layer, or none where there was nothing to put in it, and the stamps of its files.
_Known = tuple[BuiltLayer | None, list[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectFiles:
    """What of the project's folder goes into the image, and which files (`watched`) decide everything else.

    Where the models were `guessed`, a new file may be a new one.
    """

    root: Path
    code: CodeSelection
    models: tuple[ModelFile, ...]
    watched: tuple[str, ...]
    guessed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layers:
    """The project's layers, each with the stamps of the files it was made of."""

    code: _Known
    models: dict[str, _Known]

    def built(self) -> list[BuiltLayer]:
        layers = [self.code[0], *(layer for layer, _ in self.models.values())]
        return [layer for layer in layers if layer is not None]


def finish_build(
    files: ProjectFiles,
    recipe: Recipe,
    tag: str,
    store: DiskStore,
    cache: Path,
    env: Mapping[str, str],
    *,
    since: int,
    usual: bool,
    verify: bool = False,
) -> BuildResult:
    """Write the layers of code and models, compose the images, name them, and keep the state for the next build.

    `since` (ns) is a time before the declaration was read: what changed later may have been read or not. `usual` says
    that a build without options makes the same, so that the next one of these may start from this one's state. With
    `verify` every file is read again, whatever its stamp says.
    """
    former = None if verify else _former_layers(_read_state(files.root, cache), recipe)
    with store.in_use():
        layers = _project_layers(files, recipe, store, former)
        result = store_images(recipe, layers.built(), tag, store, created_time(env))
    _write_state(files, recipe, layers, tag, cache, since, usual=usual)
    return result


def rebuild(root: Path, store: DiskStore, cache: Path, env: Mapping[str, str]) -> BuildResult | None:
    """Build again from the kept state, or None when it does not tell enough and a full build must decide."""
    since = time.time_ns()
    state = _read_state(root, cache)
    if state is None or state.get("usual") is not True:
        return None
    try:
        recipe = parse_recipe(state["recipe"])
        files = _parse_files(root, state)
    except (FormatError, KeyError, TypeError, ValueError):
        return None
    if state["watched"] != _watch(files) or not _has_layers(recipe, store):
        return None
    if files.guessed and default_models(root)[0] != files.models:
        return None
    if state["names"] != _names(files):
        return None  # a new or a lost file may mean another entrypoint, another model or a secret to tell of
    if any(list_tokens(_list_changed(files, _former_layers(state, recipe)))):
        return None  # there is something to tell of
    return finish_build(files, recipe, state["tag"], store, cache, env, since=since, usual=True)


def read_last_build(root: Path, cache: Path) -> tuple[Recipe, tuple[BuiltLayer, ...]] | None:
    """The recipe of the project's last build, and its layers of code and models, as far as the kept state tells."""
    state = _read_state(root, cache)
    if state is None:
        return None
    try:
        return parse_recipe(state["recipe"]), tuple(_parse_layers(state).built())
    except (FormatError, KeyError, TypeError, ValueError, AttributeError):
        return None


def known_blobs(root: Path, cache: Path) -> tuple[Digest, ...]:
    """The layers of the project's last build, as far as the kept state tells."""
    last = read_last_build(root, cache)
    if last is None:
        return ()
    recipe, own = last
    layers = [layer for platform in recipe.platforms for layer in platform.layers]
    return tuple(layer.digest for layer in [*layers, *own])


def created_time(env: Mapping[str, str]) -> str:
    """The image's `created`: SOURCE_DATE_EPOCH (seconds) when set, else the fixed time of all files."""
    given = env.get("SOURCE_DATE_EPOCH", "")
    if not given.isdigit():
        return _FIXED_CREATED
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(given)))


def store_images(recipe: Recipe, own: list[BuiltLayer], tag: str, store: DiskStore, created: str) -> BuildResult:
    """Compose the images of all platforms, `own` on top, keep their documents, and name the whole `tag`."""
    composed: list[ComposedImage] = [compose_image(recipe, platform, own, created) for platform in recipe.platforms]
    for image in composed:
        _put(store, image.config)
        _put(store, image.manifest)
    images: list[BuiltImage] = [image.image for image in composed]
    raw, descriptor = compose_index(recipe, images)
    _put(store, raw)
    if store.names().get(tag, descriptor).digest != descriptor.digest or tag not in store.names():
        store.tag(tag, descriptor)
    return BuildResult(name=tag, index=descriptor.digest, images=tuple(images))


def _put(store: DiskStore, document: bytes) -> None:
    if not store.has(Digest.of(document)):
        store.put_bytes(document)


def _list(files: ProjectFiles) -> tuple[CodeFile, ...]:
    return list_code(files.root, files.code, [model.path for model in files.models])


def _list_changed(files: ProjectFiles, former: _Layers | None) -> list[CodeFile]:
    known = dict(former.code[1]) if former else {}
    return [file for file in _list(files) if known.get(file.path) != _stamp(file.state)]


def _project_layers(files: ProjectFiles, recipe: Recipe, store: DiskStore, former: _Layers | None) -> _Layers:
    code = _code_layer(files, recipe, store, former.code if former else None)
    models = {}
    for model in files.models:
        known = former.models.get(model.path) if former else None
        models[model.path] = _model_layer(files.root, model, recipe, store, known)
    return _Layers(code=code, models=models)


def _code_layer(files: ProjectFiles, recipe: Recipe, store: DiskStore, known: _Known | None) -> _Known:
    listed = _list(files)
    stamps = [[file.path, _stamp(file.state)] for file in listed]
    if known and known[1] == stamps and (known[0] is None or store.has(known[0].digest)):
        return known
    entries = [_code_entry(file, recipe.workdir) for file in listed]
    folder = recipe.workdir.strip("/")
    entries += [directory_entry(folder)] if folder else []
    taken = {entry.path for entry in entries}
    entries += [directory_entry(path, _FOR_ALL) for path in _volume_folders(recipe) if path not in taken]
    return _write(entries, "code", LayerKind.CODE, recipe, store), stamps


def _volume_folders(recipe: Recipe) -> list[str]:
    """Folders that a fresh volume takes its owner and mode from; a base that somebody else made has its own."""
    if any(platform.base_digest for platform in recipe.platforms):
        return []
    return [volume.strip("/") for volume in recipe.volumes if volume.strip("/")]


def _code_entry(file: CodeFile, workdir: str) -> TarEntry:
    path = path_in_image(workdir, file.path)
    if file.link is not None:
        return symlink_entry(path, file.link)
    return disk_entry(path, Path(file.location), file.state.st_size, file.state.st_mode)


def _model_layer(root: Path, model: ModelFile, recipe: Recipe, store: DiskStore, known: _Known | None) -> _Known:
    found = model_files(root, model)
    stamps = [[path, _stamp(state)] for path, state in found]
    if known and known[1] == stamps and (known[0] is None or store.has(known[0].digest)):
        return known
    if not found:
        return None, stamps
    entries = [disk_entry(path_in_image(recipe.workdir, path), root / path, state.st_size, state.st_mode) for path, state in found]
    return _write(entries, model.path, LayerKind.MODEL, recipe, store), stamps


def _write(entries: Iterable[TarEntry], name: str, kind: LayerKind, recipe: Recipe, store: DiskStore) -> BuiltLayer:
    blob: LayerBlob = write_layer(add_parents(entries), store, recipe.compression)
    return BuiltLayer(
        name=name,
        kind=kind,
        diff_id=blob.diff_id,
        digest=blob.digest,
        size=blob.size,
        media_type=blob.media_type,
        members=(name,),
    )


# -- the state


def _stamp(state: os.stat_result) -> list[int]:
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_mode]


def _watch(files: ProjectFiles) -> list[list[Any]]:
    """Stamps of the files that declare the project; None for one that is not there."""
    return [[path, _stamp_of(files.root / path)] for path in files.watched]


def _stamp_of(path: Path) -> Stamp:
    try:
        return _stamp(path.stat())
    except OSError:
        return None


def _names(files: ProjectFiles) -> str:
    listed, secrets = survey_code(files.root, files.code, [model.path for model in files.models])
    present = [model.path for model in files.models if (files.root / model.path).exists()]
    parts = ([file.path for file in listed], secrets, present)
    return hashlib.sha256("\0\0".join("\0".join(part) for part in parts).encode("utf-8", "surrogateescape")).hexdigest()


def _has_layers(recipe: Recipe, store: DiskStore) -> bool:
    return all(
        store.has(layer.digest) for platform in recipe.platforms for layer in platform.layers if layer.kind is not LayerKind.FOREIGN
    )


def _state_path(root: Path, cache: Path) -> Path:
    return cache / "builds" / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]}.json"


def _read_state(root: Path, cache: Path) -> dict[str, Any] | None:
    try:
        state = json.loads(_state_path(root, cache).read_bytes())
        return state if state["version"] == _STATE_VERSION and state["wherry"] == VERSION else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_state(files: ProjectFiles, recipe: Recipe, layers: _Layers, tag: str, cache: Path, since: int, *, usual: bool) -> None:
    state = {
        "version": _STATE_VERSION,
        "wherry": VERSION,
        "tag": tag,
        "usual": usual,
        "recipe": render_recipe(recipe),
        "watched": _distrust(_watch(files), since),
        "names": _names(files),
        "include": list(files.code.include),
        "exclude": list(files.code.exclude),
        "guessed": files.guessed,
        "model_files": [[model.path, model.optional] for model in files.models],
        "code": _render_layer_state(layers.code, since),
        "models": {path: _render_layer_state(known, since) for path, known in layers.models.items()},
    }
    path = _state_path(files.root, cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(state, separators=(",", ":")).encode(), path.parent)


def _distrust(stamps: list[list[Any]], since: int) -> list[list[Any]]:
    """Spoil the stamp of a file that was changed so lately that another change might not show."""
    return [[path, stamp if stamp is None or max(stamp[1], stamp[2]) < since - _GRAIN else [-1]] for path, stamp in stamps]


def _render_layer_state(known: _Known, since: int) -> list[Any]:
    layer, stamps = known
    return [render_layer(layer) if layer else None, _distrust(stamps, since)]


def _former_layers(state: dict[str, Any] | None, recipe: Recipe) -> _Layers | None:
    """The layers of the last build, when they lay in the same place and were compressed in the same way."""
    if state is None:
        return None
    try:
        before = parse_recipe(state["recipe"])
        return _parse_layers(state) if _own_layout(before) == _own_layout(recipe) else None
    except (FormatError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _own_layout(recipe: Recipe) -> tuple[object, ...]:
    """What code and model layers depend on besides their files."""
    return recipe.workdir, recipe.compression, _volume_folders(recipe)


def _parse_layers(state: dict[str, Any]) -> _Layers:
    return _Layers(
        code=_parse_layer_state(state["code"]),
        models={path: _parse_layer_state(known) for path, known in state["models"].items()},
    )


def _parse_layer_state(value: Any) -> _Known:
    layer, stamps = value
    return (parse_layer(layer) if layer else None), stamps


def _parse_files(root: Path, state: dict[str, Any]) -> ProjectFiles:
    return ProjectFiles(
        root=root,
        code=CodeSelection(include=tuple(state["include"]), exclude=tuple(state["exclude"])),
        models=tuple(ModelFile(path=path, optional=optional) for path, optional in state["model_files"]),
        watched=tuple(path for path, _ in state["watched"]),
        guessed=state["guessed"],
    )
