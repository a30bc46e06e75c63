"""The two ends of a difference, read from where they lie: images in the store or in a registry, locks in files or in git.

Of an image only manifest and config are read, never a layer. `FetchDocument` is the port to a registry.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wherry.deliver.difference import Difference, diff_images
from wherry.errors import FormatError, LockError, StoreError, UsageError
from wherry.formats.lockfile import parse_lock
from wherry.formats.oci_json import parse_any_manifest, parse_config, parse_manifest
from wherry.model.image import BuiltImage
from wherry.model.lock import Lock
from wherry.model.oci import CONFIG, DOCKER_CONFIG, Descriptor, ImageConfig, Index, Manifest
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.store.disk import DiskStore
from wherry.store.images import layers_of, read_images

GIT = "git:"
_MAX_LOCK = 64 << 20
_MAX_FORMER = 256 << 10  # manifests of 40 layers have some 20 KiB
_PREFIX = re.compile(r"[0-9a-f]{8,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
# Gives a document of a reference: its tag's or digest's manifest or index for None, else the blob or manifest of a digest.
FetchDocument = Callable[[Reference], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEnd:
    """One platform's image with the sizes of its documents in bytes; `index_size` is 0 where there is no index."""

    image: BuiltImage
    config_size: int
    index_size: int = 0


def read_stored_ends(store: DiskStore, text: str) -> tuple[ImageEnd, ...]:
    """Every platform that the store has of an image, given by name, digest or image ID; unknown is a `StoreError`.

    An image whose name has moved on to a newer one is found as well, until it is pruned.
    """
    try:
        descriptor = store.resolve(text)
    except StoreError as error:
        former = _find_former(store, text.removeprefix("sha256:"))
        if len(former) > 1:
            raise StoreError(f"{text!r} means {len(former)} images", hint="more digits") from error
        if not former:
            raise
        descriptor = former[0]
    index_size = descriptor.size if isinstance(parse_any_manifest(store.read_bytes(descriptor.digest)), Index) else 0
    return tuple(_end(stored.manifest, stored.config, index_size) for stored in read_images(store, descriptor))


def _find_former(store: DiskStore, prefix: str) -> list[Descriptor]:
    """Manifests and indexes among all blobs whose own digest, or whose config's, begins so."""
    if not _PREFIX.fullmatch(prefix):
        return []
    found = []
    for entry in os.scandir(store.root / "blobs" / "sha256"):
        if not _DIGEST.fullmatch(entry.name) or entry.stat().st_size > _MAX_FORMER:
            continue
        raw = Path(entry.path).read_bytes()
        if not raw.startswith(b"{") or b'"schemaVersion"' not in raw:
            continue
        try:
            document = parse_any_manifest(raw)
        except FormatError:
            continue
        ids = [document.digest, document.config.digest] if isinstance(document, Manifest) else [document.digest]
        if any(each.hex.startswith(prefix) for each in ids) and document.digest.hex == entry.name:
            found.append(Descriptor(media_type=document.media_type, digest=document.digest, size=len(raw)))
    return found


def read_registry_ends(
    reference: Reference, fetch_manifest: FetchDocument, fetch_blob: FetchDocument, platform: Platform | None = None
) -> tuple[ImageEnd, ...]:
    """The platforms that a registry has of an image, or the one asked for; layers are not fetched."""
    raw = fetch_manifest(reference)
    document = parse_any_manifest(raw, where=str(reference))
    if isinstance(document, Manifest):
        manifests, index_size = [document], 0
    else:
        index_size = len(raw)
        wanted = [each for each in document.manifests if _is_image(each.platform) and platform in (None, each.platform)]
        at = [Reference(reference.registry, reference.repository, None, each.digest) for each in wanted]
        manifests = [parse_manifest(fetch_manifest(each), where=str(each)) for each in at]
    ends = []
    for manifest in manifests:
        if manifest.config.media_type in (CONFIG, DOCKER_CONFIG):
            at_config = Reference(reference.registry, reference.repository, None, manifest.config.digest)
            ends.append(_end(manifest, parse_config(fetch_blob(at_config), where=str(at_config)), index_size))
    return tuple(ends)


def _is_image(platform: Platform | None) -> bool:
    return platform is None or platform.architecture != "unknown"


def _end(manifest: Manifest, config: ImageConfig, index_size: int) -> ImageEnd:
    image = BuiltImage(
        platform=config.platform,
        manifest=manifest.digest,
        manifest_size=len(manifest.raw),
        config=manifest.config.digest,
        layers=layers_of(manifest, config),
    )
    return ImageEnd(image=image, config_size=manifest.config.size, index_size=index_size)


def diff_ends(base: tuple[ImageEnd, ...], target: tuple[ImageEnd, ...], wanted: Platform | None = None) -> list[Difference]:
    """Compare two images on every platform that both have, or on the wanted one; none is a `StoreError`."""
    before = {end.image.platform: end for end in base}
    pairs = [(before[end.image.platform], end) for end in target if end.image.platform in before]
    if wanted is not None:
        pairs = [pair for pair in pairs if pair[1].image.platform == wanted]
    if not pairs:
        have = ", ".join(str(end.image.platform) for end in base), ", ".join(str(end.image.platform) for end in target)
        raise StoreError(f"no platform in common: {have[0]} and {have[1]}", hint="--platform, or build for it")
    return [diff_images(old.image, new.image, config_size=new.config_size, index_size=new.index_size) for old, new in pairs]


def is_lock(text: str) -> bool:
    """Whether an end names a lock: ``git:REV:PATH``, a file ``*.lock`` (not uv's or pixi's), a folder with a wherry.lock."""
    path = Path(text)
    if text.startswith(GIT):
        return True
    is_foreign = path.name == "uv.lock" or path.name.endswith("pixi.lock")
    return (path.is_file() and path.suffix == ".lock" and not is_foreign) or (path / "wherry.lock").is_file()


def read_lock_end(text: str) -> Lock:
    """Read a lock from a file, a folder, or a revision (``git:HEAD~1`` means its wherry.lock in this folder)."""
    if text.startswith(GIT):
        return parse_lock(_read_revision(text.removeprefix(GIT)), where=text)
    path = Path(text) / "wherry.lock" if Path(text).is_dir() else Path(text)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_LOCK + 1)
        return parse_lock(data.decode("utf-8"), where=str(path))
    except OSError as error:
        raise LockError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise LockError("is not UTF-8 text", where=str(path)) from error


def _read_revision(text: str) -> str:
    revision, _, file = text.partition(":")
    if not revision or revision.startswith("-"):
        raise UsageError(f"{GIT}{text} names no revision", hint="git:HEAD~1, or git:v1.2:folder/wherry.lock")
    # Without a path: the lock of this folder, wherever it lies in the repository.
    command = ["git", "show", "--end-of-options", f"{revision}:{file or './wherry.lock'}"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise UsageError("git is not installed", where=f"{GIT}{text}") from error
    if done.returncode != 0:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines()[:1]
        raise LockError(
            f"git has no such file: {' '.join(reason)[:200]}", where=f"{GIT}{text}", hint="git:REVISION:FILE, in a git repository"
        )
    try:
        return done.stdout.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LockError("is not UTF-8 text", where=f"{GIT}{text}") from error
