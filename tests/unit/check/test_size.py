"""Where an image's bytes are: what brought each file, what could go, and when it is too much."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.simulators.recipes import make_layer
from tests.unit.check.trees import SITE, Files, distribution, facts_of, system
from wherry.check.python import find_sites
from wherry.check.size import measure_sizes
from wherry.check.size_gates import judge_sizes, weigh_groups
from wherry.check.size_savings import ARCHIVES, CACHES, GPU, HEADERS, HIDDEN, STUBS, TESTS, classify_unneeded
from wherry.check.tree import LayeredTree
from wherry.model.check_settings import SizeLimits
from wherry.model.digest import Digest
from wherry.model.image import BuiltLayer
from wherry.model.lock import LayerKind, LockedInterpreter, LockedWheel, PlatformLock
from wherry.model.platform import Platform
from wherry.model.report import Finding, Report, Seen, Severity
from wherry.model.sizes import OwnerKind, Sizes

BIG = distribution("Big_Pkg", "1.0", {"big/__init__.py": b"x" * 4000, "big/tests/test_all.py": b"t" * 6000})
SMALL = distribution("small", "2.0", {"small.py": b"s" * 500})


def measure(*layers: tuple[Files, BuiltLayer], locked: PlatformLock | None = None) -> Sizes:
    facts = [facts_of(files) for files, _ in layers]
    tree = LayeredTree(facts)
    return measure_sizes(tree, list(zip(facts, [layer for _, layer in layers], strict=True)), find_sites(tree), locked)


def owners(sizes: Sizes, kind: OwnerKind) -> list[str]:
    return [one.name for one in sizes.owners if one.kind is kind]


def foreign(number: int = 1, size: int = 1000) -> BuiltLayer:
    return make_layer(f"layer {number}", LayerKind.FOREIGN, ("RUN pip install",), size=size)


def test_each_byte_is_counted_once() -> None:
    sizes = measure((system(), foreign(1, 700)), (BIG, foreign(2, 5001)), (SMALL, foreign(3, 333)))
    assert sum(one.stored for one in sizes.owners) == sizes.stored == 6034
    assert sum(one.content for one in sizes.owners) == sum(one.content for one in sizes.layers)
    assert sum(one.files for one in sizes.owners) == sum(one.files for one in sizes.layers)


def test_packages_are_told_by_their_lists() -> None:
    lists = {
        "var/lib/dpkg/info/libbig:amd64.md5sums": b"0  lib/libbig.so.1\n",
        "usr/lib/libbig.so.1": b"d" * 90,
        "opt/conda/conda-meta/mkl-2024.1-h1.json": b'{"name": "mkl", "files": ["lib/libmkl.so"]}',
        "opt/conda/conda-meta/odd-1-h.json": b'{"files": "none"}',
        "opt/conda/lib/libmkl.so": b"m" * 80,
        "usr/bin/lonely": b"?",
        "app/main.py": b"print()",
    }
    sizes = measure(({**system(), **BIG, **lists}, foreign()))
    assert owners(sizes, OwnerKind.DEBIAN) == ["libbig"]
    assert owners(sizes, OwnerKind.RECORD) == ["mkl 2024.1"]
    assert owners(sizes, OwnerKind.WHEEL) == ["Big_Pkg 1.0", "six 1.0"]
    assert owners(sizes, OwnerKind.CODE) == ["/opt", "/app"]
    assert "/usr/bin" in owners(sizes, OwnerKind.SYSTEM)
    assert {one.within for one in sizes.owners if one.kind is OwnerKind.DEBIAN} == {"Debian packages"}


def test_bytecode_belongs_to_its_source() -> None:
    compiled = {f"{SITE}/big/__pycache__/__init__.cpython-311.pyc": b"c" * 99}
    layer = make_layer("bytecode", LayerKind.BYTECODE, ("big-pkg 1.0", "six 1.0"))
    sizes = measure(({**system(), **BIG}, foreign()), (compiled, layer))
    big = next(one for one in sizes.owners if one.name == "Big_Pkg 1.0")
    assert big.stored > 1000
    assert big.files == 6


def test_what_a_later_layer_hides_is_moved_all_the_same() -> None:
    sizes = measure((BIG, foreign(1)), ({f"{SITE}/big/.wh.__init__.py": b""}, foreign(2)))
    (hidden,) = [one for one in sizes.owners if one.kind is OwnerKind.HIDDEN]
    assert (hidden.content, hidden.files) == (4000, 2)  # with its marker
    assert [(one.kind, one.content) for one in sizes.savings] == [(TESTS, 6000), (HIDDEN, 4000)]


def locked(*wheels: tuple[str, str, tuple[str, ...], bool]) -> PlatformLock:
    made = tuple(
        LockedWheel(name=name, version=version, file="f", size=1, sha256=Digest.of(b""), requires=requires, requested=requested)
        for name, version, requires, requested in wheels
    )
    interpreter = LockedInterpreter(source="debian", version="3.11.2", path="/usr/bin/python3")
    return PlatformLock(platform=Platform("linux", "amd64"), base=None, interpreter=interpreter, debs=(), wheels=made, layers=())


@pytest.mark.parametrize(("version", "within"), [("1.0", "asked 3"), ("1.1", "Big_Pkg 1.0")])
def test_the_lock_tells_what_asked_for_a_package(version: str, within: str) -> None:
    """Only the lock of this very image."""
    asked = distribution("asked", "3", {"asked.py": b"a"})
    layers = (
        (BIG, make_layer("big-pkg", LayerKind.WHEEL, ("big-pkg 1.0",))),
        (asked, make_layer("asked", LayerKind.WHEEL, ("asked 3",))),
    )
    lock = locked(("asked", "3", ("big-pkg",), True), ("big-pkg", version, (), False))
    sizes = measure(*layers, locked=lock)
    assert {one.within for one in sizes.owners if one.name == "Big_Pkg 1.0"} == {within}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (f"{SITE}/numpy/_core/tests/data/a.npy", TESTS),
        (f"{SITE}/numpy/tests/__pycache__/x.cpython-311.pyc", TESTS),
        (f"{SITE}/numpy/conftest.py", TESTS),
        ("usr/lib/python3.11/test/test_os.py", TESTS),
        ("opt/python/lib/python3.12/config-3.12-x86_64-linux-gnu/libpython3.12.a", ARCHIVES),
        ("usr/lib/x86_64-linux-gnu/libz.a", ARCHIVES),
        (f"{SITE}/torch/include/ATen/ATen.h", HEADERS),
        (f"{SITE}/numpy/__init__.cython-30.pxd", STUBS),
        (f"{SITE}/numpy/_core/multiarray.pyi", STUBS),
        (f"{SITE}/skimage/__init__.pyi", None),
        (f"{SITE}/mypy/typeshed/stdlib/os/path.pyi", None),
        (f"{SITE}/numpy/testing/__init__.py", None),
        (f"{SITE}/latest/a.py", None),
        ("root/.cache/pip/wheels/a/b.whl", CACHES),
        ("var/lib/apt/lists/mirror_dists_bookworm_Packages", CACHES),
        ("app/tests/test_mine.py", None),
        ("app/model.a", None),
        ("srv/lib.h", None),
    ],
)
def test_what_could_go(path: str, kind: str | None) -> None:
    assert classify_unneeded(path) == kind


def report(sizes: Sizes) -> Report:
    return Report(subject="tiny", platform=None, findings=(), seen=Seen(), sizes=sizes)


def judged(sizes: Sizes, *, budget: int | None = None, layer: int | None = None, slim: bool = False) -> Sequence[tuple[str, str]]:
    limits = SizeLimits(budget=budget, layer=layer)
    return [(one.rule, one.what) for one in judge_sizes(report(sizes), limits, slim=slim).findings]


def test_a_budget_is_exceeded_by_one_byte_more() -> None:
    sizes = measure((BIG, make_layer("big-pkg", LayerKind.WHEEL, ("big-pkg 1.0",), size=90_000)), (SMALL, foreign(2, 10_000)))
    assert judged(sizes, budget=100_000, layer=90_000) == []
    (over,) = judged(sizes, budget=99_999)
    assert over[0] == "size-budget"
    assert "most of it: Big_Pkg 1.0 90.0 kB, small 2.0 10.0 kB" in over[1]
    assert "layer 2" in over[1]
    (heavy,) = judged(sizes, layer=89_999)
    assert heavy[0] == "max-layer"
    assert "big-pkg" in heavy[1]


def test_a_folder_counts_as_it_lies_there() -> None:
    facts = facts_of({**system(), **BIG})
    tree = LayeredTree([facts])
    sizes = measure_sizes(tree, [(facts, None)], find_sites(tree))
    assert sizes.layers == ()
    assert sizes.weight == sizes.content > 10_000
    assert [rule for rule, _ in judged(sizes, budget=10_000)] == ["size-budget"]
    assert weigh_groups(sizes)[0][0] == "Big_Pkg 1.0"


def test_what_could_go_is_told_when_asked_for() -> None:
    sizes = measure((BIG, foreign()))
    assert judged(sizes) == []
    found = judge_sizes(report(sizes), SizeLimits(), slim=True).findings
    assert [(one.rule, one.severity) for one in found] == [("unneeded-files", Severity.NOTE)]


@pytest.mark.parametrize(("severity", "saved"), [(Severity.WARNING, True), (Severity.NOTE, False)])
def test_packages_for_gpus_could_go_where_there_is_none(severity: Severity, saved: bool) -> None:
    sizes = measure(
        (distribution("nvidia_big_cu12", "1", {"nvidia/big.so": b"n" * 9000, "nvidia/a.h": b"h" * 99}), foreign()),
        (SMALL, foreign(2)),
    )
    folder = f"/{SITE}/nvidia_big_cu12-1.dist-info"
    finding = Finding(rule="gpu-packages", severity=severity, subject="GPU", what="9 kB are for GPUs", where=(folder,))
    judged = judge_sizes(
        Report(subject="tiny", platform=None, findings=(finding,), seen=Seen(), sizes=sizes), SizeLimits(), slim=False
    )
    assert judged.sizes is not None
    told = [(one.kind, one.parts[0].owner) for one in judged.sizes.savings]
    assert told == [(GPU if saved else HEADERS, "nvidia_big_cu12 1")], "each byte is saved once"


def test_what_several_need_is_told_once_and_says_so() -> None:
    """A requirement stands under itself, whoever else needs it."""
    lock = locked(
        ("a", "1", ("big-pkg", "small"), True), ("b", "1", ("a",), True), ("big-pkg", "1.0", (), False), ("small", "2.0", (), True)
    )
    parts = {"a 1": distribution("a", "1", {"a.py": b"a"}), "b 1": distribution("b", "1", {"b.py": b"b"})}
    files = {"big-pkg 1.0": BIG, "small 2.0": SMALL, **parts}
    sizes = measure(*((one, make_layer(name, LayerKind.WHEEL, (name,))) for name, one in files.items()), locked=lock)
    told = {one.name: (one.within, one.also) for one in sizes.owners}
    assert told["Big_Pkg 1.0"] == ("a 1", ("b 1",))
    assert told["small 2.0"] == ("small 2.0", ("a 1", "b 1"))
    assert told["a 1"] == ("a 1", ("b 1",))
    assert told["b 1"] == ("b 1", ())


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        (b"from .tests.runner import TestRunner\n", True),
        (b"import os\nimport big.tests\n", True),
        (b"from . import core, tests\n", True),
        (b"from .other.tests import x\n", False),
        (b"from big._tester import test\n", False),
        (b"def run():\n    from .tests import run_tests\n", False),
        (b"from .attests import x\n", False),
    ],
)
def test_tests_that_their_package_imports_stay(source: bytes, kept: bool) -> None:
    """astropy's are an example; a test that imports its neighbours is not."""
    files = {"big/__init__.py": source, "big/tests/test_all.py": b"from big.tests import x\n", "big/tests/data": b"t" * 900}
    sizes = measure((distribution("big", "1", files), foreign()))
    assert [one.kind for one in sizes.savings] == ([] if kept else [TESTS])
