"""A release: what a device finds in the channel leads from the base it has to the image that was released."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from tests.simulators.channels import plan_roles
from tests.simulators.releases import AMD64, ARM64, Files, Operator, read_signed
from tests.simulators.tuf_repository import NOW
from wherry.agent.trust import TrustStore
from wherry.deliver import parcels, release
from wherry.deliver.metadata import refresh_timestamp
from wherry.errors import FormatError, StoreError, UsageError
from wherry.formats.delta import ReadAt
from wherry.formats.delta_decoder import decode_delta
from wherry.formats.oci_json import parse_config
from wherry.formats.parcel import BaseDocuments, Documents, locate_bodies, parse_parcel, read_documents
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.model.release import Health
from wherry.sources.registries import access_registries
from wherry.store.images import StoredImage, read_images
from wherry.store.layer_tree import Tree
from wherry.store.pruning import prune_store

TEXT = b"".join(b"line %d of a text that changes little\n" % number for number in range(400))
BIG = {"lib/data": random.Random(1).randbytes(50_000), "lib/text": TEXT}


def model(number: int) -> Files:
    return {"app/model": random.Random(number).randbytes(300)}


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


class Device:
    """Has an image and its documents, and takes parcels as an agent does."""

    def __init__(self, operator: Operator, folder: Path, platform: Platform = AMD64) -> None:
        self.operator, self.platform = operator, platform
        self.trust = TrustStore(folder)
        self.trust.begin((operator.channel / "metadata/1.root.json").read_bytes())
        self.base: BaseDocuments | None = None
        self.image: StoredImage | None = None

    def update(self, *, full: bool = False, now: object = NOW) -> int:
        """Take the parcel for what is here; gives its size."""
        name = Digest.of(self.base.manifest).hex if self.base and not full else "full"
        path = self.operator.channel / "parcels" / str(self.platform).replace("/", "-") / name
        read, size = reader(path), path.stat().st_size
        head = parse_parcel(read, size)
        documents = read_documents(read, head, self.base)
        verified = self.trust.verify_metadata(documents.metadata, self.platform, now=now)  # type: ignore[arg-type]
        assert verified.target.manifest == Digest.of(documents.manifest)
        self._make_layers(read, documents, full=full)
        self.trust.accept(verified)
        targets = documents.metadata.targets
        self.base = BaseDocuments(manifest=documents.manifest, config=documents.config, targets=targets)
        self.release = verified.target.release
        return size

    def _make_layers(self, read: ReadAt, documents: Documents, *, full: bool) -> None:
        head = parse_parcel(read, self._size(read))
        base = None if full or self.base is None else self.base
        tree = parcels.LayerShelf(self.operator.store, [self.image]).open_tree(self.image) if base and self.image else Tree(())
        with tree:
            for place in locate_bodies(head, documents.config, base.config if base else None):
                window = lambda offset, size, at=place.offset: read(at + offset, size)  # noqa: E731
                for _ in decode_delta(window, place.size, tree, place.diff_id):
                    pass
        self.image = self._find_image(documents)

    def _find_image(self, documents: Documents) -> StoredImage:
        descriptor = next(
            image
            for name in self.operator.store.names()
            for image in read_images(self.operator.store, self.operator.store.resolve(name))
            if image.manifest.raw == documents.manifest
        )
        assert parse_config(documents.config).diff_ids == descriptor.config.diff_ids
        return descriptor

    @staticmethod
    def _size(read: ReadAt) -> int:
        return len(read(0, 1 << 30))


def reader(path: Path) -> ReadAt:
    data = path.read_bytes()
    return lambda offset, size: data[offset : offset + size]


def names(operator: Operator, platform: str = "linux-amd64") -> set[str]:
    return {path.name for path in (operator.channel / "parcels" / platform).iterdir()}


def test_devices_follow_from_release_to_release(operator: Operator, tmp_path: Path) -> None:
    device, late = Device(operator, tmp_path / "one"), Device(operator, tmp_path / "two")
    for number in (1, 2, 3):
        operator.release(operator.build([BIG, {"lib/more": TEXT * number}, model(number)], f"app:{number}"))
        size = device.update()
        assert device.release == number
        assert size > 50_000 if number == 1 else size < 1_500
        if number == 1:
            late.update()
    late.update()
    assert late.release == 3
    assert device.base == late.base


def test_an_update_to_the_same_release_is_metadata_alone(operator: Operator, tmp_path: Path) -> None:
    device = Device(operator, tmp_path / "device")
    operator.release(operator.build([BIG, model(1)]))
    device.update()
    assert device.update() < 300


def test_every_platform_has_its_parcels(operator: Operator, tmp_path: Path) -> None:
    both = (AMD64, ARM64)
    operator.release(operator.build([BIG, model(1)], "app:1", both))
    operator.release(operator.build([BIG, model(2)], "app:2", both))
    for platform in both:
        device = Device(operator, tmp_path / platform.architecture, platform)
        device.update()
        assert device.release == 2
        assert names(operator, str(platform).replace("/", "-")) == {
            "full",
            operator.parcel("app:1", platform).name,
            operator.parcel("app:2", platform).name,
        }


def test_full_bodies_are_taken_over_from_the_former_full_parcel(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    operator.release(operator.build([BIG, model(1)], "app:1"))
    cut: list[int] = []
    encode = parcels.encode_layers

    def count(layers: Sequence[object], tree: Tree, progress: object) -> object:
        if not tree.files:
            cut.append(len(layers))
        return encode(layers, tree, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(parcels, "encode_layers", count)
    operator.release(operator.build([BIG, model(2)], "app:2"))
    operator.parcel(None).write_bytes(operator.parcel(None).read_bytes()[:-9])
    operator.release(operator.build([BIG, model(3)], "app:3"))
    assert cut == [1, 2]


def test_what_was_cut_for_a_dry_run_is_not_cut_again(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    operator.access = access_registries({}, cache=tmp_path / "cache")
    operator.release(operator.build([BIG, model(1)], "app:1"))
    operator.build([BIG, model(2)], "app:2")
    operator.order("app:2", dry_run=True)
    planned = {path.name: path.read_bytes() for path in (tmp_path / "cache/bodies").iterdir()}
    damaged = tmp_path / "cache/bodies" / min(planned, key=lambda name: len(planned[name]))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    cut: list[int] = []
    encode = parcels.encode_layers

    def count(layers: Sequence[object], tree: Tree, progress: object) -> object:
        cut.append(len(layers))
        return encode(layers, tree, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(parcels, "encode_layers", count)
    operator.order("app:2")
    assert sum(cut) == 1
    assert damaged.read_bytes() == planned[damaged.name]
    assert set(planned) == {path.name for path in (tmp_path / "cache/bodies").iterdir()}
    for name in planned:
        os.utime(tmp_path / "cache/bodies" / name, (0, 0))
    operator.build([BIG, model(3)], "app:3")
    operator.order("app:3", dry_run=True)
    assert not set(planned) & {path.name for path in (tmp_path / "cache/bodies").iterdir()}


def test_the_former_image_can_be_released_again(operator: Operator, tmp_path: Path) -> None:
    device, idle = Device(operator, tmp_path / "device"), Device(operator, tmp_path / "idle")
    operator.release(operator.build([BIG, model(1)], "app:1"))
    device.update()
    idle.update()
    operator.release(operator.build([BIG, model(2)], "app:2"))
    device.update()
    operator.release("app:1")
    assert (device.update() < 1_500, device.release) == (True, 3)
    # One who slept through all of it has the image already, under the number of another release.
    assert (idle.update() < 500, idle.release) == (True, 3)
    operator.release(operator.build([BIG, model(4)], "app:4"))
    for each in (device, idle):
        assert (each.update() < 1_500, each.release) == (True, 4)


def test_only_so_many_releases_are_bases(operator: Operator) -> None:
    for number in range(1, 5):
        operator.release(operator.build([BIG, model(number)], f"app:{number}"), [f"last:{2}"])
    assert names(operator) == {"full", *(operator.parcel(f"app:{number}").name for number in (2, 3, 4))}
    operator.release(operator.build([BIG, model(5)], "app:5"), ["1"])
    assert names(operator) == {"full", *(operator.parcel(f"app:{number}").name for number in (1, 5))}


def test_an_image_that_was_never_released_can_be_a_base(operator: Operator) -> None:
    operator.build([BIG, model(7)], "factory:1")
    operator.release(operator.build([BIG, model(1)], "app:1"), ["factory:1"])
    path = operator.parcel("factory:1")
    head = parse_parcel(reader(path), path.stat().st_size)
    (image,) = operator.find("factory:1").images
    documents = read_documents(reader(path), head, BaseDocuments(manifest=image.manifest.raw, config=image.config.raw))
    assert len(documents.metadata.roots) == 1
    assert len(locate_bodies(head, documents.config, image.config.raw)) == 1
    renew(operator)
    assert parse_parcel(reader(path), path.stat().st_size).prefix == head.prefix


def test_an_image_is_no_base_of_itself(operator: Operator) -> None:
    costs = operator.order(operator.build([BIG, model(1)], "app:1"), ["app:1"]).costs
    assert (len(costs.updates), len(costs.polls), len(costs.full)) == (0, 1, 1)


def test_a_draft_is_as_long_as_what_is_signed(tmp_path: Path) -> None:
    """Also where several have to sign."""
    operator = Operator(tmp_path, plan_roles(targets=(3, 2)))
    operator.release(operator.build([BIG, model(1)], "app:1"))
    operator.build([BIG, model(2)], "app:2")
    planned, done = (operator.order("app:2", dry_run=dry).costs.updates[0].size for dry in (True, False))
    assert abs(planned - done) <= 16
    assert done > 300 + 64


@pytest.mark.parametrize(("text", "message"), [("9", "no release 9"), ("last:x", "not a number"), ("nothing:1", "no image")])
def test_what_is_no_base_is_refused(operator: Operator, text: str, message: str) -> None:
    operator.release(operator.build([BIG, model(1)]))
    with pytest.raises((UsageError, StoreError), match=message):
        operator.release("app:latest", [text])


def test_a_base_whose_layers_are_gone_is_told(operator: Operator) -> None:
    operator.release(operator.build([BIG, model(1)], "app:1"))
    (image,) = operator.find("app:1").images
    operator.store.path(image.manifest.layers[1].digest).unlink()
    found = operator.find(operator.build([BIG, model(2)], "app:2"))
    selected = release.select_bases(operator.records, operator.finder, ["last:5"], found.images)
    assert selected.bases == {AMD64: ()}
    assert "layers of release 1 are gone" in selected.passed_over[0]
    with pytest.raises(StoreError, match="1 of 2 layers of release 1 are gone"):
        release.select_bases(operator.records, operator.finder, ["1"], found.images)


def test_a_layer_that_is_compressed_otherwise_is_the_same_layer(operator: Operator, tmp_path: Path) -> None:
    device = Device(operator, tmp_path / "device")
    operator.release(operator.build([BIG, model(1)], "app:1"))
    device.update()
    (image,) = operator.find("app:1").images
    operator.store.path(image.manifest.layers[0].digest).unlink()
    operator.release(operator.build([BIG, model(2)], "app:2", codec="identity"))
    assert names(operator) == {"full", operator.parcel("app:1").name, operator.parcel("app:2").name}


def test_pruning_leaves_what_the_next_release_needs(operator: Operator) -> None:
    operator.release(operator.build([BIG, model(1)]))
    operator.build([{"other": b"image"}])
    prune_store(operator.store, keep_recent=-1)
    operator.release(operator.build([BIG, model(2)]))
    assert len(names(operator)) == 3


def test_the_memory_that_a_decoder_needs_is_signed(operator: Operator) -> None:
    metadata = operator.release(operator.build([BIG, model(1)]), health=Health(http="8080/healthz"))
    custom = read_signed(metadata.targets)["targets"]["linux/amd64"]["custom"]  # type: ignore[index]
    assert custom["memory"] == 4 << 20
    assert [layer["size"] for layer in custom["layers"]] == [68_608, 2_560]
    assert custom["health"] == {"http": "8080/healthz", "seconds": 30, "within": 120}


def renew(operator: Operator) -> int:
    renewal = refresh_timestamp(operator.channel, operator.keys, NOW + timedelta(days=10))
    assert renewal.metadata is not None
    return parcels.renew_parcels(operator.channel, renewal.metadata)


def test_parcels_are_renewed_with_the_timestamp(operator: Operator, tmp_path: Path) -> None:
    device, sleeper = Device(operator, tmp_path / "device"), Device(operator, tmp_path / "sleeper")
    operator.release(operator.build([BIG, model(1)], "app:1"))
    device.update()
    sleeper.update()
    operator.release(operator.build([BIG, model(2)], "app:2"))
    before = {path: path.read_bytes() for path in (operator.channel / "parcels").rglob("*") if path.is_file()}
    assert renew(operator) == len(before) == 3
    assert all(path.read_bytes() != data for path, data in before.items())
    late = NOW + timedelta(days=20)
    for each in (device, sleeper):
        each.update(now=late)
        assert each.release == 2
    Device(operator, tmp_path / "new").update(now=late)


def test_parcels_of_a_stopped_release_are_not_renewed(operator: Operator) -> None:
    operator.release(operator.build([BIG, model(1)], "app:1"))
    former = operator.parcel(None).read_bytes()
    operator.release(operator.build([BIG, model(2)], "app:2"))
    operator.parcel(None).write_bytes(former)
    with pytest.raises(StoreError, match="stopped before it was finished"):
        renew(operator)


def test_wherever_a_release_stops_devices_have_a_whole_one(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write that names a file in the channel is the last one, once."""
    operator.release(operator.build([BIG, model(1)], "app:1"))
    saved = tmp_path / "saved"
    shutil.copytree(operator.channel, saved)
    operator.build([BIG, model(2)], "app:2")
    replace, stops = Path.replace, 0
    while True:
        shutil.rmtree(operator.channel)
        shutil.copytree(saved, operator.channel)
        left = [stops]

        def stop(self: Path, target: Path, left: list[int] = left) -> Path:
            if operator.channel in Path(target).parents:
                if not left[0]:
                    raise KeyboardInterrupt
                left[0] -= 1
            return replace(self, target)

        device = Device(operator, tmp_path / f"device{stops}")
        device.update()
        monkeypatch.setattr(Path, "replace", stop)
        try:
            operator.release("app:2")
            finished = True
        except KeyboardInterrupt:
            finished = False
        monkeypatch.setattr(Path, "replace", replace)
        device.update()
        assert device.release in (1, 2)
        if finished:
            break
        Device(operator, tmp_path / f"new{stops}").update()
        operator.release("app:2")
        device.update()
        assert device.release in (2, 3)
        assert device.image == operator.find("app:2").images[0]
        assert not list((operator.channel / "parcels").rglob("*.part"))
        stops += 1
    assert stops >= 10


def test_a_damaged_record_is_not_believed(operator: Operator) -> None:
    operator.release(operator.build([BIG, model(1)], "app:1"))
    record = operator.channel / "releases/1.json"
    for data in (b"{}", b"[", record.read_bytes().replace(b'"release":1', b'"release":2'), b"x" * (5 << 20)):
        record.write_bytes(data)
        with pytest.raises(FormatError):
            operator.records.read_all()


def test_what_a_record_holds_is_plain(operator: Operator) -> None:
    operator.release(operator.build([BIG, model(1)], "app:1"))
    text = (operator.channel / "releases/1.json").read_text()
    assert os.fspath(operator.channel.parent) not in text
    assert operator.records.read(1).time == NOW
