"""Bills of materials attached to images, against the simulator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulators.registry import RegistrySimulator
from tests.unit.publish.test_sources import QUICK, pushed
from wherry.model.bill import BillForm
from wherry.publish.bills import ImageBill, push_bills
from wherry.sources.registries import access_registries
from wherry.store.disk import DiskStore
from wherry.store.registry_referrers import list_referrers


@pytest.fixture(params=[True, False], ids=["referrers", "tag"])
def registry(request: pytest.FixtureRequest) -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        simulator.behaviour.referrers = request.param
        yield simulator


def test_each_form_is_an_artifact_of_its_own(registry: RegistrySimulator, tmp_path: Path) -> None:
    access = access_registries({}, patience=QUICK)
    image, destination = pushed(access, DiskStore(tmp_path / "store"), registry)
    bills = [ImageBill(manifest=image.manifest, form=form, document=b'{"about":"%s"}' % form.encode()) for form in BillForm]
    made = push_bills(access, bills, destination)
    registry.forget()
    assert push_bills(access, bills, destination) == made
    assert registry.count("POST") == 0
    repository = access.open(destination)
    for form, digest in zip(BillForm, made, strict=True):
        (found,) = list_referrers(repository, image.manifest.digest, form.media_type)
        assert found.digest == digest
        manifest = json.loads(repository.read_manifest(digest)[1])
        assert manifest["subject"]["digest"] == str(image.manifest.digest)
        (layer,) = manifest["layers"]
        assert layer["mediaType"] == form.media_type
        assert registry.repository("team/tiny").blobs[layer["digest"]] == b'{"about":"%s"}' % form.encode()
    access.close()
