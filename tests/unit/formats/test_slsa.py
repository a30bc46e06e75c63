"""Provenance out of a lock."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wherry.errors import FormatError
from wherry.formats.in_toto import parse_statement
from wherry.formats.lockfile import parse_lock, render_lock
from wherry.formats.oci_json import parse_config, render_config
from wherry.formats.slsa import BUILD_TYPE, BUILDER, SLSA, render_provenance
from wherry.model.digest import Digest
from wherry.model.lock import BuildKind, Lock, LockedBuild, LockedWheel
from wherry.model.platform import Platform

LOCK = Path(__file__).parents[2] / "vectors/image/wherry.lock"
IMAGE = Digest.of(b"image")
AMD64 = Platform("linux", "amd64")


def provenance(lock: Lock, platform: Platform = AMD64, finished: str = "") -> bytes:
    config = render_config(platform=platform, created="1980-01-01T00:00:00Z", diff_ids=(), entrypoint=("python", "main.py"))
    return render_provenance("anomaly", lock, IMAGE, [parse_config(config)], version="1.2", finished=finished)


@pytest.fixture(scope="module")
def lock() -> Lock:
    return parse_lock(LOCK.read_text(), "wherry.lock")


def predicate_of(raw: bytes) -> Any:
    return json.loads(raw)["predicate"]


def test_it_says_what_slsa_wants(lock: Lock) -> None:
    raw = provenance(lock)
    assert raw == provenance(lock)
    statement = json.loads(raw)
    assert (statement["_type"], statement["predicateType"]) == ("https://in-toto.io/Statement/v1", SLSA)
    assert parse_statement(raw, "here").subjects == (IMAGE,)
    definition = statement["predicate"]["buildDefinition"]
    assert definition["buildType"] == BUILD_TYPE
    assert definition["externalParameters"] == {
        "declaration": str(lock.declaration),
        "entrypoint": ["python", "main.py"],
        "name": "anomaly",
        "platforms": ["linux/amd64"],
    }
    assert statement["predicate"]["runDetails"] == {"builder": {"id": BUILDER, "version": {"wherry": "1.2"}}}


def test_every_locked_file_is_in_it(lock: Lock) -> None:
    locked = lock.for_platform(AMD64)
    listed = {
        one["name"]: one["digest"]["sha256"] for one in predicate_of(provenance(lock))["buildDefinition"]["resolvedDependencies"]
    }
    files = {package.file: package.sha256.hex for package in (*locked.debs, *locked.wheels, *locked.records)}
    assert files
    assert files.items() <= listed.items()
    assert listed["wherry.lock"] == Digest.of(render_lock(lock).encode()).hex


def names(lock: Lock, platform: Platform) -> list[tuple[str, str]]:
    listed = predicate_of(provenance(lock, platform))["buildDefinition"]["resolvedDependencies"]
    return [(one["name"], one["digest"]["sha256"]) for one in listed]


def test_a_base_that_somebody_published_is_in_it(lock: Lock) -> None:
    arm = lock.for_platform(Platform("linux", "arm", "v7"))
    assert arm.base is not None
    assert (arm.base.name, arm.base.manifest.hex) in names(lock, arm.platform)


def test_what_wheels_were_built_from_and_with_is_in_it(lock: Lock) -> None:
    locked = lock.for_platform(AMD64)
    tool = LockedWheel(name="setuptools", version="80", file="setuptools-80-py3-none-any.whl", size=1, sha256=Digest.of(b"tool"))
    builds = tuple(
        LockedBuild(
            name=wheel.name,
            version=wheel.version,
            kind=BuildKind.SDIST,
            file=f"{wheel.name}.tar.gz",
            size=1,
            sha256=Digest.of(wheel.name.encode()),
            recipe=1,
            tools=(tool,),
        )
        for wheel in locked.wheels
    )
    assert builds
    listed = names(replace(lock, platforms=(replace(locked, builds=builds),)), AMD64)
    assert {(build.file, build.sha256.hex) for build in builds} < set(listed)
    assert listed.count((tool.file, tool.sha256.hex)) == 1


def test_an_index_is_of_all_that_its_manifests_are_of(lock: Lock) -> None:
    platforms = [locked.platform for locked in lock.platforms]
    configs = [parse_config(render_config(platform=one, created="1980-01-01T00:00:00Z", diff_ids=())) for one in platforms]
    definition = predicate_of(render_provenance("anomaly", lock, IMAGE, configs, version="1.2"))["buildDefinition"]
    assert definition["externalParameters"]["platforms"] == [str(one) for one in platforms]
    listed = [(one["name"], one["digest"]["sha256"]) for one in definition["resolvedDependencies"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == {one for platform in platforms for one in names(lock, platform)}


def test_a_time_only_where_one_is_given(lock: Lock) -> None:
    assert b"finishedOn" not in provenance(lock)
    given = predicate_of(provenance(lock, finished="2026-01-02T03:04:05Z"))
    assert given["runDetails"]["metadata"] == {"finishedOn": "2026-01-02T03:04:05Z"}


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b'{"_type":"https://in-toto.io/Statement/v2","predicateType":"a","subject":[]}',
        b'{"_type":"https://in-toto.io/Statement/v1","predicateType":7,"subject":[]}',
        b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"a","subject":{}}',
        b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"a","subject":[{"digest":{"sha256":"zz"}}]}',
        b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"a","subject":[' + b",".join([b"{}"] * 1001) + b"]}",
    ],
)
def test_what_is_no_statement_is_refused(raw: bytes) -> None:
    with pytest.raises(FormatError):
        parse_statement(raw, "here")


def test_subjects_without_a_sha256_are_nobody() -> None:
    raw = (
        b'{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"a","subject":[7,{"digest":[]},{"digest":{"sha512":"aa"}}]}'
    )
    assert parse_statement(raw, "here").subjects == ()
