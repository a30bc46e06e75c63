"""Locks of other tools are taken as they are: what they do not say is looked up, what they say wrongly is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.lock.conda_projects import AMD64, ask, locked, make_channel, open_channels, package
from wherry.errors import DeclarationError, LockError, TransferError, TrustError
from wherry.lock.candidates import SourceOnlyError
from wherry.lock.foreign import adopt_records, adopt_wheels, foreign_channels, read_foreign_lock
from wherry.lock.target import WheelTarget
from wherry.model.declaration import DebianBase, Declaration, Environment, EnvironmentKind
from wherry.model.digest import Digest
from wherry.model.foreign_lock import ForeignLock, ForeignPlatform, ForeignRecord, ForeignWheel
from wherry.model.lock import LockedRecord, PlatformLock

TARGET = WheelTarget(platform=AMD64, glibc=(2, 36), python="3.11.2")
SIX = "six 1.16.0 pyh_0"


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("channels") / "forge"
    return make_channel(folder, package("python 3.11.2", "zlib"), package("zlib 1.3"), package(SIX, "python >=3", noarch="python"))


def listed(archive: Path, channel: Path, **said: object) -> ForeignRecord:
    """A record as a list names it, with what it says besides."""
    name, version, build = archive.name.removesuffix(".conda").rsplit("-", 2)
    return ForeignRecord(
        name=name,
        version=version,
        build=build,
        channel=channel.as_uri(),
        subdir=archive.parent.name,
        file=archive.name,
        **said,  # type: ignore[arg-type]
    )


def list_all(channel: Path, *, digests: bool = False) -> ForeignPlatform:
    archives = [*sorted(channel.glob("linux-64/*.conda")), *sorted(channel.glob("noarch/*.conda"))]
    said = [{"sha256": Digest.of(path.read_bytes())} if digests else {} for path in archives]
    return ForeignPlatform(
        subdir="linux-64", records=tuple(listed(path, channel, **one) for path, one in zip(archives, said, strict=True))
    )


def adopt(
    platform: ForeignPlatform, channel: Path, cache: Path, keep: PlatformLock | None = None, *, says_depends: bool = False
) -> dict[str, LockedRecord]:
    with open_channels(ask(channels=(channel,)), cache) as channels:
        records = adopt_records(platform, "list.txt", channels, keep, glibc=(2, 36), says_depends=says_depends)
    assert [record.name for record in records] == sorted(record.name for record in records)
    return {record.name: record for record in records}


def test_what_a_list_does_not_say_comes_from_the_index(forge: Path, tmp_path: Path) -> None:
    found = adopt(list_all(forge), forge, tmp_path)
    archive = forge / "noarch" / "six-1.16.0-pyh_0.conda"
    six = found["six"]
    assert (six.channel, six.subdir, six.size) == ("forge", "noarch", archive.stat().st_size)
    assert six.sha256.hex == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert (six.noarch_python, six.requires, six.requested) == (True, ("python",), True)
    assert (found["python"].requires, found["python"].requested) == (("zlib",), False)
    assert not list((tmp_path / "artefacts").rglob("*.conda"))


def test_what_no_index_has_comes_from_the_archive(forge: Path, tmp_path: Path) -> None:
    channel = make_channel(
        tmp_path / "forge", package("python 3.11.2", "zlib"), package("zlib 1.3"), package(SIX, "python", noarch="python")
    )
    before = adopt(list_all(channel), channel, tmp_path / "a")
    for index in channel.glob("*/repodata.json"):
        document = json.loads(index.read_text())
        index.write_text(json.dumps({**document, "packages.conda": {}}))
        index.with_name("repodata.json.zst").unlink()
    assert adopt(list_all(channel), channel, tmp_path / "b") == before
    assert len(list((tmp_path / "b" / "artefacts").rglob("*.conda"))) == 3
    for said in ({"md5": "0" * 32}, {"sha256": Digest.of(b"")}):
        records = tuple(replace(one, **said) for one in list_all(channel).records)  # type: ignore[arg-type]
        with pytest.raises(TrustError, match="instead of"):
            adopt(replace(list_all(channel), records=records), channel, tmp_path / "c")


def test_a_lock_that_says_all_asks_nobody(forge: Path, tmp_path: Path) -> None:
    told = adopt(list_all(forge), forge, tmp_path / "a")
    platform = list_all(forge, digests=True)
    records = tuple(
        replace(one, size=told[one.name].size, noarch_python=told[one.name].noarch_python, depends=("zlib",))
        for one in platform.records
    )
    away = tmp_path / "away"
    found = adopt(
        replace(platform, records=tuple(replace(one, channel=away.as_uri()) for one in records)),
        away,
        tmp_path / "b",
        says_depends=True,
    )
    assert {name: record.sha256 for name, record in found.items()} == {name: record.sha256 for name, record in told.items()}
    assert {record.channel for record in found.values()} == {"away"}


def test_what_was_looked_up_once_stays(forge: Path, tmp_path: Path) -> None:
    channel = make_channel(tmp_path / "forge", package("python 3.11.2", "zlib"), package("zlib 1.3"))
    platform = list_all(channel, digests=True)
    before = adopt(platform, channel, tmp_path / "a")
    for path in channel.rglob("repodata*"):
        path.unlink()
    keep = locked(tuple(before.values()))
    assert adopt(platform, channel, tmp_path / "b", keep) == before


@pytest.mark.parametrize("said", [{"sha256": Digest.of(b"")}, {"md5": "0" * 32}, {"size": 7}])
def test_an_index_that_says_another_thing(forge: Path, tmp_path: Path, said: dict[str, object]) -> None:
    platform = list_all(forge)
    lying = replace(platform, records=(replace(platform.records[0], **said), *platform.records[1:]))
    with pytest.raises(LockError, match=r"the index of .* says another"):
        adopt(lying, forge, tmp_path)


def test_what_is_not_a_lock_of_an_image(forge: Path, tmp_path: Path) -> None:
    platform = list_all(forge)
    with pytest.raises(LockError, match="no python for linux-64"):
        adopt(replace(platform, records=tuple(one for one in platform.records if one.name != "python")), forge, tmp_path)
    with pytest.raises(LockError, match="python is listed twice"):
        adopt(replace(platform, records=(*platform.records, platform.records[0])), forge, tmp_path)
    gone = replace(platform.records[0], file="python-3.11.2-gone.conda")
    with pytest.raises(TransferError):
        adopt(replace(platform, records=(gone,)), forge, tmp_path)


def test_a_record_that_needs_a_newer_base_is_named(tmp_path: Path) -> None:
    channel = make_channel(tmp_path / "forge", package("python 3.11.2", "__glibc >=2.38,<3.0.a0"))
    with pytest.raises(LockError, match=r"python 3.11.2 needs glibc 2.38, and the base has 2.36"):
        adopt(list_all(channel), channel, tmp_path)


def a_wheel(name: str = "rope", tag: str = "py3-none-any", **said: object) -> ForeignWheel:
    file = f"{name}-1.0-{tag}.whl"
    given: dict[str, object] = {"file": file, "url": f"https://host/{file}", "sha256": Digest.of(b""), **said}
    return ForeignWheel(name=name, version="1.0", **given)  # type: ignore[arg-type]


def wheels_of(*wheels: ForeignWheel) -> ForeignPlatform:
    return ForeignPlatform(subdir="linux-64", wheels=wheels)


def test_wheels_are_taken_as_they_are(tmp_path: Path) -> None:
    rope = a_wheel(requires=("mast>=1", 'sail; python_version < "3"', "not a requirement"))
    near = a_wheel("mast", url="wheels/mast-1.0-py3-none-any.whl")
    found = adopt_wheels(wheels_of(rope, near), "pixi.lock", tmp_path, TARGET)
    assert [(one.name, one.url, one.requires) for one in found] == [
        ("mast", (tmp_path / "wheels/mast-1.0-py3-none-any.whl").as_uri(), ()),
        ("rope", "https://host/rope-1.0-py3-none-any.whl", ("mast",)),
    ]


@pytest.mark.parametrize(
    ("wheel", "message"),
    [
        (a_wheel(tag="cp311-cp311-win_amd64"), "has no wheel for linux/amd64"),
        (a_wheel(tag="cp312-cp312-manylinux_2_17_x86_64"), "has no wheel for linux/amd64"),
        (a_wheel(sha256=None), "rope has no sha256"),
        (a_wheel(file="rope-1.0.tar.gz"), "rope comes as rope-1.0.tar.gz, not as a wheel"),
        (a_wheel(file="", url=".", editable=True), "rope comes in editable form"),
    ],
)
def test_wheels_that_are_refused(wheel: ForeignWheel, message: str, tmp_path: Path) -> None:
    with pytest.raises(LockError, match=message):
        adopt_wheels(wheels_of(wheel), "pixi.lock", tmp_path, TARGET)
    with pytest.raises(LockError, match="rope is listed twice"):
        adopt_wheels(wheels_of(a_wheel(), a_wheel()), "pixi.lock", tmp_path, TARGET)


def test_source_archives_are_taken_once_they_are_built(tmp_path: Path) -> None:
    sdist = a_wheel(file="rope-1.0.tar.gz", requires=("mast",))
    with pytest.raises(SourceOnlyError) as caught:
        adopt_wheels(wheels_of(sdist), "pixi.lock", tmp_path, TARGET)
    assert (caught.value.source.file, caught.value.source.sha256) == ("rope-1.0.tar.gz", sdist.sha256)
    assert 'allow-build = ["rope"]' in str(caught.value)
    built = replace(caught.value.source, file="rope-1.0-py3-none-any.whl", requires=())
    (found,) = adopt_wheels(wheels_of(sdist), "pixi.lock", tmp_path, TARGET, {"rope": built})
    assert (found.file, found.requires) == ("rope-1.0-py3-none-any.whl", ("mast",))
    with pytest.raises(SourceOnlyError):
        adopt_wheels(wheels_of(sdist), "pixi.lock", tmp_path, TARGET, {"rope": replace(built, version="0.9")})


def declare_file(root: Path, kind: EnvironmentKind, file: str) -> Declaration:
    return Declaration(
        root=root,
        origin=file,
        name="project",
        python=None,
        base=DebianBase(suite="bookworm"),
        platforms=(AMD64,),
        environment=Environment(kind=kind, files=(file,)),
    )


def test_real_lists_are_read(shared_data: Path, tmp_path: Path) -> None:
    locks = shared_data / "conda" / "locks"
    explicit = read_foreign_lock(declare_file(locks, EnvironmentKind.CONDA_EXPLICIT, "explicit-env-linux-64.txt"))
    assert foreign_channels(explicit) == ("conda-forge",)
    name = "condalock-test-environment-blas-mkl.yml"
    conda_lock = read_foreign_lock(declare_file(locks, EnvironmentKind.CONDA_LOCK, name))
    assert any(record.name == "python" for record in conda_lock.for_subdir("linux-64", name).records)
    with pytest.raises(LockError, match="only for linux-64"):
        explicit.for_subdir("linux-aarch64", "list.txt")
    with pytest.raises(DeclarationError, match="cannot be read"):
        read_foreign_lock(declare_file(tmp_path, EnvironmentKind.PIXI_LOCK, "pixi.lock"))
    (tmp_path / "pixi.lock").write_bytes(b"\xff")
    with pytest.raises(DeclarationError, match="not UTF-8"):
        read_foreign_lock(declare_file(tmp_path, EnvironmentKind.PIXI_LOCK, "pixi.lock"))


def test_channels_are_named_once() -> None:
    record = ForeignRecord(name="a", version="1", build="0", channel="bio", subdir="noarch", file="a-1-0.conda")
    lock = ForeignLock(channels=("conda-forge",), platforms=(ForeignPlatform(subdir="linux-64", records=(record, record)),))
    assert foreign_channels(lock) == ("conda-forge", "bio")
