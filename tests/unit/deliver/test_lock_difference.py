"""Differences of locks: what changed, and which layers' files that brings along."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.deliver.images import AMD64, ARM64, hex_of
from wherry.deliver.difference_json import render_lock_differences
from wherry.deliver.lock_difference import LockDifference, diff_locks
from wherry.model.digest import DiffId, Digest
from wherry.model.lock import (
    LayerKind,
    Lock,
    LockedArchive,
    LockedDeb,
    LockedInterpreter,
    LockedLayer,
    LockedRecord,
    LockedWheel,
    PlatformLock,
)
from wherry.model.platform import Platform

SIZES = {"pandas": 12_000_000, "pytz": 300_000, "six": 11_000}


def wheel(name: str, version: str) -> LockedWheel:
    digest = Digest(hex_of(f"{name} {version}"))
    return LockedWheel(name=name, version=version, file=f"{name}-{version}-py3-none-any.whl", size=SIZES[name], sha256=digest)


def locked(
    platform: Platform = AMD64, *, pandas: str = "2.2.2", pytz: str = "2024.1", python: str = "3.11.2", built: bool = False
) -> PlatformLock:
    members = {
        ("base", LayerKind.BASE): ("libc6 2.36",),
        ("pandas", LayerKind.WHEEL): (f"pandas {pandas}",),
        ("wheels", LayerKind.WHEELS): (f"pytz {pytz}", "six 1.16"),
        ("bytecode", LayerKind.BYTECODE): (f"pandas {pandas}", f"pytz {pytz}", "six 1.16"),
    }
    deb = LockedDeb(
        name="libc6", version="2.36", architecture="amd64", file="libc6.deb", size=2_700_000, sha256=Digest(hex_of("libc6"))
    )
    return PlatformLock(
        platform=platform,
        base=None,
        interpreter=LockedInterpreter(source="debian", version=python, path="/usr/bin/python3"),
        debs=(deb,),
        wheels=(wheel("pandas", pandas), wheel("pytz", pytz), wheel("six", "1.16")),
        layers=tuple(
            LockedLayer(name=name, kind=kind, members=inside, diff_id=DiffId(hex_of(f"{inside} {python}")) if built else None)
            for (name, kind), inside in members.items()
        ),
    )


def lock(*platforms: PlatformLock) -> Lock:
    return Lock(declaration=Digest(hex_of("declaration")), platforms=platforms)


def diff(base: PlatformLock, target: PlatformLock) -> LockDifference:
    [difference] = diff_locks(lock(base), lock(target))
    return difference


def test_equal_locks_have_no_difference_built_or_not() -> None:
    for base_built, target_built in ((False, False), (True, True), (False, True), (True, False)):
        difference = diff(locked(built=base_built), locked(built=target_built))
        assert difference.is_empty
        assert difference.estimated_size == 0


def test_one_bump_moves_its_layer_and_its_bytecode() -> None:
    difference = diff(locked(built=True), locked(pandas="2.2.3"))
    assert [change.text for change in difference.changes] == ["pandas 2.2.2 → 2.2.3"]
    assert [(cause.text, cause.size) for cause in difference.causes] == [
        ("pandas 2.2.2 → 2.2.3", 12_000_000),
        ("bytecode of pandas 2.2.2 → 2.2.3", 0),
    ]


def test_a_small_bump_moves_its_neighbours_too() -> None:
    difference = diff(locked(), locked(pytz="2025.1"))
    assert difference.causes[0].size == SIZES["pytz"] + SIZES["six"]


def test_another_python_makes_other_bytecode() -> None:
    difference = diff(locked(), locked(python="3.11.9"))
    assert [cause.text for cause in difference.causes] == ["bytecode of python 3.11.2 → 3.11.9"]


def test_the_same_version_from_another_file() -> None:
    base = locked()
    other = replace(base.wheels[0], sha256=Digest(hex_of("rebuilt")))
    difference = diff(base, replace(base, wheels=(other, *base.wheels[1:])))
    assert difference.changes == ()
    assert difference.causes[0].text == "pandas: the same packages, from other files or laid out otherwise"


def test_records_of_conda_with_their_builds_where_only_these_differ() -> None:
    def with_record(version: str, build: str) -> PlatformLock:
        record = LockedRecord(
            name="numpy",
            version=version,
            build=build,
            subdir="linux-64",
            channel="conda-forge",
            file=f"numpy-{version}-{build}.conda",
            size=8_000_000,
            sha256=Digest(hex_of(version + build)),
        )
        layer = LockedLayer(name="numpy", kind=LayerKind.RECORD, members=(f"numpy {version}",))
        return replace(locked(), records=(record,), layers=(*locked().layers, layer))

    bumped = diff(with_record("2.0", "py_0"), with_record("2.1", "py_0"))
    assert [(cause.text, cause.size) for cause in bumped.causes] == [("numpy 2.0 → 2.1", 8_000_000)]
    rebuilt = diff(with_record("2.0", "py_0"), with_record("2.0", "py_1"))
    assert [cause.text for cause in rebuilt.causes] == ["numpy 2.0 py_0 → 2.0 py_1"]
    assert diff(with_record("2.0", "py_0"), with_record("2.0", "py_0")).is_empty


def test_platforms_that_only_one_end_has() -> None:
    differences = diff_locks(lock(locked(AMD64)), lock(locked(ARM64)))
    told = [(each.platform, each.base_present, each.target_present, each.is_empty) for each in differences]
    assert told == [(ARM64, False, True, False), (AMD64, True, False, False)]


def test_json() -> None:
    document = render_lock_differences(diff_locks(lock(locked()), lock(locked(pandas="2.2.3"))))
    assert document["platforms"][0]["changes"] == [{"name": "pandas", "base": "2.2.2", "target": "2.2.3"}]
    assert document["platforms"][0]["estimated_size"] == 12_000_000


def managed(version: str, build: str) -> PlatformLock:
    archive = LockedArchive(file=f"cpython-{version}+{build}.tar.gz", size=24_000_000, sha256=Digest(hex_of(version + build)))
    interpreter = LockedInterpreter(source="managed", version=version, path="/opt/python/bin/python3.12", archive=archive)
    python = LockedLayer(name="python", kind=LayerKind.INTERPRETER, members=(f"cpython {version}",))
    compiled = LockedLayer(name="bytecode-python", kind=LayerKind.BYTECODE, members=(f"cpython {version}",))
    return PlatformLock(platform=AMD64, base=None, interpreter=interpreter, debs=(), wheels=(), layers=(python, compiled))


def test_a_managed_python_that_moved_is_named_with_its_size() -> None:
    difference = diff(managed("3.12.6", "1"), managed("3.12.7", "2"))
    assert [(cause.text, cause.size) for cause in difference.causes] == [
        ("python 3.12.6 → 3.12.7", 24_000_000),
        ("bytecode of python 3.12.6 → 3.12.7", 0),
    ]


def test_another_build_of_a_managed_python_moves_its_layers() -> None:
    difference = diff(managed("3.12.7", "1"), managed("3.12.7", "2"))
    assert [(cause.layers, cause.size) for cause in difference.causes] == [(("python",), 24_000_000), (("bytecode-python",), 0)]
    assert diff(managed("3.12.7", "1"), managed("3.12.7", "1")).is_empty
