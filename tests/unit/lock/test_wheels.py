"""Resolving with the real uv against an index on loopback: which wheel, from whom, and refusals in our words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulators.python_index import PythonIndex, Wheel, make_wheel
from tests.unit.lock.yard import AARCH, AMD64, ARM64, ARMV7, X86, Yard, as_locked
from wherry.errors import LockError, TransferError, WherryError
from wherry.model.declaration import Environment, EnvironmentKind, IndexOptions
from wherry.model.lock import LockedInterpreter, LockedWheel, PlatformLock
from wherry.model.platform import Platform


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    with PythonIndex() as index:
        yield Yard(tmp_path, index)


def platform_lock(wheels: tuple[LockedWheel, ...], platform: Platform = AMD64) -> PlatformLock:
    interpreter = LockedInterpreter(source="debian", version="3.11.2", path="/usr/bin/python3.11")
    return PlatformLock(platform=platform, base=None, interpreter=interpreter, debs=(), wheels=wheels, layers=())


def test_wheels_with_who_asked_for_them(yard: Yard) -> None:
    hull, cargo, rope = (
        make_wheel("Hull", "2.0", requires=["rope", "cargo_box[fast]"]),
        make_wheel("cargo-box", "1.0"),
        make_wheel("rope", "3.1"),
    )
    yard.index.add(hull, cargo, rope, make_wheel("rope", "3.0"))
    assert yard.lock(yard.declare("hull>=1", "rope")) == (
        as_locked(cargo),
        replace(as_locked(hull, requires=("cargo-box", "rope"), requested=True), name="hull"),
        as_locked(rope, requested=True),
    )


@pytest.mark.parametrize("json_pages", [False, True])
def test_each_platform_gets_its_own_file(tmp_path: Path, json_pages: bool) -> None:
    with PythonIndex(json_pages=json_pages) as index:
        yard = Yard(tmp_path, index)
        index.add(
            *(
                make_wheel("hull", "1.0", tag=tag)
                for tag in (X86, AARCH, "cp312-cp312-manylinux_2_17_x86_64", "cp311-cp311-win_amd64")
            )
        )
        assert X86 in yard.lock(yard.declare("hull"))[0].file
        assert AARCH in yard.lock(yard.declare("hull"), ARM64)[0].file


def test_the_glibc_of_the_base_decides(yard: Yard) -> None:
    new, old = (
        make_wheel("hull", "2.0", tag="cp311-cp311-manylinux_2_34_x86_64"),
        make_wheel("hull", "1.0", tag="cp311-cp311-manylinux_2_17_x86_64"),
    )
    yard.index.add(new, old)
    assert yard.lock(yard.declare("hull"), glibc=(2, 36))[0].version == "2.0"
    assert yard.lock(yard.declare("hull"), glibc=(2, 31))[0].version == "1.0"


def test_markers_are_of_the_target(yard: Yard) -> None:
    yard.index.add(make_wheel("hull", "1.0"), make_wheel("rope", "1.0"))
    declaration = yard.declare("hull", "rope; platform_machine == 'aarch64' and python_full_version == '3.11.2'")
    assert [wheel.name for wheel in yard.lock(declaration)] == ["hull"]
    assert [wheel.name for wheel in yard.lock(declaration, ARM64)] == ["hull", "rope"]


def test_constraints_hold(yard: Yard) -> None:
    yard.index.add(make_wheel("hull", "1.0"), make_wheel("hull", "2.0"))
    assert yard.lock(yard.declare("hull", constraints=("hull<2",)))[0].version == "1.0"


def test_nothing_is_asked_for(yard: Yard) -> None:
    assert yard.lock(yard.declare_environment(Environment(kind=EnvironmentKind.EMPTY))) == ()


def test_what_is_locked_stays_unless_upgraded(yard: Yard) -> None:
    one, rope = make_wheel("hull", "1.0"), make_wheel("rope", "1.0")
    yard.index.add(one, rope)
    declaration = yard.declare("hull", "rope")
    keep = platform_lock(yard.lock(declaration))
    yard.index.add(make_wheel("hull", "2.0"), make_wheel("rope", "2.0"), make_wheel("mast", "1.0"))

    def versions(wheels: tuple[LockedWheel, ...]) -> dict[str, str]:
        return {wheel.name: wheel.version for wheel in wheels}

    assert versions(yard.lock(yard.declare("hull", "rope", "mast"), keep=keep)) == {"hull": "1.0", "mast": "1.0", "rope": "1.0"}
    assert versions(yard.lock(declaration, keep=keep, upgrade_packages=frozenset({"hull"}))) == {"hull": "2.0", "rope": "1.0"}
    assert versions(yard.lock(declaration, keep=keep, upgrade=True)) == {"hull": "2.0", "rope": "2.0"}
    assert versions(yard.lock(yard.declare("hull>1.5", "rope"), keep=keep)) == {"hull": "2.0", "rope": "1.0"}


def test_a_better_file_of_a_locked_version_changes_nothing(yard: Yard) -> None:
    yard.index.add(make_wheel("hull", "1.0"))
    keep = platform_lock(yard.lock(yard.declare("hull")))
    yard.index.add(make_wheel("hull", "1.0", tag=X86))
    assert yard.lock(yard.declare("hull"), keep=keep) == keep.wheels
    assert X86 in yard.lock(yard.declare("hull"), keep=keep, upgrade_packages=frozenset({"hull"}))[0].file


def test_a_platform_without_a_wheel_is_named(yard: Yard) -> None:
    yard.index.add(*(make_wheel("hull", "1.0", tag=tag) for tag in (X86, "cp311-cp311-macosx_11_0_arm64", "cp311-cp311-win_amd64")))
    with pytest.raises(
        LockError, match=r"hull has no wheel for linux/arm64.*linux/amd64, macOS \(arm64\), windows \(amd64\)"
    ) as caught:
        yard.lock(yard.declare("hull"), ARM64)
    assert caught.value.where == "requirements.txt:1"
    assert caught.value.hint


def test_a_needed_package_without_a_wheel_is_named(yard: Yard) -> None:
    yard.index.add(make_wheel("hull", "1.0", requires=["rope"]), make_wheel("rope", "1.0", tag=X86))
    with pytest.raises(LockError, match=r"rope has no wheel for linux/arm64.*it has for: linux/amd64"):
        yard.lock(yard.declare("hull"), ARM64)


def test_no_wheel_at_all(yard: Yard) -> None:
    link = f'<a href="../../files/hull-1.0.tar.gz#sha256={"0" * 64}">hull-1.0.tar.gz</a>'
    yard.index.extra_pages["/simple/hull/"] = link.encode()
    with pytest.raises(LockError, match="has no wheel at all") as caught:
        yard.lock(yard.declare("hull"))
    assert 'allow-build = ["hull"] in wherry.toml' in str(caught.value)


def test_no_wheel_of_the_versions_that_are_wanted(yard: Yard) -> None:
    wheel = make_wheel("hull", "2.0")
    page = f'<a href="../../files/hull-1.0.tar.gz#sha256={"0" * 64}">a</a>'
    page += f'<a href="../../files/{wheel.file}#sha256={wheel.sha256}">b</a>'
    yard.index.add(wheel, make_wheel("rope", "1.0", requires=["hull<2"]))
    yard.index.extra_pages["/simple/hull/"] = page.encode()
    with pytest.raises(LockError, match="hull has no wheel of a version that is wanted") as caught:
        yard.lock(yard.declare("rope"))
    assert 'allow-build = ["hull"] in wherry.toml' in str(caught.value)


def test_a_platform_that_uv_does_not_know(yard: Yard) -> None:
    yard.index.add(
        make_wheel("rope", "1.0"), make_wheel("hull", "1.0", tag=X86), make_wheel("mast", "1.0", tag="cp311-cp311-linux_armv7l")
    )
    assert [wheel.file for wheel in yard.lock(yard.declare("rope", "mast"), ARMV7)] == [
        "mast-1.0-cp311-cp311-linux_armv7l.whl",
        "rope-1.0-py3-none-any.whl",
    ]
    with pytest.raises(LockError, match=r"hull has no wheel for linux/arm/v7.*it has for: linux/amd64"):
        yard.lock(yard.declare("rope", "hull"), ARMV7)


def test_a_conflict_is_explained_shortly(yard: Yard) -> None:
    yard.index.add(make_wheel("hull", "1.0", requires=["rope>=2"]), make_wheel("rope", "1.0"), make_wheel("rope", "2.0"))
    with pytest.raises(LockError, match=r"cannot be met together:\n.*hull depend on rope>=2") as caught:
        yard.lock(yard.declare("hull==1.0", "rope<2"))
    assert len(caught.value.what.splitlines()) <= 13


def test_an_unknown_name(yard: Yard) -> None:
    with pytest.raises(LockError, match="huul") as caught:
        yard.lock(yard.declare("huul"))
    assert "check the name" in (caught.value.hint or "")


def test_credentials_stay_out_of_messages_and_memory(tmp_path: Path) -> None:
    with PythonIndex(credentials=("ada", "s3cret")) as index:
        yard = Yard(tmp_path, index)
        yard.environment["UV_DEFAULT_INDEX"] = index.url_with_credentials()
        hull = make_wheel("hull", "1.0")
        index.add(hull)
        assert yard.lock(yard.declare("hull")) == (as_locked(hull, requested=True),)
        assert "s3cret" not in (yard.cache / "urls" / hull.sha256).read_text()
        with pytest.raises(LockError) as caught:
            yard.lock(yard.declare("huul"))
        assert "s3cret" not in str(caught.value)


def test_an_index_that_fails_is_worth_another_try(yard: Yard) -> None:
    yard.index.fail("/simple/hull/", *["500"] * 30)
    yard.environment["UV_HTTP_RETRIES"] = "1"
    with pytest.raises(TransferError):
        yard.lock(yard.declare("hull"))


def test_offline_takes_what_uv_has_seen(yard: Yard) -> None:
    hull = make_wheel("hull", "1.0")
    yard.index.add(hull)
    declaration = yard.declare("hull")
    with pytest.raises(WherryError):
        yard.lock(declaration, offline=True)
    yard.lock(declaration)
    before = len(yard.index.requests)
    assert yard.lock(declaration, offline=True) == (as_locked(hull, requested=True),)
    assert len(yard.index.requests) == before


def test_the_authors_digests_are_kept_to(yard: Yard) -> None:
    plain, better, rope = make_wheel("hull", "1.0"), make_wheel("hull", "1.0", tag=X86), make_wheel("rope", "1.0")
    yard.index.add(plain, better, rope)

    def given(*wheels: Wheel) -> dict[str, tuple[str, ...]]:
        return {"hull": tuple(f"sha256:{wheel.sha256}" for wheel in wheels)}

    assert yard.lock(yard.declare("hull==1.0", hashes=given(better)))[0].sha256.hex == better.sha256
    assert yard.lock(yard.declare("hull==1.0", hashes=given(plain)))[0].sha256.hex == plain.sha256
    with pytest.raises(LockError, match="none of the digests given for hull"):
        yard.lock(yard.declare("hull==1.0", hashes=given(rope)))
    with pytest.raises(LockError, match=r"rope 1\.0 is needed too, but no digest"):
        yard.lock(yard.declare("hull==1.0", "rope", hashes=given(better)))


def test_a_project_file_with_its_own_index_for_a_platform(yard: Yard, tmp_path: Path) -> None:
    """As for a build without CUDA: one platform takes a package from another index."""
    yard.index.add(
        make_wheel("hull", "1.0", tag=X86),
        make_wheel("hull", "1.0", tag=AARCH),
        make_wheel("rope", "1.0"),
        make_wheel("oar", "1.0"),
    )
    with PythonIndex() as special:
        special.add(make_wheel("hull", "1.0+lite", tag=X86))
        (yard.root / "pyproject.toml").write_text(
            '[project]\nname = "project"\nversion = "1"\ndependencies = ["hull"]\n'
            '[project.optional-dependencies]\nfull = ["rope"]\n[dependency-groups]\nrow = ["oar"]\n'
            '[[tool.uv.index]]\nname = "special"\nurl = "' + special.url + '"\nexplicit = true\n'
            '[tool.uv.sources]\nhull = [{ index = "special", marker = "platform_machine == \'x86_64\'" }]\n'
        )
        environment = Environment(kind=EnvironmentKind.PYPROJECT, files=("pyproject.toml",), extras=("full",), groups=("row",))
        declaration = yard.declare_environment(environment)
        amd64, arm64 = yard.lock(declaration), yard.lock(declaration, ARM64)
    assert [(wheel.name, wheel.version, wheel.requested) for wheel in amd64] == [
        ("hull", "1.0+lite", True), ("oar", "1.0", True), ("rope", "1.0", True),
    ]  # fmt: skip
    assert arm64[0].version == "1.0"


def test_index_options_of_the_requirements_file(yard: Yard) -> None:
    with PythonIndex() as extra:
        extra.add(make_wheel("hull", "2.0"))
        yard.index.add(make_wheel("hull", "1.0"))
        declaration = yard.declare("hull")
        options = IndexOptions(extra_index_urls=(extra.url,))
        declaration = replace(declaration, environment=replace(declaration.environment, indexes=options))
        assert yard.lock(declaration)[0].version == "2.0"


def test_a_file_index_without_the_name_is_passed_over(yard: Yard, tmp_path: Path) -> None:
    """pip's configuration on a machine may name folders that have some packages only."""
    (tmp_path / "simple").mkdir()
    yard.index.add(make_wheel("hull", "1.0"))
    del yard.environment["UV_DEFAULT_INDEX"]
    extra = f"{(tmp_path / 'simple').as_uri()} {(tmp_path / 'not-there').as_uri()}"
    yard.environment |= {
        "PIP_INDEX_URL": yard.index.url,
        "PIP_EXTRA_INDEX_URL": extra,
        "PIP_FIND_LINKS": str(tmp_path / "nor-this"),
    }
    assert yard.lock(yard.declare("hull"))[0].version == "1.0"
