"""Sources attached to an image in a real registry, one that knows nothing of referrers; skopeo still copies the image."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.engines.registry_fixture import RealRegistry, real_registry
from tests.unit.store.tiny import put_image
from wherry.formats.lockfile import render_lock
from wherry.model.digest import Digest
from wherry.model.lock import Lock
from wherry.model.reference import Reference
from wherry.model.sources import ImageSources, SourceFile, SourceKind
from wherry.publish.push import Way, plan_push, push_image
from wherry.publish.sources import push_sources
from wherry.sources.attached_sources import read_attached
from wherry.sources.registries import access_registries
from wherry.store.disk import DiskStore
from wherry.store.images import pick_image

__all__ = ["real_registry"]
pytestmark = pytest.mark.engine
WHEEL = b"a wheel" * 3000


def test_attached_read_again_and_copied_along(real_registry: RealRegistry, tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    descriptor = put_image(store)
    destination = Reference(real_registry.host, "carried/tiny", "1")
    access = access_registries({}, cache=tmp_path / "cache")
    push_image(access, store, plan_push(store, descriptor), destination)
    image = pick_image(store, descriptor)
    digest = Digest.of(WHEEL)
    wheel = SourceFile(
        kind=SourceKind.WHEEL, file="tiny-1.0-py3-none-any.whl", digest=digest, size=len(WHEEL), open=lambda: io.BytesIO(WHEEL)
    )
    lock = render_lock(Lock(declaration=Digest.of(b""), platforms=())).encode()
    made_of = ImageSources(manifest=image.manifest, config=image.config, document=b'{"schema":1}', lock=lock, files=(wheel,))
    assert {blob.way for blob in push_sources(access, [made_of], destination).blobs} == {Way.SENT}
    assert {blob.way for blob in push_sources(access, [made_of], destination).blobs} == {Way.THERE}
    (found,) = read_attached(access, destination)
    assert (found.document, found.lock, found.config.raw) == (made_of.document, lock, image.config.raw)
    assert [(file.kind, file.file, file.digest, file.size) for file in found.files] == [
        (SourceKind.WHEEL, wheel.file, digest, wheel.size)
    ]
    with found.files[0].open() as stream:
        assert stream.read() == WHEEL
    access.close()
    require_tool("skopeo")
    words = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{destination.name}:sha256-{image.manifest.digest.hex}"]
    listed = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    assert [one["artifactType"] for one in listed["manifests"]] == ["application/vnd.wherry.sources.v1"]
