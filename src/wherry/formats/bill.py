"""A lock as a bill of materials: SPDX 2.3 and CycloneDX 1.6, both as canonical JSON.

Both follow from the lock alone, so the same lock gives the same bytes: no time (SPDX wants one and gets the fixed time of all
files), no random number. They name what is locked: licences, the project's code and models, and what a base given by reference
has in it are not in a lock, and are not claimed.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from wherry.formats.lockfile import render_lock
from wherry.model.bill import Bill, BillForm, Component
from wherry.model.digest import Digest
from wherry.model.lock import Lock, LockedDeb, LockedRecord, LockedWheel, PlatformLock
from wherry.model.platform import Platform

_CREATED = "1980-01-01T00:00:00Z"
_UNKNOWN = "NOASSERTION"
_IMAGE = "SPDXRef-image"


def draw_bill(name: str, lock: Lock, platform: Platform, *, creator: str, version: str) -> Bill:
    """The bill of one platform of a lock, for an image of this name."""
    locked = lock.for_platform(platform)
    alone = render_lock(Lock(declaration=lock.declaration, platforms=(locked,)))
    digest = Digest.of(f"{name}\n{creator} {version}\n{alone}".encode())
    components = tuple(sorted(_list_components(locked), key=lambda one: (one.kind, one.name, one.version)))
    return Bill(name=name, platform=platform, components=components, digest=digest, creator=creator, version=version)


def render_bill(bill: Bill, form: BillForm) -> bytes:
    """The bill in one of its forms."""
    return render_spdx(bill) if form is BillForm.SPDX else render_cyclonedx(bill)


def render_spdx(bill: Bill) -> bytes:
    """An SPDX 2.3 document in JSON."""
    image = _spdx_package(_IMAGE, bill.name, {"primaryPackagePurpose": "CONTAINER", "comment": str(bill.platform)})
    related = [("SPDXRef-DOCUMENT", "DESCRIBES", _IMAGE)]
    related += [(_IMAGE, "CONTAINS", f"SPDXRef-{one.key}") for one in bill.components]
    related += [(f"SPDXRef-{one.key}", "DEPENDS_ON", f"SPDXRef-{key}") for one in bill.components for key in one.requires]
    return _render(
        {
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": f"{bill.name} {bill.platform}",
            "documentNamespace": f"urn:uuid:{_uuid(bill)}",
            "creationInfo": {"created": _CREATED, "creators": [f"Tool: {bill.creator}-{bill.version}"]},
            "packages": [image, *(_spdx_component(one) for one in bill.components)],
            "relationships": [
                {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other} for one, kind, other in related
            ],
        }
    )


def render_cyclonedx(bill: Bill) -> bytes:
    """A CycloneDX 1.6 document in JSON."""
    return _render(
        {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{_uuid(bill)}",
            "version": 1,
            "metadata": {
                "tools": {"components": [{"type": "application", "name": bill.creator, "version": bill.version}]},
                "component": {
                    "type": "container",
                    "bom-ref": "image",
                    "name": bill.name,
                    "properties": [{"name": "wherry:platform", "value": str(bill.platform)}],
                },
            },
            "components": [_cyclonedx_component(one) for one in bill.components],
            "dependencies": [
                {"ref": "image", "dependsOn": sorted(one.key for one in bill.components)},
                *({"ref": one.key, "dependsOn": sorted(one.requires)} for one in bill.components),
            ],
        }
    )


def _list_components(locked: PlatformLock) -> Iterator[Component]:
    distribution = ((locked.base and locked.base.release) or "debian").partition(":")[0]
    for deb in locked.debs:
        yield _component("deb", deb, _deb_purl(distribution, deb), ())
    wheels = {wheel.name: wheel for wheel in locked.wheels}
    for wheel in locked.wheels:
        needed = tuple(_key("wheel", wheels[name].sha256) for name in wheel.requires if name in wheels)
        yield _component("wheel", wheel, f"pkg:pypi/{_quote(wheel.name)}@{_quote(wheel.version)}", needed)
    records = {record.name: record for record in locked.records}
    for record in locked.records:
        needed = tuple(_key("record", records[name].sha256) for name in record.requires if name in records)
        yield _component("record", record, _record_purl(record), needed)
    if (archive := locked.interpreter.archive) is not None:
        yield Component(
            kind="python",
            name="cpython",
            version=locked.interpreter.version,
            purl=f"pkg:generic/cpython@{_quote(locked.interpreter.version)}",
            file=archive.file,
            size=archive.size,
            sha256=archive.sha256,
        )


def _component(kind: str, package: LockedDeb | LockedWheel | LockedRecord, purl: str, requires: tuple[str, ...]) -> Component:
    return Component(
        kind=kind,
        name=package.name,
        version=package.version,
        purl=purl,
        file=package.file,
        size=package.size,
        sha256=package.sha256,
        requires=requires,
    )


def _key(kind: str, sha256: Digest) -> str:
    return f"{kind}-{sha256.hex[:20]}"


def _deb_purl(distribution: str, deb: LockedDeb) -> str:
    return f"pkg:deb/{distribution}/{_quote(deb.name)}@{_quote(deb.version)}?arch={_quote(deb.architecture)}"


def _record_purl(record: LockedRecord) -> str:
    """Qualifiers stand in the order of their names."""
    kind = "conda" if record.file.endswith(".conda") else "tar.bz2"
    said = {"build": record.build, "channel": record.channel, "subdir": record.subdir, "type": kind}
    qualifiers = "&".join(f"{key}={_quote(value)}" for key, value in said.items())
    return f"pkg:conda/{_quote(record.name)}@{_quote(record.version)}?{qualifiers}"


def _quote(text: str) -> str:
    return quote(text, safe=":")


def _spdx_component(one: Component) -> dict[str, Any]:
    return _spdx_package(
        f"SPDXRef-{one.key}",
        one.name,
        {
            "versionInfo": one.version,
            "packageFileName": one.file,
            "checksums": [{"algorithm": "SHA256", "checksumValue": one.sha256.hex}],
            "externalRefs": [
                {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": one.purl},
            ],
        },
    )


def _spdx_package(key: str, name: str, more: dict[str, Any]) -> dict[str, Any]:
    """Everything that the lock does not say is said to be unknown."""
    unknown = {"downloadLocation": _UNKNOWN, "licenseConcluded": _UNKNOWN, "licenseDeclared": _UNKNOWN, "copyrightText": _UNKNOWN}
    return {"SPDXID": key, "name": name, "filesAnalyzed": False, **unknown, **more}


def _cyclonedx_component(one: Component) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": one.key,
        "name": one.name,
        "version": one.version,
        "purl": one.purl,
        "hashes": [{"alg": "SHA-256", "content": one.sha256.hex}],
        "properties": [{"name": "wherry:file", "value": one.file}, {"name": "wherry:size", "value": str(one.size)}],
    }


def _uuid(bill: Bill) -> uuid.UUID:
    """A name that follows from the content (RFC 9562, version 8)."""
    raw = bytearray(bytes.fromhex(bill.digest.hex)[:16])
    raw[6], raw[8] = (raw[6] & 0x0F) | 0x80, (raw[8] & 0x3F) | 0x80
    return uuid.UUID(bytes=bytes(raw))


def _render(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
