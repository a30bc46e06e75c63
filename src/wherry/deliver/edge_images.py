"""Finds the image of an IoT Edge module, and the name by which a device gets it: in a registry, in the store, in a channel.

A device pulls by digest, never by tag: what a tag means may change, and edgeAgent refuses a name with both. Only documents
are read, no layer. An image for several platforms goes by its index, so that one deployment serves a mixed fleet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from wherry.deliver.channel import read_channel
from wherry.deliver.metadata import read_release
from wherry.deliver.records import ReleaseRecords
from wherry.errors import StoreError, UsageError
from wherry.formats.oci_json import MAX_DOCUMENT, parse_any_manifest, parse_config, parse_manifest
from wherry.model.digest import Digest
from wherry.model.oci import CONFIG, DOCKER_CONFIG, ImageConfig, Index, Manifest
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.model.release import Health, name_on_device
from wherry.sources.registries import RegistryAccess
from wherry.store.disk import DiskStore
from wherry.store.images import pick_image, read_images


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeImage:
    """`digest` is what a device pulls; `manifests` are those of the platforms. `reference` None: in no registry known."""

    digest: Digest
    manifests: tuple[Digest, ...]
    config: ImageConfig
    reference: Reference | None
    version: str
    health: Health | None = None

    def name_pulled(self) -> str:
        """By digest alone."""
        if self.reference is None:
            raise UsageError(
                "where do devices find this image? It is in the store of this machine",
                hint="wherry push it, and name what that prints, or --repository REGISTRY/NAME",
            )
        return str(replace(self.reference, tag=None, digest=self.digest))

    def name_brought(self, name: str) -> str:
        """As wherry-agent calls it, whose container is called `name`: another name for each image."""
        if len(self.manifests) != 1:
            raise UsageError(f"wherry-agent names each platform's image; this has {len(self.manifests)}", hint="--platform OS/ARCH")
        return name_on_device(name, self.manifests[0])


def find_registry_image(access: RegistryAccess, reference: Reference, platform: Platform | None = None) -> EdgeImage:
    """What a reference means now."""
    source = access.open(reference)
    descriptor, raw = source.resolve(reference, platform)
    document = parse_any_manifest(raw, where=str(reference))
    if isinstance(document, Index):
        inner = [one.digest for one in document.manifests if one.platform is None or one.platform.architecture != "unknown"]
        manifests = [parse_manifest(source.read_manifest(digest)[1], where=str(digest)) for digest in inner]
    else:
        manifests = [document]

    def read_config(manifest: Manifest) -> ImageConfig:
        with source.open_sized(manifest.config.digest, manifest.config.size) as file:
            return parse_config(file.read(MAX_DOCUMENT + 1), where=f"{reference}: config")

    return _describe(descriptor.digest, manifests, read_config, reference, reference.tag or descriptor.digest.hex[:12])


def find_stored_image(store: DiskStore, text: str, repository: Reference | None, platform: Platform | None = None) -> EdgeImage:
    """An image of the store; `repository` is where it was pushed to."""
    descriptor = store.resolve(text)
    images = (pick_image(store, descriptor, platform),) if platform else read_images(store, descriptor)
    configs = {image.manifest.digest: image.config for image in images}
    digest = images[0].descriptor.digest if platform and images else descriptor.digest
    manifests = [image.manifest for image in images]
    return _describe(digest, manifests, lambda manifest: configs[manifest.digest], repository, digest.hex[:12])


def find_released_image(channel: Path, repository: Reference | None, platform: Platform | None = None) -> EdgeImage:
    """The image of a channel's newest release, as signed. Without `repository`: from where it was released."""
    targets = read_release(read_channel(channel))
    chosen = [target for target in targets if platform in (None, target.platform)]
    if len(chosen) != 1:
        have = ", ".join(str(target.platform) for target in targets) or "nothing"
        what = f"the channel's newest release is for {have}" if targets else "the channel has no release yet"
        raise StoreError(what, where=str(channel), hint="--platform OS/ARCH" if targets else "wherry release IMAGE --channel DIR")
    target, records = chosen[0], ReleaseRecords(channel)
    manifest = parse_manifest(records.read_document(target.manifest), where=f"release {target.release}")
    recorded = records.read(target.release).for_platform(target.platform)
    source = Reference.parse(recorded.source) if recorded and recorded.source else None
    return EdgeImage(
        digest=target.manifest,
        manifests=(target.manifest,),
        config=parse_config(records.read_document(manifest.config.digest), where=f"release {target.release}: config"),
        reference=repository or source,
        version=str(target.release),
        health=target.health,
    )


def check_pushed(access: RegistryAccess, image: EdgeImage) -> None:
    """That devices will find it where they are sent."""
    pulled = Reference.parse(image.name_pulled())
    if access.open(pulled).find_manifest(image.digest) is None:
        raise StoreError("the registry does not have this image", where=str(pulled), hint=f"wherry push {pulled.name}")


def _describe(
    digest: Digest,
    manifests: Iterable[Manifest],
    read_config: Callable[[Manifest], ImageConfig],
    reference: Reference | None,
    version: str,
) -> EdgeImage:
    images = [manifest for manifest in manifests if manifest.config.media_type in (CONFIG, DOCKER_CONFIG)]
    configs = [read_config(manifest) for manifest in images]
    if not configs:
        raise StoreError("no image in it", where=str(reference or digest))
    if len({(config.ports, config.volumes) for config in configs}) != 1:
        have = ", ".join(str(config.platform) for config in configs)
        raise UsageError(f"its platforms differ in ports or volumes: {have}", hint="--platform OS/ARCH, one deployment each")
    return EdgeImage(
        digest=digest,
        manifests=tuple(manifest.digest for manifest in images),
        config=configs[0],
        reference=reference,
        version=version,
    )
