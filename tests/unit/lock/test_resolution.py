"""A whole lock: all platforms, what stays, what `--locked` says, and the same bytes from the same inputs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulators.python_index import PythonIndex, make_wheel
from wherry.errors import LockError
from wherry.formats.lockfile import parse_lock, render_lock
from wherry.lock.resolution import BaseLock, glibc_of, require_answered, resolve_lock
from wherry.model.declaration import DebianBase, Declaration, Environment, EnvironmentKind, ModelFile, Requirement
from wherry.model.digest import DiffId, Digest
from wherry.model.lock import LayerKind, Lock, LockedDeb, LockedInterpreter, PlatformLock
from wherry.model.platform import Platform

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
MIB = 1024 * 1024


def lock_base(platform: Platform, keep: PlatformLock | None) -> BaseLock:
    def deb(name: str, version: str, part: LayerKind) -> LockedDeb:
        file = f"{name}_{version}_{platform.debian}.deb"
        return LockedDeb(
            name=name, version=version, architecture=platform.debian, file=file, size=9, sha256=Digest.of(file.encode()), part=part
        )

    debs = (deb("libc6", "2.36-9+deb12u10", LayerKind.BASE), deb("python3.11", "3.11.2-6+deb12u6", LayerKind.INTERPRETER))
    interpreter = LockedInterpreter(source="debian", version="3.11.2", path="/usr/bin/python3.11")
    return BaseLock(base=None, python=interpreter, debs=debs, glibc=glibc_of(debs) or (2, 36))


def declare(root: Path, *lines: str, platforms: tuple[Platform, ...] = (AMD64, ARM64)) -> Declaration:
    requirements = tuple(
        Requirement(text=line, name=line.split("=")[0], where=f"requirements.txt:{n + 1}") for n, line in enumerate(lines)
    )
    root.mkdir(exist_ok=True)
    return Declaration(
        root=root,
        origin="requirements.txt",
        name="project",
        python=None,
        base=DebianBase(suite="bookworm"),
        platforms=platforms,
        environment=Environment(kind=EnvironmentKind.REQUIREMENTS, files=("requirements.txt",), requirements=requirements),
        models=(ModelFile(path="model.pkl"),),
    )


class Dock:
    def __init__(self, folder: Path, index: PythonIndex) -> None:
        self.folder = folder
        self.index = index
        self.environment = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "PIP_CONFIG_FILE": os.devnull,
            "UV_CACHE_DIR": str(folder / "uv-cache"),
            "UV_DEFAULT_INDEX": index.url,
        }

    def lock(
        self, declaration: Declaration, former: Lock | None = None, *, upgrade: bool = False, names: tuple[str, ...] = ()
    ) -> Lock:
        digest = Digest.of("\n".join(entry.text for entry in declaration.environment.requirements).encode())
        return resolve_lock(
            declaration,
            digest,
            former,
            upgrade=upgrade,
            upgrade_packages=frozenset(names),
            offline=False,
            environment=self.environment,
            cache=self.folder / "cache",
            lock_base=lock_base,
        )


@pytest.fixture
def dock(tmp_path: Path) -> Iterator[Dock]:
    with PythonIndex() as index:
        index.add(make_wheel("hull", "1.0", padding=2 * MIB), make_wheel("rope", "1.0"), make_wheel("mast", "1.0", padding=MIB))
        yield Dock(tmp_path, index)


def built(lock: Lock) -> Lock:
    """As after a first build: each layer has its diff_id."""
    return replace(
        lock,
        platforms=tuple(
            replace(
                locked,
                layers=tuple(
                    replace(layer, diff_id=DiffId(Digest.of(f"{locked.platform} {layer.name}".encode()).hex))
                    for layer in locked.layers
                ),
            )
            for locked in lock.platforms
        ),
    )


def test_a_whole_lock_and_its_bytes(dock: Dock, tmp_path: Path) -> None:
    lock = dock.lock(declare(tmp_path / "a", "hull", "mast", "rope"))
    assert [locked.platform for locked in lock.platforms] == [AMD64, ARM64]
    assert [layer.name for layer in lock.platforms[0].layers] == [
        "base", "python", "hull", "mast", "wheels", "bytecode-python", "bytecode-hull", "bytecode-mast", "bytecode-wheels",
    ]  # fmt: skip
    text = render_lock(lock)
    assert parse_lock(text) == lock
    assert "127.0.0.1" not in text
    again = dock.lock(declare(tmp_path / "b", "hull", "mast", "rope", platforms=(ARM64, AMD64)))
    assert render_lock(again) == text


def test_an_answered_declaration_asks_nobody(dock: Dock, tmp_path: Path) -> None:
    declaration = declare(tmp_path / "a", "hull")
    lock = dock.lock(declaration)
    dock.index.requests.clear()
    assert dock.lock(declaration, lock) is lock
    assert dock.index.requests == []


def test_one_bump_moves_one_layer(dock: Dock, tmp_path: Path) -> None:
    declaration = declare(tmp_path / "a", "hull", "mast", "rope")
    before = built(dock.lock(declaration))
    dock.index.add(make_wheel("hull", "2.0", padding=4 * MIB), make_wheel("rope", "2.0"))
    after = dock.lock(declaration, before, names=("hull",))
    for old, new in zip(before.platforms, after.platforms, strict=True):
        assert {layer.name for layer in new.layers if layer not in old.layers} == {"hull", "bytecode-hull"}


def test_a_new_requirement_leaves_the_others(dock: Dock, tmp_path: Path) -> None:
    before = built(dock.lock(declare(tmp_path / "a", "hull")))
    dock.index.add(make_wheel("hull", "2.0", padding=4 * MIB))
    after = dock.lock(declare(tmp_path / "a", "hull", "rope"), before)
    assert {layer.name for layer in after.platforms[0].layers if layer.diff_id is None} == {"wheels", "bytecode-wheels"}
    upgraded = dock.lock(declare(tmp_path / "a", "hull", "rope"), after, upgrade=True)
    assert upgraded.platforms[0].wheels[0].version == "2.0"


def test_a_new_platform_starts_from_the_versions_of_the_others(dock: Dock, tmp_path: Path) -> None:
    before = dock.lock(declare(tmp_path / "a", "hull", platforms=(AMD64,)))
    dock.index.add(make_wheel("hull", "2.0"))
    after = dock.lock(declare(tmp_path / "a", "hull"), before)
    assert [locked.wheels[0].version for locked in after.platforms] == ["1.0", "1.0"]
    assert after.platforms[0] is before.platforms[0]


def test_a_name_that_is_nowhere_cannot_be_upgraded(dock: Dock, tmp_path: Path) -> None:
    declaration = declare(tmp_path / "a", "hull")
    with pytest.raises(LockError, match="nothing named huul"):
        dock.lock(declaration, dock.lock(declaration), names=("huul",))


def test_locked_refuses_to_change(dock: Dock, tmp_path: Path) -> None:
    declaration = declare(tmp_path / "a", "hull")
    lock = dock.lock(declaration)
    assert require_answered(declaration, lock.declaration, lock) is lock
    with pytest.raises(LockError, match="another declaration"):
        require_answered(declaration, Digest.of(b"other"), lock)
    more = replace(declaration, platforms=(*declaration.platforms, Platform.parse("linux/arm/v7")))
    with pytest.raises(LockError, match="another declaration"):
        require_answered(more, lock.declaration, lock)
    assert require_answered(replace(declaration, platforms=(AMD64,)), lock.declaration, lock) is lock
    with pytest.raises(LockError, match="there is no lock"):
        require_answered(declaration, lock.declaration, None)


@pytest.mark.network
def test_the_usual_stack_on_both_platforms_twice(tmp_path: Path) -> None:
    """Against the indexes that this machine is configured for."""
    texts = []
    for folder in ("one", "two"):
        declaration = declare(tmp_path / folder, "numpy", "scipy", "pandas", "scikit-learn")
        environment = {**os.environ, "UV_CACHE_DIR": str(tmp_path / "uv")}
        lock = resolve_lock(
            declaration,
            Digest.of(b"d"),
            None,
            upgrade=False,
            upgrade_packages=frozenset(),
            offline=False,
            environment=environment,
            cache=tmp_path / folder / "cache",
            lock_base=lock_base,
        )
        texts.append(render_lock(lock))
    assert texts[0] == texts[1]
    for locked in lock.platforms:
        assert {"numpy", "scipy", "pandas", "scikit-learn"} <= {wheel.name for wheel in locked.wheels if wheel.requested}
        assert {"numpy", "scipy", "pandas", "scikit-learn"} <= {layer.name for layer in locked.layers}
        assert all(locked.platform.machine in wheel.file or "-none-any" in wheel.file for wheel in locked.wheels)
        assert all(wheel.size > 1000 for wheel in locked.wheels)
