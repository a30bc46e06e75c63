"""What the first build tells a lock, and what later builds make of it: clashes of wheels, bytecode that is not there,
layers that are found in other images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.simulators.wheels import make_wheel
from wherry.assemble.build import Assembly, assemble_layers
from wherry.assemble.bytecode import HostInterpreter
from wherry.assemble.layers import LayerBlob
from wherry.errors import LockError, StoreError, TrustError
from wherry.formats.untar import read_members
from wherry.lock.plan import plan_layers
from wherry.model.declaration import Bytecode, Compression
from wherry.model.digest import DiffId, Digest
from wherry.model.lock import LayerKind, LockedDeb, LockedInterpreter, LockedWheel, PlatformLock
from wherry.model.platform import Platform
from wherry.model.progress import be_silent
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore

INTERPRETER = LockedInterpreter(source="base", version="3.11.9", path="/usr/local/bin/python3.11")
AMD64 = Platform("linux", "amd64")
SHARED = "tests/__init__.py"
BIG = 1 << 20  # such a wheel lies alone


@dataclass
class Shelf:
    """Inputs from a folder; what is asked of it is noted."""

    folder: Path
    gone: set[str] = field(default_factory=set)
    elsewhere: dict[DiffId, LayerBlob] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    searched: list[DiffId] = field(default_factory=list)

    def find_layer(self, diff_id: DiffId) -> LayerBlob | None:
        self.searched.append(diff_id)
        return self.elsewhere.get(diff_id)

    def wheels(self, wheels: Sequence[LockedWheel]) -> Mapping[str, Path]:
        for wheel in wheels:
            if wheel.name in self.gone:
                raise LockError(f"{wheel.name} {wheel.version} is nowhere")
        self.fetched += [wheel.name for wheel in wheels]
        return {wheel.name: self.folder / wheel.file for wheel in wheels}

    def debs(self, debs: Sequence[LockedDeb]) -> Sequence[tuple[LockedDeb, Path]]:
        return ()

    def interpreter(self) -> HostInterpreter:
        raise StoreError("this host cannot run the image's Python")

    def managed_python(self) -> Path:
        raise LockError("the lock has no managed Python")


class Bench:
    """Locks and builds wheels one after another, as a project does over time."""

    def __init__(self, folder: Path) -> None:
        self.shelf = Shelf(folder / "wheels")
        self.store = DiskStore(folder / "store")
        self.cache = folder / "cache"

    def wheel(self, name: str, version: str, files: Mapping[str, bytes], *, alone: bool = True) -> LockedWheel:
        path = make_wheel(self.shelf.folder, name, version, files)
        return LockedWheel(
            name=name, version=version, file=path.name, size=BIG if alone else 100, sha256=Digest.of(path.read_bytes())
        )

    def lock(self, *wheels: LockedWheel, former: PlatformLock | None = None, bytecode: Bytecode = Bytecode.NONE) -> PlatformLock:
        layers = plan_layers((), INTERPRETER, wheels, bytecode, former=former)
        return PlatformLock(platform=AMD64, base=None, interpreter=INTERPRETER, debs=(), wheels=wheels, layers=layers)

    def build(self, locked: PlatformLock) -> tuple[Assembly, PlatformLock]:
        made = assemble_layers(locked, self.shelf, self.store, self.cache, Compression.GZIP, be_silent)
        return made, replace(locked, layers=made.learned)

    def paths(self, made: Assembly) -> dict[str, set[str]]:
        """The files of site-packages by layer."""
        found = {}
        for layer in made.layers:
            members = read_members(read_layer(self.store, layer.digest, layer.diff_id), layer.name)
            found[layer.name] = {member.path.partition("site-packages/")[2] for member in members if "dist-info" not in member.path}
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_clash_is_learned_and_its_layer_made_anew_when_the_other_wheel_goes(bench: Bench) -> None:
    alpha, beta = bench.wheel("alpha", "1", {SHARED: b""}), bench.wheel("beta", "1", {SHARED: b"", "beta.py": b""})
    first, learned = bench.build(bench.lock(alpha, beta))
    assert SHARED not in bench.paths(first)["beta"]
    assert {layer.name: layer.yields for layer in learned.layers} == {"python": (), "alpha": (), "beta": ("alpha",)}
    alone, again = bench.build(bench.lock(beta, former=learned))
    assert SHARED in bench.paths(alone)["beta"]
    assert again.layers[-1].yields == ()
    fresh, _ = bench.build(bench.lock(beta))
    assert [layer.diff_id for layer in fresh.layers] == [layer.diff_id for layer in alone.layers]


def test_a_new_wheel_that_brings_a_file_first_takes_it_from_a_built_layer(bench: Bench) -> None:
    beta = bench.wheel("beta", "1", {SHARED: b"", "beta.py": b""})
    _, learned = bench.build(bench.lock(beta))
    alpha = bench.wheel("alpha", "1", {SHARED: b""})
    both, _ = bench.build(bench.lock(alpha, beta, former=learned))
    fresh, _ = bench.build(bench.lock(alpha, beta))
    assert [layer.diff_id for layer in both.layers] == [layer.diff_id for layer in fresh.layers]
    assert SHARED not in bench.paths(both)["beta"]


def test_a_new_wheel_that_comes_later_moves_no_other(bench: Bench) -> None:
    alpha = bench.wheel("alpha", "1", {SHARED: b""})
    _, learned = bench.build(bench.lock(alpha))
    before = next(layer for layer in learned.layers if layer.name == "alpha")
    both, after = bench.build(bench.lock(alpha, bench.wheel("beta", "1", {SHARED: b""}), former=learned))
    assert before in after.layers
    assert bench.paths(both)["beta"] & {SHARED} == set()


@pytest.mark.parametrize("files", [{SHARED: b""}, {"other.py": b""}], ids=["still", "no longer"])
def test_a_bump_of_the_wheel_that_was_yielded_to(bench: Bench, files: Mapping[str, bytes]) -> None:
    beta = bench.wheel("beta", "1", {SHARED: b"", "beta.py": b""})
    _, learned = bench.build(bench.lock(bench.wheel("alpha", "1", {SHARED: b""}), beta))
    bumped = bench.wheel("alpha", "2", files)
    made, _ = bench.build(bench.lock(bumped, beta, former=learned))
    fresh, _ = bench.build(bench.lock(bumped, beta))
    assert [layer.diff_id for layer in made.layers] == [layer.diff_id for layer in fresh.layers]
    assert (SHARED in bench.paths(made)["beta"]) == (SHARED not in files)


def test_three_of_one_path(bench: Bench) -> None:
    alpha, beta, gamma = (bench.wheel(name, "1", {SHARED: b"", f"{name}.py": b""}) for name in ("alpha", "beta", "gamma"))
    _, learned = bench.build(bench.lock(alpha, beta, gamma))
    made, _ = bench.build(bench.lock(beta, gamma, former=learned))
    paths = bench.paths(made)
    assert SHARED in paths["beta"]
    assert SHARED not in paths["gamma"]


def test_small_wheels_that_yield_to_a_big_one(bench: Bench) -> None:
    big, small = bench.wheel("alpha", "1", {SHARED: b""}), bench.wheel("beta", "1", {SHARED: b"", "b.py": b""}, alone=False)
    other = bench.wheel("delta", "1", {"b.py": b""}, alone=False)
    _, learned = bench.build(bench.lock(big, small, other))
    assert learned.layers[-1].yields == ("alpha",)  # and not delta, which lies in the same layer
    made, _ = bench.build(bench.lock(small, other, former=learned))
    assert SHARED in bench.paths(made)["wheels"]


def test_a_layer_that_comes_out_otherwise_than_locked_is_never_another_image(bench: Bench) -> None:
    _, learned = bench.build(bench.lock(bench.wheel("alpha", "1", {"a.py": b""})))
    wrong = replace(learned, layers=tuple(replace(layer, diff_id=DiffId("0" * 64)) for layer in learned.layers))
    with pytest.raises(TrustError, match="came out as"):
        bench.build(wrong)


# -- bytecode of nothing


def test_wheels_without_python_files_get_no_bytecode_layer_and_need_no_interpreter(bench: Bench) -> None:
    data, small = bench.wheel("alpha", "1", {"alpha/data.bin": b"x"}), bench.wheel("beta", "1", {"b.txt": b""}, alone=False)
    planned = bench.lock(data, small, bytecode=Bytecode.LAYER)
    assert [layer.name for layer in planned.layers][-2:] == ["bytecode-alpha", "bytecode-wheels"]
    made, learned = bench.build(planned)
    assert [layer.name for layer in made.layers] == ["python", "alpha", "wheels"]
    again, same = bench.build(learned)
    assert (again.layers, same) == (made.layers, learned)
    # A host that has the lock of before the first build makes the same image.
    other, _ = bench.build(planned)
    assert other.layers == made.layers


def test_an_empty_layer_that_a_lock_names_stays(bench: Bench) -> None:
    planned = bench.lock(bench.wheel("alpha", "1", {"a.bin": b"x"}), bytecode=Bytecode.LAYER)
    empty = DiffId("5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef")
    named = replace(
        planned,
        layers=tuple(replace(layer, diff_id=empty) if layer.kind is LayerKind.BYTECODE else layer for layer in planned.layers),
    )
    made, learned = bench.build(named)
    assert (
        [layer.name for layer in made.layers] == [layer.name for layer in learned.layers] == ["python", "alpha", "bytecode-alpha"]
    )


def test_what_needs_an_interpreter_says_so(bench: Bench) -> None:
    with pytest.raises(StoreError, match="cannot run"):
        bench.build(bench.lock(bench.wheel("alpha", "1", {"a.py": b""}), bytecode=Bytecode.LAYER))


# -- layers of other images


def test_a_wheel_that_has_vanished_is_not_asked_for_when_its_layer_is_elsewhere(bench: Bench, tmp_path: Path) -> None:
    made, learned = bench.build(bench.lock(bench.wheel("alpha", "1", {"a.py": b""})))
    other = Bench(tmp_path / "other")
    other.shelf.gone.add("alpha")
    with pytest.raises(LockError, match="nowhere"):
        other.build(learned)
    for layer in made.layers:
        with bench.store.open(layer.digest) as file:
            other.store.put_bytes(file.read())
        other.shelf.elsewhere[layer.diff_id] = LayerBlob(
            diff_id=layer.diff_id, digest=layer.digest, size=layer.size, media_type=layer.media_type
        )
    again, _ = other.build(learned)
    assert again.layers == made.layers
    assert other.shelf.fetched == []
    other.shelf.searched.clear()
    other.build(learned)
    assert other.shelf.searched == []  # once found it is in the cache


def test_layers_without_a_diff_id_are_not_looked_for(bench: Bench) -> None:
    bench.build(bench.lock(bench.wheel("alpha", "1", {"a.py": b""})))
    assert bench.shelf.searched == []
