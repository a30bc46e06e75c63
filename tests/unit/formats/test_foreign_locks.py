"""pixi.lock 4 to 7, conda-lock.yml and @EXPLICIT lists; py-rattler reads the same files as an oracle."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import SHARED_DATA
from wherry.errors import FormatError, LockError
from wherry.formats.conda_address import name_channel, split_record_address
from wherry.formats.conda_lock import parse_conda_lock
from wherry.formats.explicit_list import parse_explicit
from wherry.formats.pixi_lock import parse_pixi_lock
from wherry.model.digest import Digest
from wherry.model.foreign_lock import ForeignLock

CHANNEL = "https://conda.anaconda.org/conda-forge"
WHEEL = "https://files.example/packages/aa/Reading_Kit-1.4-py3-none-any.whl"
SHA = {name: f"{number:064x}" for number, name in enumerate(("python", "tool", "tzdata", "wheel"), 10)}
REAL = SHARED_DATA / "conda" / "locks"


def _conda(version: int, subdir: str, name: str, release: str, build: str, depends: str = "") -> str:
    address = f"{CHANNEL}/{subdir}/{name}-{release}-{build}.conda"
    if version < 6:
        noarch = "\n  noarch: python" if name == "tool" else "\n  noarch: generic" if subdir == "noarch" else ""
        head = f"- kind: conda\n  name: {name}\n  version: '{release}'\n  build: {build}\n"
        head += f"  subdir: {subdir}{noarch}\n  url: {address}\n"
    else:
        head = f"- conda: {address}\n"
    listed = f"  depends:\n  - {depends}\n" if depends else ""
    return f"{head}  sha256: {SHA[name]}\n  md5: {'0' * 32}\n{listed}  size: 1234\n  timestamp: 1700000000000\n"


def _pypi(version: int) -> str:
    key = f"- kind: pypi\n  name: reading-kit\n  version: '1.4'\n  url: {WHEEL}\n"
    key = key if version < 6 else f"- pypi: {WHEEL}\n  name: reading-kit\n  version: '1.4'\n"
    return f"{key}  sha256: {SHA['wheel']}\n  requires_dist:\n  - tool >=1 ; extra == 'x'\n  requires_python: '>=3.8'\n"


def pixi_lock(version: int) -> str:
    listed = {
        subdir: [f"{CHANNEL}/{subdir}/python-3.12.1-h1_0_cpython.conda", f"{CHANNEL}/noarch/tool-2.0-pyh1_0.conda"]
        for subdir in ("linux-64", "linux-aarch64")
    }
    packages = "".join(
        f"      {subdir}:\n" + "".join(f"      - conda: {address}\n" for address in addresses) + f"      - pypi: {WHEEL}\n"
        for subdir, addresses in listed.items()
    )
    platforms = "platforms:\n- name: linux-64\n- name: linux-aarch64\n" if version == 7 else ""
    return (
        f"version: {version}\n{platforms}environments:\n  default:\n    channels:\n    - url: {CHANNEL}/\n"
        f"    indexes:\n    - https://index.example/simple\n    packages:\n{packages}"
        "  bare:\n    channels:\n    - url: https://user:pw@host.example/t/SECRET-1/inner/\n    packages:\n      linux-64:\n"
        f"      - conda: {CHANNEL}/noarch/tzdata-2024a-h0_0.conda\n"
        "packages:\n"
        + _conda(version, "linux-64", "python", "3.12.1", "h1_0_cpython", "tzdata")
        + _conda(version, "linux-aarch64", "python", "3.12.1", "h1_0_cpython", "tzdata")
        + _pypi(version)
        + _conda(version, "noarch", "tool", "2.0", "pyh1_0", "python >=3.8")
        + _conda(version, "noarch", "tzdata", "2024a", "h0_0")
    )


@pytest.mark.parametrize("version", [4, 5, 6, 7])
def test_pixi_locks_of_every_version_say_the_same(version: int) -> None:
    lock = parse_pixi_lock(pixi_lock(version), "pixi.lock")
    assert lock == parse_pixi_lock(pixi_lock(4), "pixi.lock")
    assert lock.channels == ("conda-forge",)
    assert [platform.subdir for platform in lock.platforms] == ["linux-64", "linux-aarch64"]
    python, tool = lock.for_subdir("linux-aarch64", "pixi.lock").records
    assert (python.name, python.version, python.build, python.subdir) == ("python", "3.12.1", "h1_0_cpython", "linux-aarch64")
    assert (python.channel, python.file) == ("conda-forge", "python-3.12.1-h1_0_cpython.conda")
    assert (python.size, python.sha256, python.md5) == (1234, Digest(SHA["python"]), "0" * 32)
    assert (python.noarch_python, tool.noarch_python, tool.depends) == (False, True, ("python >=3.8",))
    (wheel,) = lock.platforms[0].wheels
    assert (wheel.name, wheel.version, wheel.file, wheel.is_wheel) == ("reading-kit", "1.4", WHEEL.rpartition("/")[2], True)
    assert (wheel.sha256, wheel.requires) == (Digest(SHA["wheel"]), ("tool >=1 ; extra == 'x'",))
    with pytest.raises(LockError, match="no packages for win-64, only for linux-64, linux-aarch64"):
        lock.for_subdir("win-64", "pixi.lock")


@pytest.mark.parametrize("version", [4, 5, 6, 7])
def test_py_rattler_reads_the_same(version: int, tmp_path: Path) -> None:
    rattler = pytest.importorskip("rattler.lock")
    (tmp_path / "pixi.lock").write_text(pixi_lock(version))
    environment = rattler.LockFile.from_path(tmp_path / "pixi.lock").default_environment()
    ours = parse_pixi_lock(pixi_lock(version), "pixi.lock")
    assert {str(platform.name) for platform in environment.platforms()} == {platform.subdir for platform in ours.platforms}
    for platform in environment.platforms():
        theirs = {package.name: package for package in environment.packages(platform) if hasattr(package, "repo_data_record")}
        records = {record.name: record for record in ours.for_subdir(str(platform.name), "").records}
        assert theirs.keys() >= records.keys()
        for name, record in records.items():
            found = theirs[name].repo_data_record()
            assert (str(found.version), str(found.build), found.subdir) == (record.version, record.build, record.subdir)
            assert (found.sha256.hex(), found.size) == (record.sha256.hex if record.sha256 else None, record.size)
            assert tuple(found.depends) == record.depends
            assert bool(found.noarch.python) == record.noarch_python


def test_another_environment_of_a_pixi_lock() -> None:
    lock = parse_pixi_lock(pixi_lock(6), "pixi.lock", environment="bare")
    assert lock.channels == ("https://host.example/inner",)
    assert lock.platforms[0].records[0].noarch_python is None
    with pytest.raises(FormatError, match="no environment 'cuda', there are: default, bare"):
        parse_pixi_lock(pixi_lock(6), "pixi.lock", environment="cuda")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("version: 6", "version: 3"), "version 3; 4 to 7 are read"),
        (("version: 6", "version: 8"), "version 8"),
        (("version: 6", "version: x"), "no version"),
        ((SHA["python"], "00"), "not a sha256"),
        (("md5: " + "0" * 32, "md5: xyz"), "not an md5"),
        (("size: 1234", "size: -1"), "not a size"),
        (("- conda: https", "- pear: https"), "neither conda: nor pypi:"),
        ((f"/noarch/tool-2.0-pyh1_0.conda\n      - pypi: {WHEEL}\n      linux-aarch64", "/x"), ""),
        ((f"- conda: {CHANNEL}/noarch/tool-2.0-pyh1_0.conda\n  sha", "- conda: y\n  sha"), "not described under packages: tool"),
    ],
)
def test_damaged_pixi_locks_are_refused(change: tuple[str, str], what: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_pixi_lock(pixi_lock(6).replace(*change), "pixi.lock")
    assert what in caught.value.what
    assert (caught.value.where or "").startswith("pixi.lock")


def test_packages_that_pixi_builds_are_refused_by_name() -> None:
    text = pixi_lock(6).replace(f"- conda: {CHANNEL}/noarch/tool-2.0-pyh1_0.conda", "- conda: ./tool")
    text = text.replace("- conda: ./tool\n  sha256", "- conda: ./tool\n  name: tool\n  sha256")
    with pytest.raises(FormatError, match="tool is built from source by pixi") as caught:
        parse_pixi_lock(text, "pixi.lock")
    assert "channel" in (caught.value.hint or "")


CONDA_LOCK = f"""\
version: 1
metadata:
  content_hash: {{linux-64: abc}}
  channels:
  - url: conda-forge
    used_env_vars: []
  - url: https://${{USER}}:${{PASS}}@host.example/t/SECRET-2/inner
  platforms: [linux-64]
package:
- name: python
  version: 3.12.1
  manager: conda
  platform: linux-64
  dependencies: {{tzdata: '', libffi: '>=3.4,<4.0a0', any: '*'}}
  url: https://host.example/t/SECRET-2/inner/linux-64/python-3.12.1-h1_0_cpython.tar.bz2
  hash: {{md5: {"0" * 32}, sha256: {SHA["python"]}}}
  category: main
  optional: false
- name: reading-kit
  version: '1.4'
  manager: pip
  platform: linux-64
  dependencies: {{tool: '>=1'}}
  url: {WHEEL}
  hash: {{sha256: {SHA["wheel"]}}}
  category: main
- name: tool
  version: '2.0'
  manager: conda
  platform: linux-64
  url: {CHANNEL}/noarch/tool-2.0-pyh1_0.conda
  hash: {{sha256: {SHA["tool"]}}}
  category: dev
  optional: true
"""


def test_conda_lock_with_categories() -> None:
    lock = parse_conda_lock(CONDA_LOCK, "conda-lock.yml")
    assert lock.channels == ("conda-forge", "https://host.example/inner")
    (python,) = lock.platforms[0].records
    assert (python.channel, python.file) == ("https://host.example/inner", "python-3.12.1-h1_0_cpython.tar.bz2")
    assert (python.size, python.depends) == (None, ("tzdata", "libffi >=3.4,<4.0a0", "any"))
    assert [(wheel.name, wheel.requires) for wheel in lock.platforms[0].wheels] == [("reading-kit", ("tool >=1",))]
    assert lock.notes == ("conda-lock.yml: packages of the category 'dev' are left out",)
    both = parse_conda_lock(CONDA_LOCK, "conda-lock.yml", categories=("dev",))
    assert [record.name for record in both.platforms[0].records] == ["python", "tool"]
    with pytest.raises(FormatError, match="no category 'docs', there are: dev, main"):
        parse_conda_lock(CONDA_LOCK, "conda-lock.yml", categories=("docs",))


@pytest.mark.parametrize(
    ("change", "what", "line"),
    [
        (("version: 1\n", "version: 2\n"), "version 2; 1 is read", None),
        (("package:", "pear:"), "no packages", None),
        (("  manager: pip\n", "  manager: pip\n  url: ''\n"), "stands twice", 25),
        (("python-3.12.1-h1_0_cpython.tar.bz2", "python.tar.bz2"), "not the address of a conda package", 10),
        (("- name: tool\n", "- nome: tool\n"), "", None),
    ],
)
def test_damaged_conda_locks_are_refused(change: tuple[str, str], what: str, line: int | None) -> None:
    with pytest.raises(FormatError) as caught:
        parse_conda_lock(CONDA_LOCK.replace(*change), "conda-lock.yml", categories=("dev",))
    assert what in caught.value.what
    assert line is None or caught.value.where == f"conda-lock.yml:{line}"


EXPLICIT = f"""\
# platform: linux-64
@EXPLICIT
{CHANNEL}/linux-64/python-3.12.1-h1_0_cpython.conda#{"a" * 32}
https://user:pw@host.example/t/SECRET-3/inner/noarch/tool-2.0-pyh1_0.tar.bz2#sha256:{SHA["tool"]}
{CHANNEL}/noarch/tzdata-2024a-h0_0.conda#{SHA["tzdata"]}
# pip reading-kit @ {WHEEL} --hash=sha256:{SHA["wheel"]}
"""


@pytest.mark.parametrize(
    "text", [EXPLICIT, EXPLICIT.replace("\n", "\r\n"), "\ufeff" + EXPLICIT, EXPLICIT.replace("# platform", "#")]
)
def test_explicit_lists(text: str) -> None:
    lock = parse_explicit(text, "list.txt")
    (platform,) = lock.platforms
    assert platform.subdir == "linux-64"
    assert lock.channels == ("conda-forge", "https://host.example/inner")
    python, tool, tzdata = platform.records
    assert (python.md5, python.sha256) == ("a" * 32, None)
    assert (tool.sha256, tool.channel) == (Digest(SHA["tool"]), "https://host.example/inner")
    assert tzdata.sha256 == Digest(SHA["tzdata"])
    assert [(wheel.name, wheel.version, wheel.sha256) for wheel in platform.wheels] == [
        ("reading-kit", "1.4", Digest(SHA["wheel"]))
    ]


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("numpy=1.2\n", "not the address", "list.txt:1"),
        ("# nothing\n", "no line @EXPLICIT", "list.txt"),
        (f"@EXPLICIT\n{CHANNEL}/linux-64/a-1-0.conda#zz\n", "not an md5", "list.txt:2"),
        (f"@EXPLICIT\n{CHANNEL}/linux-64/a-1-0.conda\n{CHANNEL}/osx-64/b-1-0.conda\n", "several platforms", "list.txt"),
        (f"@EXPLICIT\n{CHANNEL}/noarch/a-1-0.conda\n", "no package tells", "list.txt"),
        ("@EXPLICIT\nhttps://u:pw-4@h.example/t/SECRET-4/c/linux-64/../x.conda\n", "not the address", "list.txt:2"),
    ],
)
def test_refused_lists(text: str, what: str, where: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_explicit(text, "list.txt")
    assert what in caught.value.what
    assert caught.value.where == where
    assert "SECRET" not in str(caught.value)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("text", [pixi_lock(4), pixi_lock(7), CONDA_LOCK, EXPLICIT])
def test_no_credential_comes_out(text: str) -> None:
    for lock in _all(text):
        assert "SECRET" not in repr(lock)
        assert "pw@" not in repr(lock)


@pytest.mark.parametrize(("text", "step"), [(pixi_lock(4), 37), (pixi_lock(7), 31), (CONDA_LOCK, 7), (EXPLICIT, 3)])
def test_every_cut_is_read_or_refused(text: str, step: int) -> None:
    for end in range(0, len(text), step):
        _all(text[:end])


def _all(text: str) -> list[ForeignLock]:
    found = []
    for parse in (parse_pixi_lock, parse_conda_lock, parse_explicit):
        with suppress(FormatError):
            found.append(parse(text, "file"))
    return found


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("conda-forge", "conda-forge"),
        ("https://conda.anaconda.org/conda-forge/", "conda-forge"),
        ("https://conda.anaconda.org/t/ab-12/conda-forge/label/dev", "conda-forge/label/dev"),
        ("https://repo.anaconda.com/pkgs/main", "pkgs/main"),
        ("https://me:pw@host.example/x/?sig=1", "https://host.example/x"),
        ("file:///t/channel/", "file:///t/channel"),
    ],
)
def test_channels_by_name(address: str, name: str) -> None:
    assert name_channel(address) == name


def test_an_address_taken_apart() -> None:
    split = split_record_address(f"{CHANNEL}/label/dev/noarch/my-tool-1.0_rc1-py_0.tar.bz2", "x")
    assert (split.channel, split.subdir, split.name, split.version, split.build) == (
        "conda-forge/label/dev",
        "noarch",
        "my-tool",
        "1.0_rc1",
        "py_0",
    )


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared files are not here")
def test_real_locks() -> None:
    lock = parse_conda_lock((REAL / "condalock-test-environment-blas-mkl.yml").read_text(), "conda-lock.yml")
    assert {platform.subdir for platform in lock.platforms} == {"linux-64", "osx-64", "win-64"}
    assert all(record.sha256 and record.channel == "conda-forge" for one in lock.platforms for record in one.records)
    for file, subdir in (
        ("explicit-env-linux-64", "linux-64"),
        ("explicit-env-win-64", "win-64"),
        ("explicit-xtensor_linux-64", "linux-64"),
    ):
        listed = parse_explicit((REAL / f"{file}.txt").read_text(), file)
        assert listed.platforms[0].subdir == subdir
        assert all(record.md5 or record.sha256 for record in listed.platforms[0].records)
