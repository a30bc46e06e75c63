from __future__ import annotations

from dataclasses import replace

from wherry.model.digest import DiffId, Digest
from wherry.model.image import BuiltLayer
from wherry.model.lock import LayerKind, LockedInterpreter, LockedRecord, LockedWheel, PlatformLock
from wherry.model.platform import Platform
from wherry.store.causes import requirement_tree

DIGEST = Digest("0" * 64)


def layer(name: str, kind: LayerKind, size: int, *members: str) -> BuiltLayer:
    return BuiltLayer(name=name, kind=kind, diff_id=DiffId("1" * 64), digest=DIGEST, size=size, media_type="", members=members)


def wheel(name: str, size: int, *requires: str, requested: bool = False) -> LockedWheel:
    return LockedWheel(name=name, version="1", file=f"{name}.whl", size=size, sha256=DIGEST, requires=requires, requested=requested)


def lock(*wheels: LockedWheel) -> PlatformLock:
    return PlatformLock(
        platform=Platform("linux", "amd64"),
        base=None,
        interpreter=LockedInterpreter(source="debian", version="3.11.2", path="/usr/bin/python3"),
        debs=(),
        wheels=wheels,
        layers=(),
    )


LAYERS = (
    layer("base", LayerKind.BASE, 1000, "libc6 2", "zlib1g 1"),
    layer("numpy", LayerKind.WHEEL, 500, "numpy 1"),
    layer("small", LayerKind.WHEELS, 101, "six 1", "pandas 1", "pytz 1"),
    layer("numpy-bytecode", LayerKind.BYTECODE, 50, "numpy 1"),
    layer("code", LayerKind.CODE, 7),
)
WHEELS = (
    wheel("numpy", 400),
    wheel("pandas", 60, "numpy", "pytz", "six", requested=True),
    wheel("pytz", 30, "six"),
    wheel("scipy-free", 0),
    wheel("six", 10),
)


def test_each_requirement_with_what_it_brought() -> None:
    causes = requirement_tree(LAYERS, lock(*(one for one in WHEELS if one.name != "scipy-free")))
    pandas, *rest = causes
    assert (pandas.name, pandas.estimated, pandas.total) == ("pandas 1", True, 651)
    numpy, pytz, six = pandas.children
    assert (numpy.name, numpy.size, numpy.estimated) == ("numpy 1", 550, False)
    assert (pytz.name, [child.name for child in pytz.children]) == ("pytz 1", ["six 1"])
    assert six.counted_above
    assert six.total == 0
    assert [cause.name for cause in rest] == ["base", "code"]
    assert sum(cause.total for cause in causes) == sum(one.size for one in LAYERS)


def test_conda_records_and_a_wheel_of_the_same_name() -> None:
    def record(name: str, size: int, *requires: str, requested: bool = False) -> LockedRecord:
        return LockedRecord(
            name=name,
            version="1",
            build="0",
            subdir="linux-64",
            channel="conda-forge",
            file=f"{name}-1-0.conda",
            size=size,
            sha256=DIGEST,
            requires=requires,
            requested=requested,
        )

    layers = (
        layer("base", LayerKind.BASE, 1000, "libc6 2"),
        layer("python", LayerKind.INTERPRETER, 300, "python 1"),
        layer("numpy", LayerKind.RECORD, 500, "numpy 1"),
        layer("records", LayerKind.RECORDS, 90, "six 1", "zlib 1"),
        layer("wheels", LayerKind.WHEELS, 70, "numpy 1"),
        layer("bytecode-python", LayerKind.BYTECODE, 30, "python 1"),
        layer("bytecode-numpy", LayerKind.BYTECODE, 50, "numpy 1"),
        layer("bytecode-wheels", LayerKind.BYTECODE, 7, "numpy 1"),
    )
    records = (
        record("numpy", 400, "python", requested=True),
        record("python", 200, "zlib"),
        record("six", 10),
        record("zlib", 20),
    )
    causes = requirement_tree(layers, replace(lock(wheel("numpy", 60, requested=True)), records=records))
    assert [(cause.name, cause.total) for cause in causes] == [("numpy 1", 77), ("numpy 1", 940), ("six 1", 30), ("libc6 2", 1000)]
    (python,) = causes[1].children
    assert (python.name, python.size, [child.name for child in python.children]) == ("python 1", 330, ["zlib 1"])
    assert sum(cause.total for cause in causes) == sum(one.size for one in layers)


def test_wheels_that_need_each_other() -> None:
    layers = (layer("a", LayerKind.WHEEL, 5, "a 1"), layer("b", LayerKind.WHEEL, 7, "b 1"))
    causes = requirement_tree(layers, lock(wheel("a", 1, "b", requested=True), wheel("b", 1, "a", requested=True)))
    assert sum(cause.total for cause in causes) == 12
    assert causes[0].children[0].children[0].counted_above


def test_a_wheel_that_nothing_asks_for_is_still_counted() -> None:
    layers = (layer("a", LayerKind.WHEEL, 5, "a 1"), layer("b", LayerKind.WHEEL, 7, "b 1"))
    causes = requirement_tree(layers, lock(wheel("a", 1, requested=True), wheel("b", 1)))
    assert [(cause.name, cause.total) for cause in causes] == [("a 1", 5), ("b 1", 7)]


def test_a_lock_of_another_image_gives_the_flat_tree() -> None:
    flat = requirement_tree(LAYERS)
    assert requirement_tree(LAYERS, lock(*WHEELS)) == flat
    assert [(cause.name, cause.size) for cause in flat] == [
        ("base", 1000),
        ("numpy 1", 500),
        ("small", 101),
        ("numpy-bytecode", 50),
        ("code", 7),
    ]
    assert [child.name for child in flat[2].children] == ["six 1", "pandas 1", "pytz 1"]
    assert sum(cause.total for cause in flat) == sum(one.size for one in LAYERS)
