"""Locking a base that somebody published: which image stays, which Python is meant, what is added over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulators.bases import AMD64
from tests.simulators.debian import NOW, Archive
from wherry.errors import LockError
from wherry.lock.reference_base import ReferenceBases, find_interpreter
from wherry.lock.resolution import BaseLock
from wherry.model.declaration import Declaration, Environment, EnvironmentKind, ReferenceBase
from wherry.model.digest import DiffId, Digest
from wherry.model.lock import LayerKind, LockedBase, LockedDeb, LockedInterpreter, PlatformLock
from wherry.model.oci import ImageConfig
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.sources.debian import DebianArchive
from wherry.store.survey import BaseSurvey

NAME = "library/python:3.11"
STATUS = b"Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\nArchitecture: amd64\n"


def base(text: str) -> LockedBase:
    return LockedBase(
        name=NAME, manifest=Digest.of(text.encode()), config=Digest.of(b"c" + text.encode()), diff_ids=(DiffId("0" * 64),)
    )


def config(*env: str) -> ImageConfig:
    return ImageConfig(raw=b"{}", platform=AMD64, created="", diff_ids=(), history=(), env=env)


def surveyed(**changes: object) -> BaseSurvey:
    whole = BaseSurvey(
        glibc=(2, 36),
        pythons={"/usr/local/bin/python3.11": "/usr/local/bin/python3.11"},
        versions={("/usr/local", "3.11"): "3.11.9"},
        status=b"",
        os_release={"ID": "debian", "VERSION_CODENAME": "bookworm"},
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def declared(python: str | None = None, packages: tuple[str, ...] = ()) -> Declaration:
    return Declaration(
        root=Path("/p"),
        origin="wherry.toml",
        name="p",
        python=python,
        base=ReferenceBase(reference=Reference.parse(NAME)),
        platforms=(AMD64,),
        environment=Environment(kind=EnvironmentKind.EMPTY),
        system_packages=packages,
    )


def former(locked: LockedBase, *debs: LockedDeb) -> PlatformLock:
    interpreter = LockedInterpreter(source="base", version="3.11.9", path="/usr/local/bin/python3.11")
    return PlatformLock(platform=AMD64, base=locked, interpreter=interpreter, debs=debs, wheels=(), layers=())


class World:
    """A registry in which the tag has moved on: what is pinned is found again, what is not is the newer image."""

    def __init__(self, survey: BaseSurvey | None = None) -> None:
        self.survey = survey or surveyed()
        self.asked: list[LockedBase | None] = []

    def find(self, platform: Platform, pinned: LockedBase | None) -> tuple[LockedBase, ImageConfig, Callable[[], BaseSurvey]]:
        self.asked.append(pinned)
        return pinned or base("moved on"), config("PATH=/usr/local/bin:/usr/bin"), lambda: self.survey

    def lock(
        self,
        declaration: Declaration,
        kept: PlatformLock | None = None,
        *,
        upgrade: bool = False,
        name: str = NAME,
        archive: DebianArchive | None = None,
    ) -> BaseLock:
        return ReferenceBases(declaration, name, self.find, lambda _distribution: archive, upgrade)(AMD64, kept)


def test_the_pinned_base_is_kept_while_its_name_is_declared() -> None:
    kept = former(base("first"))
    assert World().lock(declared(), kept).base == base("first")
    assert World().lock(declared(), kept, upgrade=True).base == base("moved on")
    assert World().lock(declared(), kept, name="library/python:3.12").base == base("moved on")
    assert World().lock(declared(), None).base == base("moved on")


def test_a_kept_base_still_has_to_bring_the_python_that_is_wanted_now() -> None:
    with pytest.raises(LockError, match=r"no Python 3\.12 .*has: 3\.11"):
        World().lock(declared("3.12"), former(base("first")))
    assert World().lock(declared("3.11"), former(base("first"))).interpreter.version == "3.11.9"


def test_a_base_without_python_is_enough_where_python_comes_by_itself() -> None:
    """As with a managed one; which glibc wheels may need is the base's to say."""
    own = LockedInterpreter(source="managed", version="3.12.7", path="/opt/python/bin/python3.12")
    world = World(surveyed(pythons={}, versions={}, glibc=(2, 28)))
    bases = ReferenceBases(declared("3.12"), NAME, world.find, lambda _: None, False, lambda _platform, _former: own)
    locked = bases(AMD64, None)
    assert (locked.interpreter, locked.glibc) == (own, (2, 28))


def test_a_base_without_a_gnu_c_library_is_refused() -> None:
    with pytest.raises(LockError, match="no GNU C library") as caught:
        World(surveyed(glibc=None)).lock(declared())
    assert caught.value.hint is not None
    assert "musl" in caught.value.hint


# -- which Python


def find(
    pythons: Mapping[str, str],
    env: tuple[str, ...] = ("PATH=/usr/local/bin:/usr/bin",),
    *,
    versions: Mapping[tuple[str, str], str] | None = None,
    status: bytes = b"",
    debs: tuple[LockedDeb, ...] = (),
    wanted: str | None = None,
) -> LockedInterpreter:
    survey = surveyed(pythons=pythons, versions=versions or {}, status=status)
    return find_interpreter(config(*env), survey, debs, wanted, NAME)


def paths(*names: str) -> dict[str, str]:
    return {name: name for name in names}


def installed(name: str, version: str) -> bytes:
    return f"Package: {name}\nStatus: install ok installed\nVersion: {version}\nArchitecture: amd64\n\n".encode()


def test_the_first_on_path_is_what_is_meant() -> None:
    both = paths("/usr/bin/python3.11", "/usr/local/bin/python3.12", "/opt/x/bin/python3.10")
    versions = {("/usr", "3.11"): "3.11.2", ("/usr/local", "3.12"): "3.12.1", ("/opt/x", "3.10"): "3.10.4"}
    assert find(both, versions=versions).path == "/usr/local/bin/python3.12"
    assert find(both, ("PATH=/usr/bin:/usr/local/bin",), versions=versions).version == "3.11.2"
    assert find(both, (), versions=versions).path == "/opt/x/bin/python3.10"
    assert find(both, versions=versions, wanted="3.10").path == "/opt/x/bin/python3.10"


def test_two_of_one_minor_keep_their_own_versions() -> None:
    both = paths("/usr/bin/python3.11", "/usr/local/bin/python3.11")
    status = installed("python3.11-minimal", "3.11.2-6+deb12u6")
    env = ("PATH=/usr/local/bin:/usr/bin", "PYTHON_VERSION=3.11.9")
    assert find(both, env, status=status) == LockedInterpreter(source="base", version="3.11.9", path="/usr/local/bin/python3.11")
    env = ("PATH=/usr/bin:/usr/local/bin", "PYTHON_VERSION=3.11.9")
    assert find(both, env, status=status).version == "3.11.2"


def test_a_link_is_known_by_where_it_leads() -> None:
    linked = {"/usr/local/bin/python3.12": "/opt/py/bin/python3.12", "/usr/bin/python3.11": "/usr/bin/python3.11"}
    found = find(linked, versions={("/opt/py", "3.12"): "3.12.4", ("/usr", "3.11"): "3.11.2"})
    assert (found.path, found.version) == ("/opt/py/bin/python3.12", "3.12.4")


def test_a_python_whose_version_nobody_tells_does_not_count() -> None:
    with pytest.raises(LockError, match=r"whose version can be told \(it has: 3\.11\)"):
        find(paths("/usr/local/bin/python3.11"))
    with pytest.raises(LockError):
        find(paths("/usr/local/bin/python3.11"), ("PYTHON_VERSION=3.12.1",))
    with pytest.raises(LockError):
        find(paths("/usr/local/bin/python3.11"), ("PYTHON_VERSION=3.11.x/../",))
    with pytest.raises(LockError, match="it has: none"):
        find({})


def test_a_python_that_packages_bring_is_debians() -> None:
    deb = LockedDeb(
        name="python3.11-minimal",
        version="3.11.2-6",
        architecture="amd64",
        file="python3.11-minimal_3.11.2-6_amd64.deb",
        size=1,
        sha256=Digest.of(b"deb"),
        part=LayerKind.INTERPRETER,
    )
    assert find({}, debs=(deb,)) == LockedInterpreter(source="debian", version="3.11.2", path="/usr/bin/python3.11")
    other = replace(deb, name="python3.11-venv")
    with pytest.raises(LockError):
        find({}, debs=(other,))


# -- packages over it


@pytest.fixture
def archive(tmp_path: Path) -> DebianArchive:
    made = Archive(tmp_path / "mirror")
    made.add("bookworm", "libgomp1", "12.2-1", "Depends: libc6 (>= 2.36)\n")
    made.add("bookworm", "libc6", "2.36-9")
    made.write()
    return DebianArchive(made.sources("bookworm"), tmp_path / "cache", keyring=made.keyring, now=lambda: NOW)


def test_packages_are_solved_against_what_the_base_has(archive: DebianArchive) -> None:
    locked = World(surveyed(status=STATUS)).lock(declared(packages=("libgomp1",)), archive=archive)
    assert [deb.name for deb in locked.debs] == ["libgomp1"]
    assert locked.base is not None
    assert locked.base.release == "debian:bookworm"


def test_a_base_that_has_the_packages_gets_no_layer(archive: DebianArchive) -> None:
    locked = World(surveyed(status=STATUS)).lock(declared(packages=("libc6",)), archive=archive)
    assert (locked.debs, locked.base and locked.base.release) == ((), None)


@pytest.mark.parametrize("survey", [surveyed(), surveyed(status=STATUS, os_release={"ID": "fedora"})])
def test_packages_over_a_base_that_is_no_debian_are_refused(survey: BaseSurvey) -> None:
    with pytest.raises(LockError, match="system packages cannot be added"):
        World(survey).lock(declared(packages=("libgomp1",)))
