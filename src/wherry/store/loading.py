"""Takes in archives that others wrote: `docker save` of every age, podman's, OCI layouts as a tar, our hybrid ones.

The archive is read once, as a stream, gzip or zstd or plain. Members are taken up by digest, never under their own name;
links among them (docker's old archives) are followed within the archive alone. Layers keep the bytes they have. An
OCI layout is believed by digests; for a docker archive, which has no manifest, each layer is held against the config's
diff_id and an OCI manifest is made. Refused, with nothing kept: truncation, names that leave the archive, digests that
do not match, more than the limit. Images that an archive does not name are named ``loaded:<12 hex digits>``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from wherry.errors import FormatError, StoreError, TrustError
from wherry.formats.decompress import codec_of, unpack_layer_chunks
from wherry.formats.oci_json import MAX_DOCUMENT, parse_any_manifest, parse_config, parse_index, render_index, render_manifest
from wherry.formats.tar import EntryKind
from wherry.formats.untar import TarMember, read_members
from wherry.model.digest import Digest
from wherry.model.oci import CONFIG, INDEX, LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, MANIFEST, REF_NAME, Descriptor, Index, Manifest
from wherry.store.disk import DiskStore, is_image_name
from wherry.store.pruning import discard_blobs

DEFAULT_LIMIT = 256 << 30  # uncompressed bytes of one archive
_MAX_MEMBERS = 20_000
_MAX_LINKS = 8
_HELD = 64 << 20  # small members are held in memory until something points at them
_CHUNK = 1 << 18
_CONTAINERD_NAME = "io.containerd.image.name"
_MEDIA_TYPES = {"gzip": LAYER_GZIP, "zstd": LAYER_ZSTD, "identity": LAYER_TAR}
_BLOB_PATH = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_CONFIG_PATH = re.compile(r"(?:.*/)?([0-9a-f]{64})(?:\.json)?")


def load_archive(store: DiskStore, file: BinaryIO, *, limit: int = DEFAULT_LIMIT, where: str = "archive") -> tuple[str, ...]:
    """Bring an archive's images into the store; gives their names. It is all of them or none."""
    archive = _Archive(store=store, where=where)
    try:
        with store.in_use():
            archive.take_members(unpack_layer_chunks(_chunks(file), limit))
            images = archive.read_images()
            _check_names(images, where)
            for name, descriptor in images.items():
                store.tag(name, descriptor)
    except BaseException:
        discard_blobs(store, tuple(archive.brought))
        raise
    return tuple(images)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A file of the archive: held in memory (`data`), or in the store already."""

    digest: Digest
    size: int
    data: bytes | None


@dataclass(slots=True, kw_only=True)
class _Archive:
    """What has been taken out of an archive so far. `brought` are the blobs that the store did not have before."""

    store: DiskStore
    where: str
    files: dict[str, _Member] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    brought: list[Digest] = field(default_factory=list)
    held: int = 0

    # -- members

    def take_members(self, chunks: Iterable[bytes]) -> None:
        for number, member in enumerate(read_members(chunks, self.where)):
            if number >= _MAX_MEMBERS:
                raise FormatError(f"more than {_MAX_MEMBERS} members", where=self.where)
            if member.kind is EntryKind.FILE:
                self._take_file(member)
            elif member.kind is EntryKind.SYMLINK:
                self.links[member.path] = _join(member.path.rpartition("/")[0], member.link, self.where)
            elif member.kind is EntryKind.HARDLINK:
                self.links[member.path] = _join("", member.link, self.where)

    def _take_file(self, member: TarMember) -> None:
        if member.size <= MAX_DOCUMENT and self.held + member.size <= _HELD:
            data = b"".join(member.content)
            self.held += len(data)
            taken = _Member(digest=Digest.of(data), size=len(data), data=data)
        else:
            taken = self._store_content(member.content)
        named = _BLOB_PATH.fullmatch(member.path)
        if named and named[1] != taken.digest.hex:
            raise TrustError(f"{member.path} is {taken.digest}", where=self.where, hint="have the archive made again")
        if self.files.setdefault(member.path, taken).digest != taken.digest:
            raise FormatError(f"two members of one name: {member.path}", where=self.where)

    def _store_content(self, content: Iterable[bytes]) -> _Member:
        with self.store.begin() as writer:
            for chunk in content:
                writer.write(chunk)
            known = self.store.has(writer.digest)
            digest = writer.commit()
        if not known:
            self.brought.append(digest)
        return _Member(digest=digest, size=writer.size, data=None)

    def _find(self, path: str) -> _Member:
        wanted = path
        for _ in range(_MAX_LINKS):
            if wanted in self.files:
                return self.files[wanted]
            if wanted not in self.links:
                break
            wanted = self.links[wanted]
        raise FormatError(f"no member {path!r}", where=self.where, hint="an archive that leaves out layers fits one engine only")

    def _read(self, member: _Member) -> bytes:
        return self.store.read_bytes(member.digest) if member.data is None else member.data

    def _keep(self, member: _Member) -> None:
        """A member that something points at becomes a blob."""
        if member.data is not None and not self.store.has(member.digest):
            self.store.put((member.data,), member.digest, member.size)
            self.brought.append(member.digest)

    # -- images

    def read_images(self) -> dict[str, Descriptor]:
        """The archive's images by name, every blob of them in the store."""
        if "index.json" in self.files:
            return self._read_layout()
        if "manifest.json" in self.files:
            return self._read_docker()
        raise FormatError(
            "neither index.json nor manifest.json in it", where=self.where, hint="an archive of `docker save` or an OCI layout"
        )

    def _read_layout(self) -> dict[str, Descriptor]:
        images = {}
        for root in parse_index(self._read(self.files["index.json"]), f"{self.where}: index.json").manifests:
            complete = self._keep_image(root)
            images[_name_of(root)] = replace(complete, annotations=_without_names(root.annotations))
        if not images:
            raise FormatError("index.json lists no image", where=self.where)
        return images

    def _keep_image(self, descriptor: Descriptor, depth: int = 0) -> Descriptor:
        """Keep a manifest or index with all it points at. Of an index, what the archive left out is left out."""
        where = f"{self.where}: {descriptor.digest}"
        member = self._blob(descriptor)
        document = parse_any_manifest(self._read(member), descriptor.media_type, where)
        if isinstance(document, Index):
            if depth > 2:
                raise FormatError("indexes nested too deep", where=where)
            return self._keep_index(document, descriptor, depth)
        for part in (document.config, *document.layers):
            self._keep(self._blob(part))
        self._check_plain_layers(document, where)
        self._keep(member)
        return descriptor

    def _keep_index(self, index: Index, descriptor: Descriptor, depth: int) -> Descriptor:
        here = [inner for inner in index.manifests if f"blobs/sha256/{inner.digest.hex}" in self.files]
        if not here:
            raise FormatError(f"none of the images of {descriptor.digest} is in it", where=self.where)
        kept = [self._keep_image(inner, depth + 1) for inner in here]
        if kept == list(index.manifests):
            self._keep(self._blob(descriptor))
            return descriptor
        if len(kept) == 1:
            return kept[0]
        raw = render_index(kept, index.annotations)
        made = _Member(digest=Digest.of(raw), size=len(raw), data=raw)
        self._keep(made)
        return Descriptor(media_type=INDEX, digest=made.digest, size=made.size)

    def _blob(self, descriptor: Descriptor) -> _Member:
        member = self._find(f"blobs/sha256/{descriptor.digest.hex}")
        if member.digest != descriptor.digest or member.size != descriptor.size:
            raise TrustError(f"{descriptor.digest} is {member.digest} of {member.size} bytes in it", where=self.where)
        return member

    def _check_plain_layers(self, manifest: Manifest, where: str) -> None:
        """An uncompressed layer's digest is its diff_id, so that a lie is seen for nothing."""
        if manifest.config.media_type != CONFIG or LAYER_TAR not in {layer.media_type for layer in manifest.layers}:
            return
        config = parse_config(self._read(self._blob(manifest.config)), f"{where}: config")
        if len(config.diff_ids) != len(manifest.layers):
            raise FormatError(f"{len(manifest.layers)} layers, and {len(config.diff_ids)} in the config", where=where)
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
            if layer.media_type == LAYER_TAR and layer.digest.hex != diff_id.hex:
                raise TrustError(f"layer {layer.digest} is not the config's {diff_id}", where=where)

    # -- docker's own form

    def _read_docker(self) -> dict[str, Descriptor]:
        images: dict[str, Descriptor] = {}
        for number, entry in enumerate(_parse_list(self._read(self.files["manifest.json"]), f"{self.where}: manifest.json")):
            where = f"{self.where}: manifest.json[{number}]"
            descriptor = self._keep_docker_image(entry, where)
            for name in _texts(entry, "RepoTags", where) or (f"loaded:{descriptor.digest.hex[:12]}",):
                images[_plain_name(name)] = descriptor
        if not images:
            raise FormatError("manifest.json lists no image", where=self.where)
        return images

    def _keep_docker_image(self, entry: Mapping[str, Any], where: str) -> Descriptor:
        path = entry.get("Config")
        if not isinstance(path, str):
            raise FormatError("no Config", where=where)
        config_member = self._find(_join("", path, where))
        named = _CONFIG_PATH.fullmatch(path)
        if named and named[1] != config_member.digest.hex:
            raise TrustError(f"{path} is {config_member.digest}", where=where)
        config = parse_config(self._read(config_member), f"{where}: config")
        paths = _texts(entry, "Layers", where)
        if len(paths) != len(config.diff_ids):
            raise FormatError(f"{len(paths)} layers, and {len(config.diff_ids)} in the config", where=where)
        layers = []
        for path, diff_id in zip(paths, config.diff_ids, strict=True):
            member = self._find(_join("", path, where))
            self._keep(member)
            media_type, found = self._identify(member)
            if found != diff_id.hex:
                raise TrustError(f"layer {path} is sha256:{found}, the config says {diff_id}", where=where)
            layers.append(Descriptor(media_type=media_type, digest=member.digest, size=member.size))
        self._keep(config_member)
        raw = render_manifest(
            config=Descriptor(media_type=CONFIG, digest=config_member.digest, size=config_member.size), layers=layers
        )
        manifest = _Member(digest=Digest.of(raw), size=len(raw), data=raw)
        self._keep(manifest)
        return Descriptor(media_type=MANIFEST, digest=manifest.digest, size=manifest.size)

    def _identify(self, member: _Member) -> tuple[str, str]:
        """A layer's media type, by its magic bytes, and the sha256 of its uncompressed tar."""
        with self.store.open(member.digest) as file:
            codec = codec_of(file.read(4))
            if codec == "identity":
                return _MEDIA_TYPES[codec], member.digest.hex
            file.seek(0)
            hasher = hashlib.sha256()
            for chunk in unpack_layer_chunks(_chunks(file), DEFAULT_LIMIT):
                hasher.update(chunk)
        return _MEDIA_TYPES[codec], hasher.hexdigest()


def _join(folder: str, target: str, where: str) -> str:
    """Where a link or a path of manifest.json leads, within the archive."""
    parts = [] if target.startswith("/") or not folder else folder.split("/")
    for part in target.split("/"):
        if part == "..":
            if not parts:
                raise FormatError(f"{target!r} leaves the archive", where=where)
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _parse_list(raw: bytes, where: str) -> list[Mapping[str, Any]]:
    if len(raw) > MAX_DOCUMENT:
        raise FormatError(f"{len(raw)} bytes", where=where)
    try:
        value = json.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not valid JSON: {str(error)[:200]}", where=where) from error
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise FormatError("not a list of images", where=where)
    return value


def _texts(entry: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = entry.get(key) or []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise FormatError("not a list of strings", where=f"{where}.{key}")
    return tuple(value)


def _name_of(root: Descriptor) -> str:
    name = root.annotations.get(_CONTAINERD_NAME) or root.annotations.get(REF_NAME)
    return _plain_name(name) if name else f"loaded:{root.digest.hex[:12]}"


def _plain_name(name: str) -> str:
    """The name as a person writes it: ``anomaly:latest`` for ``docker.io/library/anomaly:latest``."""
    for prefix in ("docker.io/library/", "docker.io/", "localhost/"):
        name = name.removeprefix(prefix)
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _check_names(names: Iterable[str], where: str) -> None:
    for name in names:
        if not is_image_name(name):
            raise FormatError(f"not an image name: {name[:80]!r}", where=where)


def _without_names(annotations: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in annotations.items() if key not in (_CONTAINERD_NAME, REF_NAME)}


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    try:
        while chunk := file.read(_CHUNK):
            yield chunk
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where="archive") from error
