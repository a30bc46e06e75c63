"""Puts an image's own layers on another base, or new files on the layers that devices have: what `wherry image rebase` composes.

Images of any builder. Nothing is run and no layer that exists is written again. Whatever would break by it is found first
(`check.fit`), and then nothing is named: an image that a plan has findings for is never stored under a name.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wherry.assemble.layers import write_layer
from wherry.assemble.rebase import (
    AddedLayer,
    ComposedDocuments,
    OwnPart,
    add_layers,
    count_base_layers,
    count_common_layers,
    rebase_image,
)
from wherry.assemble.rebase_layers import (
    Taken,
    is_below,
    list_difference,
    take_from_folder,
    take_from_layers,
)
from wherry.assemble.spool import Spool
from wherry.check.facts import Facts
from wherry.check.fit import Side, find_hidden, find_other_changes, judge_fit, judge_packages
from wherry.check.tree import LayeredTree
from wherry.declare.secret_files import holds_secret, is_litter, is_secret_name
from wherry.errors import UsageError
from wherry.formats.oci_json import parse_config, parse_manifest, render_index
from wherry.model.declaration import Compression
from wherry.model.digest import Digest
from wherry.model.lock import LayerKind
from wherry.model.oci import INDEX, Descriptor, ImageConfig
from wherry.model.platform import Platform
from wherry.model.progress import Progress, be_silent
from wherry.model.report import Finding
from wherry.rebase_images import RebaseImages
from wherry.sources.registries import RegistryAccess
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage
from wherry.store.layout_folder import is_layout

_SHOWN = 5
_LIBRARY_BYTECODE = (LayerKind.BYTECODE, "bytecode-python")


@dataclass(frozen=True, slots=True, kw_only=True)
class RebasePlan:
    """One platform's image as it would be. `own` are the layers on top; `moved` what whoever has the former image lacks, in bytes.

    `findings` say why it must not be; `notes` what somebody should know.
    """

    platform: Platform
    documents: ComposedDocuments
    layers: int
    own: tuple[Descriptor, ...]
    moved: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def image_id(self) -> Digest:
        return Digest.of(self.documents.config)

    @property
    def descriptor(self) -> Descriptor:
        manifest = parse_manifest(self.documents.manifest)
        size = len(self.documents.manifest)
        return Descriptor(media_type=manifest.media_type, digest=manifest.digest, size=size, platform=self.platform)


def keep_images(store: DiskStore, plans: Sequence[RebasePlan], name: str) -> Descriptor:
    """Store what was planned and name it: the image itself, or an index over several platforms."""
    for plan in plans:
        store.put_bytes(plan.documents.config)
        store.put_bytes(plan.documents.manifest)
    found = plans[0].descriptor
    if len(plans) > 1:
        raw = render_index([plan.descriptor for plan in plans])
        found = Descriptor(media_type=INDEX, digest=store.put_bytes(raw), size=len(raw))
    store.tag(name, found)
    return found


class Rebaser:
    """Plans rebases. What it needs of other places is brought into the store."""

    def __init__(self, store: DiskStore, cache: Path, access: RegistryAccess, progress: Progress = be_silent) -> None:
        self._store, self._cache = store, cache
        self._images = RebaseImages(store, cache, access, progress)

    # -- another base

    def plan_rebase(
        self, image: str, onto: str, former: str | None = None, platforms: Sequence[Platform] = ()
    ) -> tuple[RebasePlan, ...]:
        """The image on the base `onto`. `former` is the base that it is on, where the image itself does not tell."""
        return tuple(self._plan_one(one, image, onto, former) for one in self._images.find(image, platforms).images)

    def _plan_one(self, image: StoredImage, name: str, onto: str, former: str | None) -> RebasePlan:
        found = self._images.find(onto, (image.platform,))
        base = found.images[0]
        parts, notes = self._split(image, name, base, former)
        name = onto if found.source else ""
        first, *others = parts
        plan = self._rebase_part(first, base, name, notes)
        for part in others if plan.findings else ():
            kept = f"it keeps its own Python; with the new base's: {plan.findings[0].what}"
            other = self._rebase_part(part, base, name, (*notes, kept))
            plan = plan if other.findings else other
        return plan

    def _rebase_part(self, part: OwnPart, base: StoredImage, name: str, notes: tuple[str, ...]) -> RebasePlan:
        documents = rebase_image(part, base, name)
        facts, below = self._images.facts(part.image), self._images.facts(base)
        own = [facts[number] for number in part.numbers]
        after = Side(layers=[*below, *own], config=parse_config(documents.config))
        before = [Side(layers=facts, config=part.image.config), Side(layers=below, config=base.config)]
        if hidden := find_hidden(own, below):
            notes = (*notes, f"{len(hidden)} files of the new base are hidden by the image's own: {_some(hidden)}")
        return _describe(part.image, part.image, documents, part.layers, judge_fit(after, before, own), notes)

    def _split(
        self, image: StoredImage, name: str, base: StoredImage, former: str | None
    ) -> tuple[tuple[OwnPart, ...], tuple[str, ...]]:
        """The ways to tell an image's own layers from its base's, the best first."""
        if former is not None:
            known: ImageConfig | None = self._images.find(former, (image.platform,)).images[0].config
        else:
            known = self._images.find_annotated_base(image)
        count = count_base_layers(image.config, known) if known else None
        if count is not None:
            return (OwnPart(image=image, below=count, base=known),), ()
        if former is not None:
            raise UsageError(f"its layers are not the lowest of {name}", where=f"--from {former}", hint="the base it was built on")
        if parts := _split_by_kind(image):
            return parts, ()
        common = count_common_layers(image.config, base.config)
        if not common:
            raise UsageError(
                "nothing tells which of its layers are its base's", where=name, hint="--from BASE, the image that it was built on"
            )
        note = f"its former base is not known: the {common} lowest layers, which the new base has as well, are taken for it"
        return (OwnPart(image=image, below=common),), (f"{note}; --from BASE names it",)

    # -- new files on former layers

    def plan_take(self, new: str, former: str, paths: Sequence[str], platforms: Sequence[Platform] = ()) -> tuple[RebasePlan, ...]:
        """The image `former` with what `new`, an image or a folder, has at `paths`; relative ones start at its workdir."""
        images = self._images.find(former, platforms).images
        folder = Path(new)
        if folder.is_dir() and not is_layout(folder):
            return tuple(self._take_into(image, None, folder, paths) for image in images)
        found = {one.platform: one for one in self._images.find(new, [one.platform for one in images]).images}
        return tuple(self._take_into(image, found[image.platform], folder, paths) for image in images)

    def _take_into(self, former: StoredImage, new: StoredImage | None, folder: Path, paths: Sequence[str]) -> RebasePlan:
        inner = {_place(path, former.config.workdir): path for path in paths}
        taken = [path for path in inner if not any(is_below(path, other) for other in inner if other != path)]
        below = self._images.facts(former)
        _require_plain(LayeredTree(below), taken, "the former image", must_exist=False)
        with Spool(self._cache) as spool, self._store.in_use():
            if new is None:
                inside = {path: _require_inside(inner[path]) for path in taken}
                have: Taken = take_from_folder(folder, inside, spool, partial(_leaves_out, folder))
            else:
                _require_plain(LayeredTree(self._images.facts(new)), taken, "the new image", must_exist=True)
                have = take_from_layers(self._images.open_concerned(new, taken), taken, spool, "the new image")
            had = take_from_layers(self._images.open_concerned(former, taken), taken, None, "the former image")
            added = [layer for path in taken if (layer := self._write_difference(have, had, path))]
        documents = (
            add_layers(former, added) if added else ComposedDocuments(config=former.config.raw, manifest=former.manifest.raw)
        )
        own = [self._images.facts_of_added(layer) for layer in added]
        return self._judge_take(former, new, documents, [layer.descriptor for layer in added], own, taken)

    def _judge_take(
        self,
        former: StoredImage,
        new: StoredImage | None,
        documents: ComposedDocuments,
        added: Sequence[Descriptor],
        own: Sequence[Facts],
        taken: Sequence[str],
    ) -> RebasePlan:
        below = Side(layers=self._images.facts(former), config=former.config)
        after = Side(layers=[*below.layers, *own], config=parse_config(documents.config))
        findings, notes = judge_fit(after, [below], own), []
        if new is not None:
            wanted = Side(layers=self._images.facts(new), config=new.config)
            findings = (*judge_packages(after, wanted), *findings)
            digests = {"new": self._images.digests(new), "former": self._images.digests(former)}
            if others := find_other_changes(wanted, below, digests, taken):
                notes.append(f"{len(others)} other files differ and stay as they are in the former image: {_some(others)}")
            if settings := _list_settings(new.config, former.config):
                notes.append(f"the new image has another {', '.join(settings)}: the former one's stay")
        if not added:
            notes.append("nothing of it differs: it is the former image")
        return _describe(former, former, documents, added, findings, tuple(notes))

    def _write_difference(self, have: Taken, had: Taken, path: str) -> AddedLayer | None:
        entries = list_difference(have, had, path)
        if not entries:
            return None
        blob = write_layer(entries, self._store, Compression.GZIP)
        kind = LayerKind.CODE if any(entry.path.endswith(".py") for entry in entries) else LayerKind.MODEL
        descriptor = Descriptor(media_type=blob.media_type, digest=blob.digest, size=blob.size)
        created_by = f"wherry layer {kind.value} {posixpath.basename(path)}"
        return AddedLayer(descriptor=descriptor, diff_id=blob.diff_id, created_by=created_by, comment=f"/{path}")


def _split_by_kind(image: StoredImage) -> tuple[OwnPart, ...]:
    """The own part of an image of wherry's. The interpreter over an assembled base may be the one's or the other's.

    Where it is the base's, so is the bytecode of its standard library: it is never held against its source, and would run instead
    of the new base's.
    """
    layers = image.layers
    kinds = [layer.kind for layer in layers]
    foreign = next((number for number, kind in enumerate(kinds) if kind is not LayerKind.FOREIGN), len(kinds))
    if foreign == len(kinds):
        return ()
    if foreign:
        return (OwnPart(image=image, below=foreign),)
    lowest = next((number for number, kind in enumerate(kinds) if kind is not LayerKind.BASE), len(kinds))
    without_python = OwnPart(image=image, below=lowest)
    if kinds[lowest : lowest + 1] != [LayerKind.INTERPRETER]:
        return (without_python,)
    compiled = frozenset(number for number, layer in enumerate(layers) if (layer.kind, layer.name) == _LIBRARY_BYTECODE)
    return OwnPart(image=image, below=lowest + 1, dropped=compiled), without_python


def _describe(
    image: StoredImage,
    former: StoredImage,
    documents: ComposedDocuments,
    own: Sequence[Descriptor],
    findings: tuple[Finding, ...],
    notes: tuple[str, ...],
) -> RebasePlan:
    layers = parse_manifest(documents.manifest).layers
    known = {layer.digest for layer in former.manifest.layers}
    moved = sum(layer.size for layer in {layer.digest: layer for layer in layers}.values() if layer.digest not in known)
    if Digest.of(documents.config) != former.config.digest:
        moved += len(documents.manifest) + len(documents.config)
    return RebasePlan(
        platform=image.platform,
        documents=documents,
        layers=len(layers),
        own=tuple(own),
        moved=moved,
        findings=findings,
        notes=notes,
    )


def _place(path: str, workdir: str) -> str:
    """Where a path lies in the image, without a leading slash."""
    place = posixpath.normpath(posixpath.join("/", workdir, path)).strip("/")
    if not place:
        raise UsageError("the whole root cannot be taken", where=f"--take {path}", hint="ship the new image itself")
    return place


def _require_inside(path: str) -> str:
    """Where a path lies in the folder that it is taken from, which is never beside it."""
    inside = posixpath.normpath(path.strip("/") or ".")
    if inside.partition("/")[0] == "..":
        raise UsageError(
            "lies outside of the folder", where=f"--take {path}", hint="the folder that holds it, in place of this one"
        )
    if is_secret_name(inside):
        raise UsageError("looks like a secret, which never enters an image", where=f"--take {path}", hint="wherry run --secret")
    return inside


def _leaves_out(folder: Path, path: str) -> bool:
    """Whether a build would leave a file out, whatever else says so: secrets, caches, version control."""
    place = folder / path
    if is_secret_name(path) or any(map(is_litter, path.split("/"))):
        return True
    return place.is_file() and not place.is_symlink() and holds_secret(place.name, str(place))


def _require_plain(tree: LayeredTree, taken: Sequence[str], where: str, *, must_exist: bool) -> None:
    """Refuse what links lead away from: files would be put at one place and read at another."""
    for path in taken:
        found = tree.resolve(path)
        above = path
        while found is None and not must_exist and "/" in above:
            above = above.rpartition("/")[0]
            found = tree.resolve(above)
        if found is None and must_exist:
            raise UsageError(f"there is no /{path} in {where}", where="--take")
        if found is not None and found != above:
            raise UsageError(f"/{above} is a link in {where}", where="--take", hint=f"--take /{found}{path.removeprefix(above)}")


def _list_settings(new: ImageConfig, former: ImageConfig) -> list[str]:
    named = {"entrypoint": "entrypoint", "cmd": "command", "env": "environment", "user": "user", "workdir": "folder"}
    return [words for field, words in named.items() if getattr(new, field) != getattr(former, field)]


def _some(paths: Sequence[str]) -> str:
    shown = ", ".join(f"/{path}" for path in paths[:_SHOWN])
    return shown + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")
