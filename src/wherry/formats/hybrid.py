"""The hybrid archive: an OCI layout of uncompressed layers with docker's `manifest.json` in it, as the entries of one tar.

docker, podman and containerd all load it, and it may leave out the layers that the engine has. Its manifest describes
uncompressed layers, so the manifest's digest is another one than the published; the config, and so the image ID, is the same.
A layer that is left out is told under the digest that the engine has it by. Pure: contents come in as functions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wherry.formats.oci_json import descriptor_json, render_index, render_json, render_manifest
from wherry.formats.tar import Content, TarEntry, add_parents, file_entry
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import CONFIG, INDEX, LAYER_TAR, MANIFEST, REF_NAME, Descriptor
from wherry.model.platform import Platform

IMAGE_NAME = "io.containerd.image.name"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridLayer:
    """A layer; `descriptor` is how the manifest tells it, `content` its tar, unused where the layer is left out."""

    diff_id: DiffId
    descriptor: Descriptor
    content: bytes | Content = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridImage:
    """One platform's image; `config` are its raw bytes, `annotations` the manifest's."""

    platform: Platform
    config: bytes
    layers: tuple[HybridLayer, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)

    def render_manifest(self) -> bytes:
        """The manifest that the archive carries."""
        config = Descriptor(media_type=CONFIG, digest=Digest.of(self.config), size=len(self.config))
        layers = [layer.descriptor for layer in self.layers]
        return render_manifest(config=config, layers=layers, annotations=self.annotations)


def describe_tar(diff_id: DiffId, size: int, annotations: Mapping[str, str] | None = None) -> Descriptor:
    """An uncompressed layer: its digest is its diff_id."""
    return Descriptor(media_type=LAYER_TAR, digest=Digest(diff_id.hex), size=size, annotations=dict(annotations or {}))


def list_entries(images: Sequence[HybridImage], name: str, omit: Collection[DiffId] = ()) -> list[TarEntry]:
    """The archive's members in their order; docker's manifest.json names the first image. `omit` are layers to leave out."""
    manifests = [image.render_manifest() for image in images]
    described = [
        Descriptor(media_type=MANIFEST, digest=Digest.of(manifest), size=len(manifest), platform=image.platform)
        for image, manifest in zip(images, manifests, strict=True)
    ]
    documents = [document for image, manifest in zip(images, manifests, strict=True) for document in (manifest, image.config)]
    annotations = {IMAGE_NAME: write_out_name(name), REF_NAME: name.rpartition(":")[2]}
    root = replace(described[0], annotations=annotations)
    if len(images) > 1:
        index = render_index(described)
        documents.insert(0, index)
        root = Descriptor(media_type=INDEX, digest=Digest.of(index), size=len(index), annotations=annotations)
    docker = {
        "Config": _blob_path(Digest.of(images[0].config).hex),
        "RepoTags": [name],
        "Layers": [_blob_path(layer.diff_id.hex) for layer in images[0].layers],
    }
    left_out = frozenset(omit)
    return order_entries(
        [
            file_entry("oci-layout", LAYOUT),
            file_entry("index.json", render_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor_json(root)]})),
            file_entry("manifest.json", _render_list([docker])),
            *(file_entry(_blob_path(Digest.of(document).hex), document) for document in documents),
            *(_layer_entry(layer) for image in images for layer in image.layers if layer.diff_id not in left_out),
        ]
    )


def order_entries(entries: Iterable[TarEntry]) -> list[TarEntry]:
    """Documents first, so that a reader of a stream knows what the blobs are for; a layer of two platforms once."""
    unique: dict[str, TarEntry] = {}
    for entry in entries:
        unique.setdefault(entry.path, entry)
    tops = [entry for path, entry in unique.items() if "/" not in path]
    blobs = add_parents(entry for path, entry in unique.items() if "/" in path)
    return [*sorted(tops, key=lambda entry: entry.path), *blobs]


def write_out_name(name: str) -> str:
    """The name as docker and containerd write it out: host, folder, tag."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def _layer_entry(layer: HybridLayer) -> TarEntry:
    return TarEntry(path=_blob_path(layer.diff_id.hex), size=layer.descriptor.size, content=layer.content)


def _blob_path(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _render_list(members: list[dict[str, Any]]) -> bytes:
    return b"[" + b",".join(render_json(member) for member in members) + b"]"
