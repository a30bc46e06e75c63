"""A whole lock of a conda environment: both platforms, pip beside conda, foreign locks, what stays, and the same bytes always."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulators.python_index import PythonIndex, make_wheel
from tests.unit.lock.conda_projects import AMD64, ARM64, ask, make_channel, package, titles
from tests.unit.lock.test_resolution import Dock, built
from tests.unit.lock.test_resolution import lock_base as lock_base_with_python
from wherry.errors import LockError
from wherry.formats.lockfile import parse_lock, render_lock
from wherry.lock.resolution import BaseLock, resolve_lock
from wherry.model.declaration import CondaRequest, DebianBase, Declaration, Environment, EnvironmentKind, Requirement
from wherry.model.digest import Digest
from wherry.model.lock import Lock, PlatformLock
from wherry.model.platform import Platform

PACKAGES = (
    package("python 3.12.1", "openssl"),
    package("openssl 3.0"),
    package("numpy 2.1.0 py312_0", "python 3.12.*"),
    package("numpy 2.0.0 py312_0", "python 3.12.*"),
    package("pytorch 2.4.0 py312_0", "python 3.12.*", "numpy"),
)


def lock_base(platform: Platform, keep: PlatformLock | None) -> BaseLock:
    return replace(lock_base_with_python(platform, keep), python=None)


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_channel(tmp_path_factory.mktemp("channels") / "forge", *PACKAGES)


@pytest.fixture
def dock(tmp_path: Path) -> Iterator[CondaDock]:
    with PythonIndex() as index:
        index.add(make_wheel("rope", "1.0", requires=("numpy>=2", "torch", "knot")), make_wheel("knot", "1.0"))
        index.add(make_wheel("numpy", "1.26.0"), make_wheel("mast", "1.0", requires=("numpy>=3",)))
        yield CondaDock(tmp_path, index)


class CondaDock(Dock):
    def __init__(self, folder: Path, index: PythonIndex) -> None:
        super().__init__(folder, index)
        self.notes: list[str] = []

    def declare(self, request: CondaRequest, *pip: str, platforms: tuple[Platform, ...] = (AMD64, ARM64)) -> Declaration:
        requirements = tuple(
            Requirement(text=line, name=line.split("<")[0].split("=")[0], where=f"environment.yml:{n}")
            for n, line in enumerate(pip, 9)
        )
        environment = Environment(kind=EnvironmentKind.CONDA, files=("environment.yml",), requirements=requirements, conda=request)
        return Declaration(
            root=self.folder,
            origin="environment.yml",
            name="project",
            python=None,
            base=DebianBase(suite="bookworm"),
            platforms=platforms,
            environment=environment,
        )

    def lock(
        self,
        declaration: Declaration,
        former: Lock | None = None,
        *,
        upgrade: bool = False,
        names: tuple[str, ...] = (),
        refresh_names: bool = False,
    ) -> Lock:
        return resolve_lock(
            declaration,
            Digest.of(repr(declaration.environment).encode()),
            former,
            upgrade=upgrade,
            upgrade_packages=frozenset(names),
            offline=False,
            environment=self.environment,
            cache=self.folder / "cache",
            lock_base=lock_base,
            refresh_names=refresh_names,
            say=self.notes.append,
        )


def test_pip_beside_conda(dock: CondaDock, forge: Path) -> None:
    lock = dock.lock(dock.declare(ask("pytorch", channels=(forge,)), "rope"))
    for locked in lock.platforms:
        assert titles(locked.records) == ["numpy 2.1.0", "openssl 3.0", "python 3.12.1", "pytorch 2.4.0"]
        assert [(wheel.name, wheel.requires, wheel.requested) for wheel in locked.wheels] == [
            ("knot", (), False),
            ("rope", ("knot",), True),
        ]
        assert (locked.interpreter.source, locked.interpreter.version) == ("conda", "3.12.1")
        assert locked.interpreter.path == "/opt/conda/bin/python3.12"
        assert "python3.11" not in {deb.name for deb in locked.debs if deb.part.value == "base"}
        assert [layer.name for layer in locked.layers] == [
            "base", "python", "records", "wheels", "bytecode-python", "bytecode-records", "bytecode-wheels",
        ]  # fmt: skip
    assert parse_lock(render_lock(lock)) == lock
    assert dock.notes == []
    asked = {path.split("/")[2] for _, path, *_ in dock.index.requests if path.startswith("/simple/")}
    assert asked == {"rope", "knot"}


def test_the_same_bytes_from_another_folder_cache_and_order(dock: CondaDock, forge: Path, tmp_path: Path) -> None:
    first = dock.lock(dock.declare(ask("pytorch", "numpy", channels=(forge,)), "rope"))
    other = CondaDock(tmp_path / "elsewhere", dock.index)
    other.folder.mkdir()
    again = other.lock(other.declare(ask("numpy", "pytorch", channels=(forge,)), "rope", platforms=(ARM64, AMD64)))
    assert render_lock(replace(again, declaration=first.declaration)) == render_lock(first)
    assert str(tmp_path) not in render_lock(first)


def test_a_spec_may_call_a_declared_address_by_its_name(dock: CondaDock, forge: Path) -> None:
    """But an address beside a channel of that name is another channel, which does not answer here."""
    lock = dock.lock(dock.declare(ask("forge::numpy", channels=(forge,))))
    assert {record.channel for locked in lock.platforms for record in locked.records} == {"forge"}
    (dock.folder / ".condarc").write_text(f"channel_alias: {(dock.folder / 'nothing').as_uri()}\n")
    dock.environment = {**dock.environment, "HOME": str(dock.folder)}
    with pytest.raises(LockError, match="the channel forge has nothing"):
        dock.lock(dock.declare(ask("numpy", channels=("forge", forge))))


def test_the_authors_own_version_wins_over_condas(dock: CondaDock, forge: Path) -> None:
    lock = dock.lock(dock.declare(ask("numpy", channels=(forge,)), "numpy<2", platforms=(AMD64,)))
    (locked,) = lock.platforms
    assert "numpy 2.1.0" in titles(locked.records)
    assert [(wheel.name, wheel.version) for wheel in locked.wheels] == [("numpy", "1.26.0")]
    assert dock.notes == ["environment.yml:9: numpy<2 is not conda's numpy 2.1.0: a wheel takes its place"]


def test_a_requirement_that_conda_does_not_meet_is_explained(dock: CondaDock, forge: Path) -> None:
    with pytest.raises(LockError) as caught:
        dock.lock(dock.declare(ask("numpy", channels=(forge,)), "mast", platforms=(AMD64,)))
    assert "where conda brings numpy 2.1.0" in caught.value.what


def test_upgrades_move_conda_and_pip_by_name(dock: CondaDock, forge: Path) -> None:
    request = ask("numpy", channels=(forge,))
    before = built(dock.lock(dock.declare(ask("numpy <2.1", channels=(forge,)), "knot", platforms=(AMD64,))))
    declaration = dock.declare(request, "knot", platforms=(AMD64,))
    (kept,) = dock.lock(declaration, before).platforms
    assert "numpy 2.0.0" in titles(kept.records)
    assert kept.layers == before.platforms[0].layers
    (moved,) = dock.lock(declaration, before, names=("NumPy",)).platforms
    assert "numpy 2.1.0" in titles(moved.records)
    changed = {layer.name for layer in moved.layers if layer not in before.platforms[0].layers}
    assert changed == {"records", "bytecode-records"}
    with pytest.raises(LockError, match="nothing named nmpy is locked"):
        dock.lock(declaration, before, names=("nmpy",))


def test_a_project_of_pip_over_condas_python(dock: CondaDock, forge: Path) -> None:
    asked = dock.declare(ask("python 3.12.*", channels=(forge,)), "knot", platforms=(ARM64,))
    environment = replace(asked.environment, kind=EnvironmentKind.REQUIREMENTS, files=("requirements.txt",))
    (locked,) = dock.lock(replace(asked, environment=environment)).platforms
    assert titles(locked.records) == ["openssl 3.0", "python 3.12.1"]
    assert [wheel.name for wheel in locked.wheels] == ["knot"]
    assert locked.interpreter.path == "/opt/conda/bin/python3.12"


@pytest.mark.parametrize("build", ["0_73_pypy", "h1_100_cp313t", "240_graalpy"])
def test_a_python_of_another_kind_is_refused(dock: CondaDock, tmp_path: Path, build: str) -> None:
    channel = make_channel(tmp_path / "forge", package(f"python 3.13.1 {build}"))
    with pytest.raises(LockError, match="is not CPython as wheels know it"):
        dock.lock(dock.declare(ask("python", channels=(channel,)), platforms=(AMD64,)))


def test_names_are_refreshed_from_the_archives(dock: CondaDock, tmp_path: Path) -> None:
    metadata = {"lib/python3.12/site-packages/knot-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: knot\nVersion: 1.0\n"}
    channel = make_channel(tmp_path / "forge", *PACKAGES, package("tie 1.0", "python", files=metadata))
    declaration = dock.declare(ask("tie", channels=(channel,)), "knot", platforms=(AMD64,))
    before = dock.lock(declaration)
    assert [wheel.name for wheel in before.platforms[0].wheels] == ["knot"]
    after = dock.lock(declaration, before, refresh_names=True)
    assert after.platforms[0].wheels == ()
    assert {record.name: record.provides for record in after.platforms[0].records if record.provides} == {"tie": ("knot",)}
    assert parse_lock(render_lock(after)) == after
    assert dock.lock(declaration, after) is after
    assert dock.lock(declaration, after, upgrade=True) == after


def test_a_lock_of_another_tool(dock: CondaDock, forge: Path) -> None:
    lines = [f"{path.as_uri()}" for path in sorted(forge.glob("linux-64/*.conda")) if "numpy-2.0" not in path.name]
    (dock.folder / "list.txt").write_text("\n".join(["@EXPLICIT", *lines, ""]))
    environment = Environment(kind=EnvironmentKind.CONDA_EXPLICIT, files=("list.txt",))
    declaration = replace(dock.declare(ask(), platforms=(AMD64,)), environment=environment)
    (locked,) = dock.lock(declaration).platforms
    assert titles(locked.records) == ["numpy 2.1.0", "openssl 3.0", "python 3.12.1", "pytorch 2.4.0"]
    assert [record.name for record in locked.records if record.requested] == ["pytorch"]
    assert locked.wheels == ()
    with pytest.raises(LockError, match="no packages for linux-aarch64, only for linux-64"):
        dock.lock(replace(declaration, platforms=(ARM64,)))


def as_conda_lock(archives: list[Path], wheel: str, digest: str) -> str:
    lines = [
        "version: 1",
        "metadata:",
        f"  channels: [{{url: '{archives[0].parents[1].as_uri()}'}}]",
        "  platforms: [linux-64]",
        "package:",
    ]
    for archive in archives:
        name, version, _ = archive.name.rsplit("-", 2)
        lines += [
            f"- name: {name}",
            f"  version: '{version}'",
            "  manager: conda",
            "  platform: linux-64",
            f"  url: {archive.as_uri()}",
        ]
        lines += [f"  hash: {{sha256: {hashlib.sha256(archive.read_bytes()).hexdigest()}}}", "  category: main"]
        lines += [f"  dependencies: {{{'' if name == 'python' else 'python: 3.12.*'}}}"]
    lines += ["- name: knot", "  version: '1.0'", "  manager: pip", "  platform: linux-64", f"  url: {wheel}"]
    return "\n".join([*lines, f"  hash: {{sha256: {digest}}}", "  category: main", "  dependencies: {}", ""])


def as_pixi_lock(archives: list[Path], wheel: str, digest: str) -> str:
    channel = archives[0].parents[1].as_uri()
    lines = [
        "version: 6",
        "environments:",
        "  default:",
        f"    channels: [{{url: '{channel}/'}}]",
        "    packages:",
        "      linux-64:",
    ]
    lines += [*(f"      - conda: {archive.as_uri()}" for archive in archives), f"      - pypi: {wheel}", "packages:"]
    for archive in archives:
        raw = archive.read_bytes()
        lines += [f"- conda: {archive.as_uri()}", f"  sha256: {hashlib.sha256(raw).hexdigest()}", f"  size: {len(raw)}"]
        lines += ["  depends:", "  - python 3.12.*"] if not archive.name.startswith("python") else []
    return "\n".join([*lines, f"- pypi: {wheel}", "  name: knot", "  version: '1.0'", f"  sha256: {digest}", ""])


@pytest.mark.parametrize(
    ("kind", "file", "write"),
    [(EnvironmentKind.CONDA_LOCK, "conda-lock.yml", as_conda_lock), (EnvironmentKind.PIXI_LOCK, "pixi.lock", as_pixi_lock)],
)
def test_locks_that_name_wheels_too(
    dock: CondaDock, forge: Path, kind: EnvironmentKind, file: str, write: Callable[[list[Path], str, str], str]
) -> None:
    knot = make_wheel("knot", "1.0")
    archives = [path for path in sorted(forge.glob("linux-64/*.conda")) if path.name.startswith(("python", "numpy-2.1"))]
    (dock.folder / file).write_text(write(archives, dock.index.file_url(knot), knot.sha256))
    declaration = replace(dock.declare(ask(), platforms=(AMD64,)), environment=Environment(kind=kind, files=(file,)))
    lock = dock.lock(declaration)
    (locked,) = lock.platforms
    assert titles(locked.records) == ["numpy 2.1.0", "python 3.12.1"]
    assert [(record.requires, record.size) for record in locked.records] == [
        (("python",), archives[0].stat().st_size),
        ((), archives[1].stat().st_size),
    ]
    assert [(wheel.name, wheel.sha256.hex, wheel.size) for wheel in locked.wheels] == [("knot", knot.sha256, len(knot.data))]
    assert parse_lock(render_lock(lock)) == lock
