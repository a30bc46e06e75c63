"""SLSA provenance v1 of an image, from its lock: what it was built from, by which program, and which lock asked for it.

It follows from the lock, the image and wherry's version alone, so two people who build the same say the same bytes; a time is in
it only where one is given. `buildType` and the builder's id are names, not addresses: docs/spec/provenance.md says what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from wherry.formats.bill import draw_bill
from wherry.formats.in_toto import render_statement
from wherry.formats.lockfile import render_lock
from wherry.model.digest import Digest
from wherry.model.lock import Lock, PlatformLock
from wherry.model.oci import ImageConfig

SLSA = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://wherry.dev/build/v1"
BUILDER = "https://wherry.dev/builder/v1"


def render_provenance(
    name: str, lock: Lock, subject: Digest, configs: Sequence[ImageConfig], *, version: str, finished: str = ""
) -> bytes:
    """The statement about one platform's manifest, or about an index of several. `finished` is RFC 3339, for those who want a
    time in it."""
    locked = [lock.for_platform(config.platform) for config in configs]
    named = [resource for each in locked for resource in _list_resources(name, lock, each)]
    details: dict[str, Any] = {"builder": {"id": BUILDER, "version": {"wherry": version}}}
    if finished:
        details["metadata"] = {"finishedOn": finished}
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "declaration": str(lock.declaration),
                "entrypoint": list(configs[0].entrypoint),
                "name": name,
                "platforms": [str(config.platform) for config in configs],
            },
            "resolvedDependencies": [
                _resource("wherry.lock", Digest.of(render_lock(lock).encode())),
                *{(one["name"], one["digest"]["sha256"]): one for one in named}.values(),
            ],
        },
        "runDetails": details,
    }
    return render_statement([(name, subject)], SLSA, predicate)


def _list_resources(name: str, lock: Lock, locked: PlatformLock) -> Iterator[dict[str, Any]]:
    """The base, the packages, and what wheels were built from and with."""
    if locked.base is not None:
        yield _resource(locked.base.name, locked.base.manifest)
    for part in draw_bill(name, lock, locked.platform, creator="wherry", version="").components:
        yield {"uri": part.purl, **_resource(part.file, part.sha256)}
    for build in locked.builds:
        yield _resource(build.file, build.sha256)
        yield from (_resource(tool.file, tool.sha256) for tool in build.tools)


def _resource(name: str, digest: Digest) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": digest.hex}}
