"""An operator with a store, a channel and its keys, who releases images that are made of a few files a layer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from tests.simulators.channels import make_channel
from tests.simulators.tuf_repository import NOW
from wherry.deliver.channel import read_channel
from wherry.deliver.metadata import RolePlan
from wherry.deliver.records import ReleaseRecords
from wherry.deliver.release import DEFAULT_BASES
from wherry.deliver.release_images import FoundImages, ImageFinder
from wherry.deliver.release_order import OrderResult, ReleaseOrder, carry_out_release
from wherry.formats.codec import compressor
from wherry.formats.decompress import codec_of
from wherry.formats.oci_json import render_config, render_index, render_manifest
from wherry.formats.tar import add_parents, file_entry, stream_tar
from wherry.model.digest import DiffId
from wherry.model.oci import CONFIG, INDEX, LAYER_GZIP, LAYER_TAR, MANIFEST, Descriptor, History
from wherry.model.platform import Platform
from wherry.model.release import Health, Metadata
from wherry.sources.registries import RegistryAccess, access_registries
from wherry.store.disk import DiskStore
from wherry.store.images import read_images

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")
Files = Mapping[str, bytes]


class Operator:
    """Has a channel in `folder`/channel, its keys in `folder`/keys, and images in `folder`/store."""

    def __init__(self, folder: Path, plans: Mapping[str, RolePlan] | None = None) -> None:
        self.channel, self.store = folder / "channel", DiskStore(folder / "store")
        self.keys = make_channel(self.channel, folder / "keys", plans=plans)
        self.access: RegistryAccess = access_registries({}, cache=None)

    @property
    def finder(self) -> ImageFinder:
        return ImageFinder(self.store, self.access)

    @property
    def records(self) -> ReleaseRecords:
        return ReleaseRecords(self.channel)

    def build(
        self,
        layers: Sequence[Files],
        name: str = "app:latest",
        platforms: Sequence[Platform] = (AMD64,),
        codec: str = "gzip",
        settings: str = "",
    ) -> str:
        """An image of these layers in the store; gives its name."""
        images = [put_image(self.store, layers, platform, codec, settings) for platform in platforms]
        if len(images) == 1:
            self.store.tag(name, images[0])
        else:
            raw = render_index(images)
            self.store.tag(name, Descriptor(media_type=INDEX, digest=self.store.put_bytes(raw), size=len(raw)))
        return name

    def release(
        self, image: str, bases: Sequence[str] = DEFAULT_BASES, *, health: Health | None = None, now: datetime = NOW
    ) -> Metadata:
        self.order(image, bases, health=health, now=now)
        metadata = read_channel(self.channel).metadata
        assert metadata is not None
        return metadata

    def order(
        self,
        image: str,
        bases: Sequence[str] = DEFAULT_BASES,
        *,
        health: Health | None = None,
        now: datetime = NOW,
        most: int | None = None,
        dry_run: bool = False,
    ) -> OrderResult:
        order = ReleaseOrder(image=image, bases=tuple(bases), health=health, most=most)
        return carry_out_release(order, self.channel, self.store, self.access, None if dry_run else self.keys, now)

    def find(self, image: str) -> FoundImages:
        return self.finder.find(image)

    def parcel(self, base: str | None, platform: Platform = AMD64) -> Path:
        """The parcel for whoever has the image called `base`; None: nothing."""
        folder = self.channel / "parcels" / str(platform).replace("/", "-")
        if base is None:
            return folder / "full"
        images = {image.platform: image for image in read_images(self.store, self.store.resolve(base))}
        return folder / images[platform].manifest.digest.hex


def put_image(store: DiskStore, layers: Sequence[Files], platform: Platform, codec: str, settings: str = "") -> Descriptor:
    tars = [b"".join(stream_tar(add_parents(file_entry(path, data) for path, data in files.items()))) for files in layers]
    blobs = [_pack(tar, codec) for tar in tars]
    config = render_config(
        platform=platform,
        created="1980-01-01T00:00:00Z",
        diff_ids=[DiffId(hashlib.sha256(tar).hexdigest()) for tar in tars],
        history=[History(created_by=f"wherry layer code {next(iter(files))}") for files in layers],
        env=(f"SETTINGS={settings}",),
    )
    manifest = render_manifest(
        config=Descriptor(media_type=CONFIG, digest=store.put_bytes(config), size=len(config)),
        layers=[
            Descriptor(
                media_type=LAYER_GZIP if codec_of(blob) == "gzip" else LAYER_TAR, digest=store.put_bytes(blob), size=len(blob)
            )
            for blob in blobs
        ],
    )
    return Descriptor(media_type=MANIFEST, digest=store.put_bytes(manifest), size=len(manifest), platform=platform)


def _pack(tar: bytes, codec: str) -> bytes:
    engine = compressor(codec)
    return engine.write(tar) + engine.finish()


def read_signed(document: bytes) -> dict[str, object]:
    """What a signed document says."""
    value: dict[str, object] = json.loads(document)["signed"]
    return value
