"""Bills of materials: everything locked is named, the same lock gives the same bytes, and the forms are those of the standards."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from wherry.errors import LockError
from wherry.formats.bill import draw_bill, render_cyclonedx, render_spdx
from wherry.model.bill import Bill
from wherry.model.digest import Digest
from wherry.model.lock import Lock, LockedArchive, LockedDeb, LockedInterpreter, LockedRecord, LockedWheel, PlatformLock
from wherry.model.platform import Platform

AMD64 = Platform("linux", "amd64")


def digest(text: str) -> Digest:
    return Digest.of(text.encode())


def wheel(name: str, version: str = "1.0", requires: tuple[str, ...] = ()) -> LockedWheel:
    file = f"{name}-{version}-py3-none-any.whl"
    return LockedWheel(name=name, version=version, file=file, size=10, sha256=digest(name), requires=requires)


DEB = LockedDeb(
    name="libstdc++6",
    version="1:12.2.0-14+deb12u1",
    architecture="amd64",
    file="libstdc++6_12.2.0-14+deb12u1_amd64.deb",
    size=20,
    sha256=digest("deb"),
)
RECORD = LockedRecord(
    name="hello",
    version="1.0",
    build="h1_0",
    subdir="linux-64",
    channel="conda-forge",
    file="hello-1.0-h1_0.conda",
    size=30,
    sha256=digest("record"),
    requires=("zlib",),
)
ARCHIVE = LockedArchive(file="cpython-3.11.2+20240101-linux-64.tar.gz", size=40, sha256=digest("python"))
LOCK = Lock(
    declaration=digest("declaration"),
    platforms=(
        PlatformLock(
            platform=AMD64,
            base=None,
            interpreter=LockedInterpreter(source="managed", version="3.11.2", path="/opt/python/bin/python3.11", archive=ARCHIVE),
            debs=(DEB,),
            wheels=(wheel("tinyone"), wheel("tinytwo", "2.0+local", ("tinyone", "gone"))),
            layers=(),
            records=(RECORD, replace(RECORD, name="zlib", file="zlib-1.0-h1_0.tar.bz2", sha256=digest("zlib"), requires=())),
        ),
    ),
)
_PURLS = {
    "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1?arch=amd64",
    "pkg:conda/hello@1.0?build=h1_0&channel=conda-forge&subdir=linux-64&type=conda",
    "pkg:conda/zlib@1.0?build=h1_0&channel=conda-forge&subdir=linux-64&type=tar.bz2",
    "pkg:pypi/tinyone@1.0",
    "pkg:pypi/tinytwo@2.0%2Blocal",
    "pkg:generic/cpython@3.11.2",
}
_TEXT = {"type": "string", "minLength": 1}
_ID = {"type": "string", "pattern": "^SPDXRef-[a-zA-Z0-9.-]+$"}
_SPDX = {
    "type": "object",
    "required": ["spdxVersion", "dataLicense", "SPDXID", "name", "documentNamespace", "creationInfo", "packages", "relationships"],
    "properties": {
        "spdxVersion": {"const": "SPDX-2.3"},
        "dataLicense": {"const": "CC0-1.0"},
        "documentNamespace": {"type": "string", "pattern": "^urn:uuid:[0-9a-f-]{36}$"},
        "creationInfo": {"type": "object", "required": ["created", "creators"]},
        "packages": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["SPDXID", "name", "downloadLocation", "filesAnalyzed"],
                "properties": {"SPDXID": _ID, "name": _TEXT, "filesAnalyzed": {"const": False}},
            },
        },
        "relationships": {"items": {"properties": {"spdxElementId": _ID, "relatedSpdxElement": _ID}}},
    },
}
_CYCLONEDX = {
    "type": "object",
    "required": ["bomFormat", "specVersion", "serialNumber", "version", "metadata", "components", "dependencies"],
    "properties": {
        "bomFormat": {"const": "CycloneDX"},
        "specVersion": {"const": "1.6"},
        "serialNumber": {
            "type": "string",
            "pattern": "^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        },
        "components": {"items": {"required": ["type", "name", "bom-ref", "purl", "hashes"], "properties": {"name": _TEXT}}},
    },
}


def draw(lock: Lock = LOCK, name: str = "anomaly") -> Bill:
    return draw_bill(name, lock, AMD64, creator="wherry", version="1")


def read(raw: bytes, schema: dict[str, Any]) -> dict[str, Any]:
    value = json.loads(raw)
    jsonschema.validate(value, schema)
    return dict(value)


def test_spdx_names_all_that_is_locked() -> None:
    document = read(render_spdx(draw()), _SPDX)
    packages = {package["SPDXID"]: package for package in document["packages"]}
    assert len(packages) == len(document["packages"]) == 7
    purls = {reference["referenceLocator"] for package in packages.values() for reference in package.get("externalRefs", ())}
    assert purls == _PURLS
    deb = next(package for package in packages.values() if package["name"] == "libstdc++6")
    assert deb["checksums"] == [{"algorithm": "SHA256", "checksumValue": DEB.sha256.hex}]
    related = {
        (packages[one["spdxElementId"]]["name"], packages[one["relatedSpdxElement"]]["name"])
        for one in document["relationships"]
        if one["relationshipType"] == "DEPENDS_ON"
    }
    assert related == {("tinytwo", "tinyone"), ("hello", "zlib")}
    for one in document["relationships"]:
        assert {one["spdxElementId"], one["relatedSpdxElement"]} <= packages.keys() | {"SPDXRef-DOCUMENT"}


def test_cyclonedx_names_all_that_is_locked() -> None:
    document = read(render_cyclonedx(draw()), _CYCLONEDX)
    assert {component["purl"] for component in document["components"]} == _PURLS
    known = {component["bom-ref"] for component in document["components"]}
    assert len(known) == 6
    edges = {one["ref"]: one["dependsOn"] for one in document["dependencies"]}
    assert edges.keys() == known | {"image"}
    assert set(edges["image"]) == known
    assert all(set(needed) <= known for needed in edges.values())


@pytest.mark.parametrize("render", [render_spdx, render_cyclonedx])
def test_the_same_lock_gives_the_same_bytes(render: Any) -> None:
    turned = replace(LOCK.platforms[0], wheels=LOCK.platforms[0].wheels)
    assert render(draw()) == render(draw(replace(LOCK, platforms=(turned,))))
    other = replace(LOCK.platforms[0], wheels=LOCK.platforms[0].wheels[:1])
    assert render(draw()) != render(draw(replace(LOCK, platforms=(other,))))
    assert render(draw()) != render(draw(name="another"))


def test_a_platform_that_is_not_locked() -> None:
    with pytest.raises(LockError):
        draw_bill("anomaly", LOCK, Platform("linux", "arm64"), creator="wherry", version="1")
