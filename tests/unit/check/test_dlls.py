"""DLLs of wheels for Windows: what would end in "DLL load failed", and what would not."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulators.wheels import make_wheel
from tests.unit.formats.portables import make_pe
from wherry.check import dll_scan, scan
from wherry.check.wheel_file import examine_wheel
from wherry.check.windows import WindowsDlls, find_bringer, read_dll_names, read_known_dlls
from wherry.errors import FormatError, StoreError
from wherry.model.report import Finding, Severity

MODULE = "x/_c.cp311-win_amd64.pyd"
PYTHON = ("python311.dll", "KERNEL32.dll", "VCRUNTIME140.dll", "api-ms-win-crt-runtime-l1-1-0.dll")
IMPORTS = b"import os, x_system\nfor path in x_system.__path__:\n    os.add_dll_directory(path)\n"
ADDS = b"import os\nos.add_dll_directory(os.path.join(os.path.dirname(__file__), '..', 'x.libs'))\n"


def module(*needed: str, **more: object) -> bytes:
    return make_pe([*PYTHON, *needed], exports=["PyInit__c"], **more)  # type: ignore[arg-type]


def findings(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    tag: str = "cp311-cp311-win_amd64",
    requires: tuple[str, ...] = (),
    windows: WindowsDlls | None = None,
) -> list[Finding]:
    path = make_wheel(folder, "x", "1.0", files, tag=tag, requires=requires)
    return list(examine_wheel(path, windows).findings)


def told(*given: object, **more: object) -> list[tuple[str, Severity, str]]:
    return [(one.rule, one.severity, one.what) for one in findings(*given, **more)]  # type: ignore[arg-type]


def test_a_sound_wheel(tmp_path: Path) -> None:
    assert told(tmp_path, {MODULE: module("ws2_32.dll", "ext-ms-win-ntuser-window-l1-1-0.dll")}) == []


def test_a_missing_dll_with_the_wheel_that_brings_it(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, {MODULE: module("MSVCP140.dll")})
    assert (found.rule, found.severity, found.subject) == ("missing-dll", Severity.ERROR, "msvcp140.dll")
    assert found.what == "msvcp140.dll is not there: import x._c fails (DLL load failed)"
    assert "msvc-runtime" in found.remedy
    assert found.owner == "x 1.0"
    assert found.where == (f"/{MODULE}",)


@pytest.mark.parametrize(
    ("name", "wheel"),
    [
        ("vcomp140.dll", "msvc-runtime"),
        ("libiomp5md.dll", "intel-openmp"),
        ("mkl_rt.2.dll", "mkl"),
        ("tbb12.dll", "tbb"),
        ("cudart64_12.dll", "nvidia-cuda-runtime-cu12"),
        ("cudart64_110.dll", "nvidia-cuda-runtime-cu11"),
        ("cudart64_13.dll", "nvidia-cuda-runtime"),
        ("cublaslt64_12.dll", "nvidia-cublas-cu12"),
        ("nvrtc64_120_0.dll", "nvidia-cuda-nvrtc-cu12"),
        ("cudnn_ops64_9.dll", "nvidia-cudnn-cu12"),
        ("pywintypes311.dll", "pywin32"),
        ("libgcc_s_seh-1.dll", ""),
        ("never.dll", ""),
    ],
)
def test_who_brings_what(name: str, wheel: str) -> None:
    found, remedy = find_bringer(name)
    assert found == wheel
    assert wheel in remedy
    assert bool(remedy) is (name != "never.dll")


def test_dlls_beside_a_module_and_those_that_they_need(tmp_path: Path) -> None:
    files = {MODULE: module("a.dll"), "x/A.dll": make_pe(["b.dll"]), "x/b.dll": make_pe(["lost.dll"])}
    (found,) = findings(tmp_path, files)
    assert found.what == "lost.dll is not there: import x._c fails (DLL load failed)"
    assert found.where == (f"/{MODULE}", "/x/b.dll")


def test_a_folder_of_dlls_counts_where_code_adds_it(tmp_path: Path) -> None:
    files = {MODULE: module("a-12ab.dll"), "x.libs/a-12ab.dll": make_pe(["b.dll"]), "x.libs/b.dll": make_pe()}
    (found,) = findings(tmp_path, files)
    assert (found.rule, found.severity) == ("missing-dll", Severity.ERROR)
    assert found.what == "a-12ab.dll lies in /x.libs, where nothing looks: import x._c fails (DLL load failed)"
    assert "os.add_dll_directory" in found.remedy
    assert told(tmp_path, {**files, "x/__init__.py": ADDS}) == []
    beside = {MODULE: module("a.dll"), "x_system/a.dll": make_pe()}
    assert len(told(tmp_path, {**beside, "x/other.py": b"import x_system"})) == 1
    assert told(tmp_path, {**beside, "boot.py": IMPORTS}) == []


def test_a_module_that_another_one_is_linked_with(tmp_path: Path) -> None:
    """It is found when it has been imported before."""
    (found,) = findings(tmp_path, {MODULE: module("core.pyd"), "y/core.pyd": make_pe()})
    assert (found.severity, found.subject) == (Severity.WARNING, "core.pyd")


def test_pythons_own_folder(tmp_path: Path) -> None:
    assert told(tmp_path, {MODULE: module("a.dll"), "x-1.0.data/data/a.dll": make_pe()}) == []


def test_what_is_loaded_late_is_a_warning(tmp_path: Path) -> None:
    files = {MODULE: module(delayed=["late.dll"])}
    assert told(tmp_path, files) == [
        ("missing-dll", Severity.WARNING, "late.dll is not there: x._c fails when it first calls it"),
    ]
    both = {**files, "x/_d.pyd": make_pe(["late.dll"])}
    assert [(one.severity, one.subject) for one in findings(tmp_path, both)] == [(Severity.ERROR, "late.dll")]


def test_libraries_that_no_module_needs(tmp_path: Path) -> None:
    assert told(tmp_path, {MODULE: module(), "x/plugin.dll": make_pe(["lost.dll"])}) == [
        ("missing-dll", Severity.WARNING, "lost.dll is not there: plugin.dll cannot be loaded"),
    ]
    alone = told(tmp_path, {"x/lib_x.dll": make_pe(["lost.dll"])}, tag="py3-none-win_amd64")
    assert [severity for _, severity, _ in alone] == [Severity.ERROR]


def test_another_wheel_may_bring_it(tmp_path: Path) -> None:
    requires = ("intel_openmp>=2024", "torch", "mkl; extra == 'all'")
    files = {MODULE: module("libiomp5md.dll", "c10.dll", "mkl_rt.2.dll")}
    found = {one.subject: (one.severity, one.remedy) for one in findings(tmp_path, files, requires=requires)}
    assert found["libiomp5md.dll"] == (Severity.NOTE, "")
    assert found["c10.dll"] == (Severity.WARNING, "one of those it requires may: intel-openmp, torch")
    assert found["mkl_rt.2.dll"][0] is Severity.ERROR


def test_drivers_and_desktops(tmp_path: Path) -> None:
    found = {one.subject: (one.rule, one.severity) for one in findings(tmp_path, {MODULE: module("nvcuda.dll", "MFPlat.DLL")})}
    assert found == {"nvcuda.dll": ("driver-library", Severity.NOTE), "mfplat.dll": ("missing-dll", Severity.WARNING)}


@pytest.mark.parametrize(("tag", "architecture"), [("win_amd64", "arm64"), ("win32", "amd64"), ("win_arm64", "386")])
def test_another_machine(tmp_path: Path, tag: str, architecture: str) -> None:
    (found,) = told(tmp_path, {"x/_c.pyd": module(architecture=architecture)}, tag=f"cp311-cp311-{tag}")
    assert found[:2] == ("wrong-architecture", Severity.ERROR)
    assert f"it is for {architecture}" in found[2]


def test_a_dll_for_another_machine_is_passed_over(tmp_path: Path) -> None:
    files = {
        MODULE: module("a.dll"),
        "x/a.dll": make_pe(architecture="386"),
        "x/tool32.exe": make_pe(["q.dll"], architecture="386"),
    }
    assert told(tmp_path, files) == [
        ("missing-dll", Severity.ERROR, "a.dll is there for 386 only: import x._c fails (DLL load failed)"),
    ]


@pytest.mark.parametrize(
    ("needed", "tag", "wrong"),
    [
        ("python311.dll", "cp311-cp311-win_amd64", False),
        ("python3.dll", "cp39-abi3-win_amd64", False),
        ("python312.dll", "cp311-cp311-win_amd64", True),
        ("python39.dll", "cp39-abi3-win_amd64", True),
        ("python311_d.dll", "cp311-cp311-win_amd64", True),
    ],
)
def test_the_python_that_it_was_linked_against(tmp_path: Path, needed: str, tag: str, wrong: bool) -> None:
    rules = [rule for rule, _, _ in told(tmp_path, {"x/_c.pyd": make_pe([needed])}, tag=tag)]
    assert rules == (["wrong-python"] if wrong else [])


def test_damaged_and_large_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [rule for rule, _, _ in told(tmp_path, {MODULE: module()[:500], "x/other.dll": b"<html>"})]
    assert rules == ["damaged-library", "damaged-library"]
    monkeypatch.setattr(dll_scan, "MAX_PE", 100)
    assert told(tmp_path, {MODULE: module("lost.dll")})[0][:2] == ("unread-library", Severity.NOTE)


def test_a_bomb_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_RATIO_FREE", 1 << 10)
    with pytest.raises(FormatError, match="unpacks to"):
        findings(tmp_path, {MODULE: module() + bytes(2_000_000)})


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 0x3FF), st.binary(min_size=1, max_size=40))
def test_whatever_a_module_holds(place: int, noise: bytes) -> None:
    data = bytearray(module("MSVCP140.dll", delayed=["late.dll"]))
    data[place : place + len(noise)] = noise
    with tempfile.TemporaryDirectory() as folder:
        assert all(one.subject for one in findings(Path(folder), {MODULE: bytes(data)}))


def test_more_names_by_list_folder_and_wheel(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# ours\nlost.dll\nOther.DLL\n")
    (tmp_path / "System32").mkdir()
    (tmp_path / "System32/lost.dll").write_bytes(b"")
    wheel = make_wheel(tmp_path, "y", "1.0", {"y-1.0.data/data/lost.dll": b""}, tag="py3-none-win_amd64")
    for path in (tmp_path / "list.txt", tmp_path / "System32", wheel):
        windows = read_known_dlls().extend(read_dll_names(path))
        assert told(tmp_path, {MODULE: module("lost.dll")}, windows=windows) == []
    (tmp_path / "empty.txt").write_text("nothing of it\n")
    with pytest.raises(FormatError, match="names no DLL"):
        read_dll_names(tmp_path / "empty.txt")
    with pytest.raises(StoreError):
        read_dll_names(tmp_path / "absent.txt")


@pytest.mark.network
def test_real_wheels(tmp_path: Path) -> None:
    """lightgbm's leaves Visual C++'s runtime to others; the others are sound, and one of them brings that runtime."""
    names = ("lightgbm", "markupsafe", "msvc-runtime")
    words = ["download", "-q", "--no-deps", "--only-binary=:all:", "--platform=win_amd64", "--python-version=3.11", "-d", tmp_path]
    subprocess.run([sys.executable, "-m", "pip", *words, *names], check=True, timeout=100)
    wheels = {path.name.partition("-")[0]: path for path in tmp_path.iterdir()}
    lacking = {one.subject for one in examine_wheel(wheels["lightgbm"]).findings if one.severity is Severity.ERROR}
    assert lacking == {"msvcp140.dll", "vcomp140.dll"}
    for name in ("markupsafe", "msvc_runtime"):
        report = examine_wheel(wheels[name])
        assert report.findings == ()
        assert report.seen.modules == 1
    runtime = read_known_dlls().extend(read_dll_names(wheels["msvc_runtime"]))
    assert examine_wheel(wheels["lightgbm"], runtime).findings == ()


def test_what_windows_has_is_written_well() -> None:
    known = read_known_dlls()
    assert len(known.core) > 150
    assert not known.core & known.desktop
    assert all(name == name.lower() and "." in name for name in known.core | known.desktop)
    assert not {"msvcp140.dll", "vcomp140.dll", "python311.dll"} & known.core
