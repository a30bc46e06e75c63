from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.store.tiny import AMD64, ARM64, put_image, put_index
from wherry.errors import FormatError, StoreError
from wherry.formats.oci_json import parse_config, parse_manifest, render_config, render_index
from wherry.model.digest import DiffId, Digest
from wherry.model.lock import LayerKind
from wherry.model.oci import INDEX, Descriptor, History
from wherry.model.platform import Platform
from wherry.store.disk import DiskStore
from wherry.store.images import find_missing, layers_of, pick_image, reach_blobs, read_images


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "store")


def test_our_layers_say_what_they_hold(store: DiskStore) -> None:
    image = pick_image(store, put_index(store), AMD64)
    assert [(layer.kind, layer.name, layer.members) for layer in image.layers] == [
        (LayerKind.BASE, "base", ("libc6 2.36", "zlib1g 1.2")),
        (LayerKind.WHEEL, "numpy", ("numpy 2.4.6",)),
        (LayerKind.CODE, "code", ()),
    ]
    assert image.layers[1].cause == "numpy 2.4.6"
    assert [layer.size for layer in image.layers] == [layer.size for layer in image.manifest.layers]


def foreign(store: DiskStore, history: list[History], diff_ids: int = 3) -> tuple[tuple[LayerKind, str, tuple[str, ...]], ...]:
    manifest = parse_manifest(store.read_bytes(put_image(store).digest))
    config = render_config(
        platform=AMD64, created="", diff_ids=[DiffId(Digest.of(b"%d" % number).hex) for number in range(diff_ids)], history=history
    )
    return tuple((layer.kind, layer.name, layer.members) for layer in layers_of(manifest, parse_config(config)))


def test_layers_of_strangers_say_what_their_history_says(store: DiskStore) -> None:
    told = foreign(
        store,
        [
            History(created_by="/bin/sh -c #(nop) ADD file:1 in / "),
            History(created_by='CMD ["bash"]', empty_layer=True),
            History(created_by="RUN  pip install\tnumpy"),
            History(created_by="wherry layer nonsense x"),
        ],
    )
    assert told == (
        (LayerKind.FOREIGN, "layer 1", ("ADD file:1 in /",)),
        (LayerKind.FOREIGN, "layer 2", ("RUN pip install numpy",)),
        (LayerKind.FOREIGN, "layer 3", ("wherry layer nonsense x",)),
    )


def test_a_history_of_another_length_explains_nothing(store: DiskStore) -> None:
    assert foreign(store, [History(created_by="wherry layer code code")])[0] == (LayerKind.FOREIGN, "layer 1", ())


def test_as_many_diff_ids_as_layers(store: DiskStore) -> None:
    with pytest.raises(FormatError, match="3 layers, the config 2"):
        foreign(store, [], diff_ids=2)


def test_platforms_that_are_not_here_are_passed_over(store: DiskStore) -> None:
    here = put_image(store)
    gone = Descriptor(media_type=here.media_type, digest=Digest("0" * 64), size=9, platform=ARM64)
    raw = render_index([here, gone])
    index = Descriptor(media_type=INDEX, digest=store.put_bytes(raw), size=len(raw))
    assert [image.platform for image in read_images(store, index)] == [AMD64]
    assert pick_image(store, index).platform == AMD64


def test_a_choice_of_platforms_is_asked_for(store: DiskStore) -> None:
    index = put_index(store)
    with pytest.raises(StoreError, match=r"several platforms: linux/amd64, linux/arm64"):
        pick_image(store, index)
    with pytest.raises(StoreError, match="not for linux/riscv64, but for linux/amd64, linux/arm64"):
        pick_image(store, index, Platform.parse("linux/riscv64"))


def test_attestations_are_no_images(store: DiskStore) -> None:
    raw = render_index([put_image(store), put_image(store, Platform("unknown", "unknown"))])
    index = Descriptor(media_type=INDEX, digest=store.put_bytes(raw), size=len(raw))
    assert [image.platform for image in read_images(store, index)] == [AMD64]
    assert len(reach_blobs(store, index)) == 1 + 2 + 2 + 4  # index, manifests, configs, layers (two are shared)


def test_missing_parts_are_named(store: DiskStore) -> None:
    image = pick_image(store, put_index(store), AMD64)
    assert find_missing(store, image.manifest) == ()
    store.path(image.manifest.layers[0].digest).unlink()
    store.path(image.manifest.layers[1].digest).write_bytes(b"short")
    assert find_missing(store, image.manifest) == image.manifest.layers[:2]
