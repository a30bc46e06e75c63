"""The layer plan: its order, its limit, and that one bump moves one layer."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.lock.plan import BIG_WHEEL, MAX_LAYERS, plan_layers
from wherry.model.declaration import Bytecode
from wherry.model.digest import DiffId, Digest
from wherry.model.lock import (
    LayerKind,
    LockedDeb,
    LockedInterpreter,
    LockedLayer,
    LockedRecord,
    LockedWheel,
    PlatformLock,
)
from wherry.model.platform import Platform

INTERPRETER = LockedInterpreter(source="debian", version="3.11.2", path="/usr/bin/python3.11")
MIB = BIG_WHEEL


def digest(text: str) -> Digest:
    return Digest.of(text.encode())


def wheel(name: str, version: str = "1.0", size: int = 1000) -> LockedWheel:
    return LockedWheel(
        name=name, version=version, file=f"{name}-{version}-py3-none-any.whl", size=size, sha256=digest(name + version)
    )


def deb(name: str, part: LayerKind = LayerKind.BASE, version: str = "1") -> LockedDeb:
    return LockedDeb(
        name=name,
        version=version,
        architecture="amd64",
        file=f"{name}_{version}_amd64.deb",
        size=1,
        sha256=digest(name + version),
        part=part,
    )


DEBS = (deb("libc6"), deb("python3.11", LayerKind.INTERPRETER, "3.11.2-6"))


def plan(*wheels: LockedWheel, former: PlatformLock | None = None, bytecode: Bytecode = Bytecode.LAYER, unlocked: int = 1):
    return plan_layers(DEBS, INTERPRETER, wheels, bytecode, former=former, unlocked_layers=unlocked)


def locked(*wheels: LockedWheel, former: PlatformLock | None = None) -> PlatformLock:
    layers = [replace(layer, diff_id=DiffId(digest(layer.name).hex)) for layer in plan(*wheels, former=former)]
    return PlatformLock(
        platform=Platform("linux", "amd64"), base=None, interpreter=INTERPRETER, debs=DEBS, wheels=wheels, layers=tuple(layers)
    )


def names(layers: tuple[LockedLayer, ...]) -> list[str]:
    return [layer.name for layer in layers]


def test_the_order() -> None:
    layers = plan(wheel("six"), wheel("scipy", size=35 * MIB), wheel("numpy", size=17 * MIB), wheel("attrs"))
    assert names(layers) == [
        "base", "python", "numpy", "scipy", "wheels", "bytecode-python", "bytecode-numpy", "bytecode-scipy", "bytecode-wheels",
    ]  # fmt: skip
    assert layers[4].members == ("attrs 1.0", "six 1.0")
    assert layers[5].members == ("python3.11 3.11.2-6",)


def test_without_bytecode() -> None:
    assert names(plan(wheel("six"), bytecode=Bytecode.CACHE)) == ["base", "python", "wheels"]
    assert names(plan(bytecode=Bytecode.NONE)) == ["base", "python"]


def test_over_a_base_of_others_the_frame_remains() -> None:
    interpreter = LockedInterpreter(source="base", version="3.12.1", path="/usr/local/bin/python3.12")
    layers = plan_layers((), interpreter, (wheel("six"),), Bytecode.LAYER)
    assert names(layers) == ["python", "wheels", "bytecode-wheels"]


def test_a_wheel_named_like_a_layer_lies_with_the_small_ones() -> None:
    layers = plan(wheel("base", size=5 * MIB), wheel("bytecode-numpy", size=5 * MIB), wheel("numpy", size=5 * MIB))
    assert len(set(names(layers))) == len(layers)
    assert {"base 1.0", "bytecode-numpy 1.0"} <= set(next(layer for layer in layers if layer.name == "wheels").members)


def test_at_most_forty_with_the_greatest_alone() -> None:
    many = [wheel(f"w{number:03}", size=MIB + number) for number in range(100)]
    for bytecode in Bytecode:
        for unlocked in (1, 4, 30, 60):
            layers = plan(*many, bytecode=bytecode, unlocked=unlocked)
            assert len(layers) + unlocked <= max(MAX_LAYERS, unlocked + 5)
            alone = [layer.name for layer in layers if layer.kind is LayerKind.WHEEL]
            assert alone == sorted(entry.name for entry in many[100 - len(alone) :])


def test_a_bump_moves_one_layer_and_its_bytecode() -> None:
    before = locked(wheel("numpy", size=17 * MIB), wheel("scipy", size=35 * MIB), wheel("six"))
    after = plan(wheel("numpy", "1.1", 40 * MIB), wheel("scipy", size=35 * MIB), wheel("six"), former=before)
    changed = {new.name for old, new in zip(before.layers, after, strict=True) if old != new}
    assert changed == {"numpy", "bytecode-numpy"}
    assert all(layer.diff_id is None for layer in after if layer.name in changed)


def test_a_wheel_that_lay_alone_stays_alone() -> None:
    before = locked(wheel("numpy", size=MIB), wheel("six"))
    after = plan(wheel("numpy", "1.1", MIB - 1), wheel("six"), former=before)
    assert names(after) == names(before.layers)


def test_a_rebuilt_wheel_of_one_version_loses_its_diff_id() -> None:
    before = locked(wheel("numpy", size=17 * MIB))
    rebuilt = replace(wheel("numpy", size=17 * MIB), sha256=digest("other"))
    assert [layer.name for layer in plan(rebuilt, former=before) if layer.diff_id is None] == ["numpy", "bytecode-numpy"]


def test_another_patch_of_python_makes_bytecode_anew() -> None:
    before = locked(wheel("numpy", size=17 * MIB), wheel("six"))
    debs = (DEBS[0], deb("python3.11", LayerKind.INTERPRETER, "3.11.3-1"))
    after = plan_layers(debs, replace(INTERPRETER, version="3.11.3"), before.wheels, Bytecode.LAYER, former=before)
    assert {layer.name for layer in after if layer.diff_id is not None} == {"numpy", "wheels"}


wheels = st.lists(
    st.builds(wheel, st.from_regex(r"[a-z]{1,3}", fullmatch=True), st.just("1.0"), st.integers(1, 4 * MIB)),
    max_size=60,
    unique_by=lambda entry: entry.name,
)


@settings(deadline=None)
@given(wheels, st.integers(0, 12), st.data())
def test_laws(entries: list[LockedWheel], unlocked: int, data: st.DataObject) -> None:
    before = locked(*entries)
    wheel_members = [m for layer in before.layers if layer.kind in (LayerKind.WHEEL, LayerKind.WHEELS) for m in layer.members]
    assert sorted(wheel_members) == sorted(f"{entry.name} {entry.version}" for entry in entries)
    assert plan(*reversed(entries)) == plan(*entries)
    assert plan(*entries, former=before) == before.layers
    assert len(plan(*entries, unlocked=unlocked)) + unlocked <= MAX_LAYERS
    if entries:
        chosen = data.draw(st.sampled_from(entries))
        bumped = replace(wheel(chosen.name, "2.0"), size=data.draw(st.integers(1, 4 * MIB)))
        after = plan(*(bumped if entry is chosen else entry for entry in entries), former=before)
        others = [layer for layer in after if layer.kind is LayerKind.WHEEL and layer.name != chosen.name]
        assert all(layer in before.layers for layer in others)


CONDA = LockedInterpreter(source="conda", version="3.12.12", path="/opt/conda/bin/python3.12")
LIBC = (deb("libc6"),)


def record(name: str, version: str = "1.0", size: int = 1000, *, python: bool = True) -> LockedRecord:
    return LockedRecord(
        name=name,
        version=version,
        build="0",
        subdir="linux-64",
        channel="conda-forge",
        file=f"{name}-{version}-0.conda",
        size=size,
        sha256=digest(name + version),
        requires=("python",) if python else (),
    )


PYTHON = record("python", "3.12.12", 30 * MIB, python=False)


def plan_conda(
    *records: LockedRecord, wheels: tuple[LockedWheel, ...] = (), former: PlatformLock | None = None, unlocked: int = 1
) -> tuple[LockedLayer, ...]:
    every = (PYTHON, *records)
    return plan_layers(LIBC, CONDA, wheels, Bytecode.LAYER, records=every, former=former, unlocked_layers=unlocked)


def locked_conda(*records: LockedRecord, wheels: tuple[LockedWheel, ...] = ()) -> PlatformLock:
    layers = [replace(layer, diff_id=DiffId(digest(layer.name).hex)) for layer in plan_conda(*records, wheels=wheels)]
    return PlatformLock(
        platform=Platform("linux", "amd64"),
        base=None,
        interpreter=CONDA,
        debs=LIBC,
        records=(PYTHON, *records),
        wheels=wheels,
        layers=tuple(layers),
    )


RECORDS = (
    record("numpy", size=8 * MIB),
    record("mkl", size=100 * MIB, python=False),
    record("six"),
    record("zlib", python=False),
    record("_openmp_mutex", size=2 * MIB, python=False),
)


def test_records_lie_between_python_and_the_wheels() -> None:
    layers = plan_conda(*RECORDS, wheels=(wheel("torch", size=200 * MIB), wheel("attrs")))
    assert names(layers) == [
        "base", "python", "mkl", "numpy", "records", "torch", "wheels",
        "bytecode-python", "bytecode-numpy", "bytecode-records", "bytecode-torch", "bytecode-wheels",
    ]  # fmt: skip
    members = {layer.name: layer.members for layer in layers}
    assert members["python"] == members["bytecode-python"] == ("python 3.12.12",)
    assert members["records"] == ("_openmp_mutex 1.0", "six 1.0", "zlib 1.0")
    assert members["bytecode-records"] == ("six 1.0",)


def test_a_wheel_of_a_records_name_has_no_layer_of_that_name() -> None:
    layers = plan_conda(*RECORDS, wheels=(wheel("numpy", "2.0", 20 * MIB),))
    assert len(set(names(layers))) == len(layers)
    assert next(layer for layer in layers if layer.name == "numpy").kind is LayerKind.RECORD
    assert next(layer for layer in layers if layer.name == "wheels").members == ("numpy 2.0",)


def test_a_bump_of_a_record_moves_its_layer_and_its_bytecode() -> None:
    before = locked_conda(*RECORDS, wheels=(wheel("attrs"),))
    bumped = (record("numpy", "1.1", 9 * MIB), *RECORDS[1:])
    after = plan_conda(*bumped, wheels=(wheel("attrs"),), former=before)
    assert {layer.name for layer in after if layer.diff_id is None} == {"numpy", "bytecode-numpy"}
    library = (RECORDS[0], record("mkl", "1.1", MIB - 1, python=False), *RECORDS[2:])
    after = plan_conda(*library, wheels=(wheel("attrs"),), former=before)
    assert {layer.name for layer in after if layer.diff_id is None} == {"mkl"}
    assert names(after) == names(before.layers)


def test_a_record_from_another_channel_or_under_another_environment_is_made_anew() -> None:
    before = locked_conda(*RECORDS)
    other = (replace(RECORDS[0], channel="pkgs/main"), *RECORDS[1:])
    assert {layer.name for layer in plan_conda(*other, former=before) if layer.diff_id is None} == {"numpy", "bytecode-numpy"}
    fresh = plan_layers(LIBC, replace(CONDA, source="base"), (), Bytecode.LAYER, records=RECORDS, former=before)
    assert all(layer.diff_id is None for layer in fresh if layer.name != "base")


def test_bytecode_of_records_that_a_build_found_empty_stays_away() -> None:
    before = locked_conda(*RECORDS)
    before = replace(before, layers=tuple(layer for layer in before.layers if layer.name != "bytecode-records"))
    assert plan_conda(*RECORDS, former=before) == before.layers
    more = plan_conda(*RECORDS, record("attrs"), former=before)
    assert "bytecode-records" in names(more)


def test_records_and_wheels_share_the_limit() -> None:
    many = [record(f"r{number:03}", size=MIB + number, python=number % 2 == 0) for number in range(60)]
    big = tuple(wheel(f"w{number:03}", size=MIB + number) for number in range(30))
    for unlocked in (1, 4, 20):
        layers = plan_conda(*many, wheels=big, unlocked=unlocked)
        assert MAX_LAYERS - 2 <= len(layers) + unlocked <= MAX_LAYERS
        members = [m for layer in layers if layer.kind in (LayerKind.RECORD, LayerKind.RECORDS) for m in layer.members]
        assert sorted(members) == sorted(f"{entry.name} 1.0" for entry in many)
