"""The lockfile: what it looks like, what it refuses, and that nothing in it says where."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest

from wherry.errors import FormatError, LockError
from wherry.formats.lockfile import parse_lock, render_lock
from wherry.model.digest import DiffId, Digest
from wherry.model.lock import (
    BuildKind,
    LayerKind,
    Lock,
    LockedArchive,
    LockedBase,
    LockedBuild,
    LockedDeb,
    LockedInterpreter,
    LockedLayer,
    LockedRecord,
    LockedWheel,
    PlatformLock,
)
from wherry.model.platform import Platform

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
WHEEL = LockedWheel(
    name="numpy",
    version="2.4.6+cpu",
    file="numpy-2.4.6+cpu-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    size=16918164,
    sha256=Digest(A),
    requires=("joblib", "scipy"),
    requested=True,
)
DEB = LockedDeb(
    name="libstdc++6",
    version="1:12.2.0-14+deb12u1",
    architecture="amd64",
    file="libstdc++6_12.2.0-14+deb12u1_amd64.deb",
    size=612000,
    sha256=Digest(B),
)
RECORD = LockedRecord(
    name="_openmp_mutex",
    version="4.5",
    build="20_gnu",
    subdir="linux-armv7l",
    channel="conda-forge/label/rc",
    file="_openmp_mutex-4.5-20_gnu.conda",
    size=28926,
    sha256=Digest(A),
    noarch_python=True,
    requires=("libgomp", "python_abi"),
    requested=True,
)
BUILD = LockedBuild(
    name="six",
    version="2.4.6+cpu",
    kind=BuildKind.GIT,
    file="six.tar",
    size=30720,
    sha256=Digest(B),
    recipe=1,
    commit="d" * 40,
    tools=(
        replace(
            WHEEL, name="setuptools", version="80.9.0", file="setuptools-80.9.0-py3-none-any.whl", requires=(), requested=False
        ),
    ),
)
LOCK = Lock(
    declaration=Digest(C),
    platforms=(
        PlatformLock(
            platform=Platform("linux", "amd64"),
            base=None,
            interpreter=LockedInterpreter(source="debian", version="3.11.2", path="/usr/bin/python3.11"),
            debs=(DEB,),
            wheels=(WHEEL, replace(WHEEL, name="six", requires=(), requested=False)),
            builds=(BUILD,),
            layers=(
                LockedLayer(name="base", kind=LayerKind.BASE, members=("libstdc++6 1:12.2.0-14+deb12u1",), diff_id=DiffId(A)),
                LockedLayer(name="python", kind=LayerKind.INTERPRETER, members=()),
                LockedLayer(name="wheels", kind=LayerKind.WHEELS, members=("numpy 2.4.6+cpu", "six 2.4.6+cpu")),
            ),
        ),
        PlatformLock(
            platform=Platform("linux", "arm", "v7"),
            base=LockedBase(name="library/python:3.11-slim", manifest=Digest(A), config=Digest(B), diff_ids=(DiffId(A), DiffId(C))),
            interpreter=LockedInterpreter(source="base", version="3.12.1", path="/usr/local/bin/python3"),
            debs=(),
            records=(RECORD, replace(RECORD, name="six", noarch_python=False, requires=(), requested=False)),
            wheels=(),
            layers=(),
        ),
    ),
)
TEXT = render_lock(LOCK)


def test_what_is_written_is_read_again() -> None:
    assert parse_lock(TEXT) == LOCK


def test_it_looks_as_specified() -> None:
    assert (
        f'''
[[platform.wheel]]
name = "numpy"
version = "2.4.6+cpu"
file = "numpy-2.4.6+cpu-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl"
size = 16918164
sha256 = "{A}"
requires = ["joblib", "scipy"]
requested = true
'''
        in TEXT
    )
    assert (
        f'''
[[platform.record]]
name = "_openmp_mutex"
version = "4.5"
build = "20_gnu"
subdir = "linux-armv7l"
channel = "conda-forge/label/rc"
file = "_openmp_mutex-4.5-20_gnu.conda"
size = 28926
sha256 = "{A}"
noarch_python = true
requires = ["libgomp", "python_abi"]
requested = true
'''
        in TEXT
    )
    assert (
        f"""
[[platform.build]]
name = "six"
version = "2.4.6+cpu"
file = "six.tar"
size = 30720
sha256 = "{B}"
kind = "git"
commit = "{"d" * 40}"
recipe = 1

[[platform.build.tool]]
name = "setuptools"
version = "80.9.0"
file = "setuptools-80.9.0-py3-none-any.whl"
size = 16918164
sha256 = "{A}"

[[platform.layer]]
"""
        in TEXT
    )
    assert tomllib.loads(TEXT)["version"] == 1


def test_a_bump_changes_few_lines() -> None:
    platform = LOCK.platforms[0]
    bumped = replace(WHEEL, version="2.5.0", file="numpy-2.5.0-py3-none-any.whl", size=7, sha256=Digest(B))
    other = replace(LOCK, platforms=(replace(platform, wheels=(bumped, *platform.wheels[1:])), *LOCK.platforms[1:]))
    changed = set(TEXT.splitlines()) ^ set(render_lock(other).splitlines())
    assert {line.partition(" =")[0] for line in changed} <= {"version", "file", "size", "sha256"}


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(LockError, match="lock version 2 is unknown"):
        parse_lock(TEXT.replace("version = 1", "version = 2", 1))


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        (f'sha256 = "{A}"', 'sha256 = "abc"', "platform[0].wheel[0].sha256"),
        ("size = 612000", "size = 0", "platform[0].deb[0].size"),
        ("size = 612000", "size = true", "platform[0].deb[0].size"),
        ("size = 612000", "size = -1", "platform[0].deb[0].size"),
        ('kind = "wheels"', 'kind = "foreign"', "platform[0].layer[2].kind"),
        ('kind = "wheels"', 'kind = "sails"', "platform[0].layer[2].kind"),
        ('requires = ["joblib", "scipy"]', 'requires = ["joblib", 7]', "platform[0].wheel[0].requires[1]"),
        ("requested = true", 'requested = "yes"', "platform[0].wheel[0].requested"),
        ('name = "six"', 'name = "numpy"', "platform[0].wheel[1]"),
        ('platform = "linux/arm/v7"', 'platform = "linux/amd64"', "platform[1]"),
        ('platform = "linux/arm/v7"', 'platform = "x86_64"', "platform[1].platform"),
        ('platform = "linux/arm/v7"', 'platform = "plan9/mips"', "platform[1].platform"),
        ('path = "/usr/bin/python3.11"', 'path = "/usr/../python3.11"', "platform[0].interpreter.path"),
        (f'manifest = "sha256:{A}"', f'manifest = "md5:{A}"', "platform[1].base.manifest"),
        ('part = "base"', 'part = "code"', "platform[0].deb[0].part"),
        ('part = "base"', 'part = "base"\nurl = "x"', "platform[0].deb[0]"),
        ('architecture = "amd64"\n', "", "platform[0].deb[0].architecture"),
        (f'declaration = "sha256:{C}"', "declaration = 7", "declaration"),
        ('kind = "git"\ncommit', 'kind = "sdist"\ncommit', "platform[0].build[0].commit"),
        ('kind = "git"\n', 'kind = "svn"\n', "platform[0].build[0].kind"),
        ("recipe = 1", "recipe = 0", "platform[0].build[0].recipe"),
        ('file = "six.tar"', 'file = "six.whl"', "platform[0].build[0].file"),
        (
            'name = "six"\nversion = "2.4.6+cpu"\nfile = "six.tar"',
            'name = "six"\nversion = "1"\nfile = "six.tar"',
            "platform[0].build[0]",
        ),
        ('"setuptools-80.9.0-py3-none-any.whl"', '"../up.whl"', "platform[0].build[0].tool[0].file"),
        ("noarch_python = true", "noarch_python = 1", "platform[1].record[0].noarch_python"),
        ('build = "20_gnu"', 'build = ""', "platform[1].record[0].build"),
        ('subdir = "linux-armv7l"\n', "", "platform[1].record[0].subdir"),
        ('"_openmp_mutex-4.5-20_gnu.conda"', '"_openmp_mutex-4.5-20_gnu.whl"', "platform[1].record[0].file"),
        ('requires = ["libgomp", "python_abi"]', 'requires = ["libgomp", "../up"]', "platform[1].record[0].requires[1]"),
    ],
)
def test_an_error_names_its_place(old: str, new: str, place: str) -> None:
    assert old in TEXT
    with pytest.raises(FormatError) as caught:
        parse_lock(TEXT.replace(old, new, 1), "here.lock")
    assert caught.value.where == f"here.lock: {place}"


@pytest.mark.parametrize(
    "text",
    ["", "version = 1", "<<<<<<< ours\n" + TEXT, TEXT[: len(TEXT) // 2], "a = [" * 5000, "version = true", 'version = "1"', "\x00"],
)
def test_damage_is_a_format_error(text: str) -> None:
    with pytest.raises(FormatError):
        parse_lock(text)


def test_a_huge_file_is_not_parsed() -> None:
    with pytest.raises(FormatError, match="larger than"):
        parse_lock("#" * (16 * 1024 * 1024 + 1))


@pytest.mark.parametrize(
    "where",
    [
        "https://index.example/x-1-py3-none-any.whl",
        "ada:s3cret@index.example",
        "../x-1-py3-none-any.whl",
        "/srv/x-1-py3-none-any.whl",
        "x.whl#sha256=0",
        "x.whl?token=1",
        'x".whl',
        "x\n.whl",
    ],
)
def test_no_place_can_get_into_it(where: str) -> None:
    platform = LOCK.platforms[0]
    wheel = platform.wheels[0]
    spoiled = [
        replace(wheel, file=where),
        replace(wheel, name=where),
        replace(wheel, version=where),
        replace(wheel, requires=(where,)),
    ]
    for bad in spoiled:
        with pytest.raises(LockError):
            render_lock(replace(LOCK, platforms=(replace(platform, wheels=(bad,)),)))
    for bad_layer in (replace(platform.layers[0], name=where), replace(platform.layers[0], members=(where,))):
        with pytest.raises(LockError):
            render_lock(replace(LOCK, platforms=(replace(platform, layers=(bad_layer,)),)))
    fields = ("name", "version", "build", "subdir", "channel", "file", "requires")
    for bad_record in (replace(RECORD, **{field: (where,) if field == "requires" else where}) for field in fields):
        with pytest.raises(LockError):
            render_lock(replace(LOCK, platforms=(replace(platform, records=(bad_record,)),)))
    for bad_deb in (replace(DEB, file=where), replace(DEB, version=where), replace(DEB, architecture=where)):
        with pytest.raises(LockError):
            render_lock(replace(LOCK, platforms=(replace(platform, debs=(bad_deb,)),)))


@pytest.mark.parametrize(
    "channel", ["t/to-k3n/chan", "conda/t/to-k3n/chan", "https://host/chan", "chan/", "a/../b", "/srv/chan", ""]
)
def test_no_token_and_no_address_of_a_channel_can_get_into_it(channel: str) -> None:
    platform = LOCK.platforms[0]
    with pytest.raises(LockError):
        render_lock(replace(LOCK, platforms=(replace(platform, records=(replace(RECORD, channel=channel),)),)))


def test_a_lock_that_cannot_be_read_is_not_written() -> None:
    with pytest.raises(LockError):
        render_lock(replace(LOCK, platforms=(replace(LOCK.platforms[0], wheels=(WHEEL, WHEEL)),)))


MANAGED = LockedInterpreter(
    source="managed",
    version="3.12.7",
    path="/opt/python/bin/python3.12",
    archive=LockedArchive(
        file="cpython-3.12.7+20241016-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz", size=19, sha256=Digest(A)
    ),
)
ARCHIVE = f'file = "{MANAGED.archive.file}", size = 19, sha256 = "{A}"' if MANAGED.archive else ""


def test_a_managed_interpreter_is_a_file() -> None:
    lock = Lock(declaration=Digest(C), platforms=(replace(LOCK.platforms[0], interpreter=MANAGED),))
    text = render_lock(lock)
    line = f'interpreter = {{ source = "managed", version = "3.12.7", path = "/opt/python/bin/python3.12", {ARCHIVE} }}'
    assert line in text.splitlines()
    assert parse_lock(text) == lock
    for wrong, why in (
        (f", {ARCHIVE}", ""),
        ("size = 19", "size = 0"),
        ("cpython-3.12.7", "https://host/cpython-3.12.7"),
        (".tar.gz", ".exe"),
        ('source = "managed"', 'source = "base"'),
    ):
        with pytest.raises(FormatError, match=r"platform\[0\]\.interpreter"):
            parse_lock(text.replace(wrong, why))
