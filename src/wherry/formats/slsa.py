"""SLSA provenance v1 of an image, from its lock: what it was built from, by which program, and which lock asked for it.

It follows from the lock, the image and wherry's version alone, so two people who build the same say the same bytes; a time is in
it only where one is given. `buildType` and the builder's id are names, not addresses: docs/spec/provenance.md says what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wherry.formats.bill import draw_bill
from wherry.formats.in_toto import render_statement
from wherry.formats.lockfile import render_lock
from wherry.model.digest import Digest
from wherry.model.lock import Lock, PlatformLock
from wherry.model.oci import ImageConfig, Manifest

SLSA = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://wherry.dev/build/v1"
BUILDER = "https://wherry.dev/builder/v1"


def render_provenance(name: str, lock: Lock, manifest: Manifest, config: ImageConfig, *, version: str, finished: str = "") -> bytes:
    """The statement about one platform's image. `finished` is RFC 3339, for those who want a time in it."""
    locked = lock.for_platform(config.platform)
    details: dict[str, Any] = {"builder": {"id": BUILDER, "version": {"wherry": version}}}
    if finished:
        details["metadata"] = {"finishedOn": finished}
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "declaration": str(lock.declaration),
                "entrypoint": list(config.entrypoint),
                "name": name,
                "platform": str(config.platform),
            },
            "resolvedDependencies": [
                _resource("wherry.lock", Digest.of(render_lock(lock).encode())),
                *_list_base(locked),
                *_list_packages(name, lock, locked),
                *_list_builds(locked),
            ],
        },
        "runDetails": details,
    }
    return render_statement([(name, manifest.digest)], SLSA, predicate)


def _list_base(locked: PlatformLock) -> Iterator[dict[str, Any]]:
    if locked.base is not None:
        yield _resource(locked.base.name, locked.base.manifest)


def _list_packages(name: str, lock: Lock, locked: PlatformLock) -> Iterator[dict[str, Any]]:
    for part in draw_bill(name, lock, locked.platform, creator="wherry", version="").components:
        yield {"uri": part.purl, **_resource(part.file, part.sha256)}


def _list_builds(locked: PlatformLock) -> Iterator[dict[str, Any]]:
    """What wheels were built from and with."""
    files = [(build.file, build.sha256) for build in locked.builds]
    files += [(tool.file, tool.sha256) for build in locked.builds for tool in build.tools]
    for file, digest in dict.fromkeys(files):
        yield _resource(file, digest)


def _resource(name: str, digest: Digest) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": digest.hex}}
