"""Defects planted in a root that is well: each is found, under its name, and nothing else is."""

from __future__ import annotations

import pytest

from tests.unit.check.trees import LIB, SITE, Files, distribution, make_tree, module, system
from tests.unit.formats.elves import make_elf
from wherry.check.doctor import examine_tree
from wherry.model.platform import Platform
from wherry.model.report import Finding, Severity

AMD64 = Platform("linux", "amd64")
GLIBC_TAG = "cp311-cp311-manylinux_2_17_x86_64"
ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE


def examine(*layers: Files, env: tuple[str, ...] = (), workdir: str = "") -> tuple[Finding, ...]:
    return examine_tree(make_tree(system(), *layers), "test", AMD64, env=env, workdir=workdir).findings


def brief(findings: tuple[Finding, ...]) -> list[tuple[str, Severity, str]]:
    return [(one.rule, one.severity, one.subject) for one in findings]


def test_nothing_is_found_in_what_is_well() -> None:
    good = distribution("fast", "1.0", {"fast/_core.cpython-311-x86_64-linux-gnu.so": module("_core")}, GLIBC_TAG)
    report = examine_tree(make_tree(system(), good), "test", AMD64)
    assert report.findings == ()
    assert (report.seen.modules, report.seen.distributions, report.seen.libraries) == (1, 2, 3)


def test_a_missing_library_blocks_an_import() -> None:
    (found,) = examine(distribution("cv", "4.1", {"cv2/cv2.abi3.so": module("cv2", "libGL.so.1")}, GLIBC_TAG))
    assert (found.rule, found.severity, found.subject, found.owner) == ("missing-library", ERROR, "libGL.so.1", "cv 4.1")
    assert found.what == "libGL.so.1 is not there: import cv2 fails"
    assert found.where == (f"/{SITE}/cv2/cv2.abi3.so",)


def test_a_plugins_missing_library_is_a_warning() -> None:
    files = {"cv2/cv2.abi3.so": module("cv2"), "cv2/plugins/libqx.so": make_elf(["libX11.so.6"])}
    assert brief(examine(distribution("cv", "4.1", files, GLIBC_TAG))) == [("missing-library", WARNING, "libX11.so.6")]


def test_a_library_that_ctypes_opens_is_as_good_as_a_module() -> None:
    files = {"gbm/lib_gbm.so": make_elf(["libgomp.so.1"]), "gbm/basic.py": b"import ctypes\nctypes.cdll.LoadLibrary(find())\n"}
    assert brief(examine(distribution("gbm", "1", files))) == [("missing-library", ERROR, "libgomp.so.1")]


def test_a_module_that_its_package_can_do_without_is_a_warning() -> None:
    files = {
        "num/__init__.py": b"try:\n    from num import fastpool\nexcept ImportError:\n    fastpool = None\n",
        "num/fastpool.cpython-311-x86_64-linux-gnu.so": module("fastpool", "libtbb.so.12"),
    }
    assert brief(examine(distribution("num", "1", files, GLIBC_TAG))) == [("missing-library", WARNING, "libtbb.so.12")]
    files["num/needs.py"] = b"from . import fastpool\n"
    assert brief(examine(distribution("num", "1", files, GLIBC_TAG))) == [("missing-library", ERROR, "libtbb.so.12")]


def test_a_module_of_pythons_own_library_is_a_warning() -> None:
    name = "usr/lib/python3.11/lib-dynload/_tkinter.cpython-311-x86_64-linux-gnu.so"
    assert brief(examine({name: module("_tkinter", "libtk8.6.so")})) == [("missing-library", WARNING, "libtk8.6.so")]


def test_the_drivers_libraries_are_notes() -> None:
    files = {"gpu/_c.abi3.so": module("_c", "libcuda.so.1")}
    assert brief(examine(distribution("gpu", "1", files, GLIBC_TAG))) == [("driver-library", NOTE, "libcuda.so.1")]


def test_a_library_opened_by_its_name_is_a_note() -> None:
    files = {"usb/core.py": b"import ctypes\nx = ctypes.CDLL('libusb-1.0.so.0')\ny = ctypes.CDLL('libc.so.6')\n"}
    assert brief(examine(distribution("usb", "1", files))) == [("loaded-by-name", NOTE, "libusb-1.0.so.0")]


def test_a_symbol_that_the_c_library_lacks() -> None:
    files = {"a/_c.abi3.so": module("_c", needs={"libc.so.6": ["GLIBC_2.38"]})}
    (found,) = examine(distribution("a", "1", files, GLIBC_TAG))
    assert (found.rule, found.severity, found.subject) == ("symbol-version", ERROR, "GLIBC_2.38")
    assert found.what == "libc.so.6 has no GLIBC_2.38: import a._c fails"


def test_another_architecture() -> None:
    files = {"a/_c.abi3.so": module("_c", architecture="arm64")}
    (found,) = examine(distribution("a", "1", files))
    assert (found.rule, found.severity, found.subject) == ("wrong-architecture", ERROR, "a._c")
    assert "made for arm64, the interpreter for amd64" in found.what


def test_a_wheel_of_another_architecture() -> None:
    (found,) = examine(distribution("a", "1", {"a.py": b""}, "cp311-cp311-manylinux_2_17_aarch64"))
    assert (found.rule, found.severity, found.subject) == ("wrong-architecture", ERROR, "a")


def test_musl_in_an_image_with_glibc() -> None:
    files = {"a/_c.cpython-311-x86_64-linux-musl.so": make_elf(["libc.musl-x86_64.so.1"], exports=["PyInit__c"])}
    assert {one.rule for one in examine(distribution("a", "1", files, "cp311-cp311-musllinux_1_2_x86_64"))} == {"wrong-libc"}
    plain = {"a/_c.abi3.so": make_elf(["libc.musl-x86_64.so.1"], exports=["PyInit__c"])}
    assert brief(examine(distribution("a", "1", plain))) == [("wrong-libc", ERROR, "libc.musl-x86_64.so.1")]


def test_modules_and_wheels_of_another_python() -> None:
    files = {"a/_c.cpython-310-x86_64-linux-gnu.so": module("_c")}
    (of_module,) = examine(distribution("a", "1", files))
    assert (of_module.rule, of_module.subject) == ("wrong-python", "a._c")
    (of_wheel,) = examine(distribution("a", "1", {"a.py": b""}, "cp312-cp312-manylinux_2_17_x86_64"))
    assert (of_wheel.rule, of_wheel.subject) == ("wrong-python", "a")
    files["a/_c.abi3.so"] = module("_c")
    assert examine(distribution("a", "1", files)) == ()


@pytest.mark.parametrize(
    ("tag", "rule"),
    [
        ("py3-none-any", None),
        ("py2.py3-none-any", None),
        ("cp38-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64", None),
        ("cp311-cp311-linux_x86_64", None),
        ("py3-none-manylinux1_x86_64", None),
        ("py37-none-any", None),
        ("cp312-abi3-manylinux_2_17_x86_64", "wrong-python"),
        ("py2-none-any", "wrong-python"),
        ("cp311-cp311-manylinux_2_39_x86_64", "wrong-wheel"),
        ("cp311-cp311-win_amd64", "wrong-wheel"),
        ("cp311-cp311-macosx_11_0_arm64", "wrong-wheel"),
    ],
)
def test_tags(tag: str, rule: str | None) -> None:
    assert [one.rule for one in examine(distribution("a", "1", {"a.py": b""}, tag))] == ([rule] if rule else [])


def test_one_tag_that_fits_is_enough() -> None:
    assert examine(distribution("a", "1", {"a.py": b""}, "cp310-cp310-linux_x86_64", "cp311-cp311-linux_x86_64")) == ()


def test_a_damaged_library() -> None:
    whole = module("_c")
    (found,) = examine(distribution("a", "1", {"a/_c.abi3.so": whole[: len(whole) // 2]}))
    assert (found.rule, found.severity, found.subject) == ("damaged-library", ERROR, "_c.abi3.so")


def test_an_empty_package() -> None:
    files = {path: content for path, content in distribution("gone", "2", {"gone/x.py": b""}).items() if "dist-info" in path}
    assert brief(examine(files)) == [("empty-package", ERROR, "gone")]


def test_an_empty_environment() -> None:
    files = {path: content for path, content in system().items() if "site-packages" not in path}
    report = examine_tree(make_tree(files), "test", AMD64)
    assert brief(report.findings) == [("empty-environment", WARNING, "/opt/env")]


def test_packages_of_a_python_that_is_not_there() -> None:
    stray = {path.replace("python3.11", "python3.9"): content for path, content in distribution("a", "1", {"a.py": b""}).items()}
    other = {f"srv{path.removeprefix('opt/env')}": content for path, content in stray.items()}
    (found,) = examine(other)
    assert (found.rule, found.severity, found.subject) == ("no-interpreter", ERROR, "Python 3.9")


def test_an_interpreter_that_would_not_start() -> None:
    python = {"usr/bin/python3.11": make_elf(["libpython3.11.so.1.0", "libc.so.6"], interpreter="/lib64/ld.so")}
    assert ("interpreter", ERROR, "libpython3.11.so.1.0") in brief(examine(python))


def test_the_projects_own_modules_and_library_path() -> None:
    code = {"app/native.so": module("native", "libown.so"), "srv/libown.so": make_elf()}
    assert brief(examine(code, workdir="/app")) == [("missing-library", ERROR, "libown.so")]
    assert examine(code, workdir="/app", env=("LD_LIBRARY_PATH=/srv:",)) == ()
    assert examine(code) == ()


def test_vendored_libraries_count_only_when_something_loads_them() -> None:
    files = {
        "a/_c.abi3.so": module("_c", "libv-1.so", rpath="$ORIGIN/../a.libs"),
        "a.libs/libv-1.so": make_elf(),
        "a.libs/libunused.so": make_elf(["libnone.so"]),
    }
    assert examine(distribution("a", "1", files, GLIBC_TAG)) == ()


def test_a_library_of_the_system_serves() -> None:
    files = {**distribution("a", "1", {"a/_c.abi3.so": module("_c", "libz.so.1")}, GLIBC_TAG), f"{LIB}/libz.so.1": make_elf()}
    assert examine(files) == ()


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("ID=debian\nVERSION_CODENAME=bookworm\n", "debian:bookworm"),
        ("ID=ubuntu\nVERSION_CODENAME='noble'\n", "ubuntu:noble"),
        ("ID=debian\nVERSION_CODENAME=../../pool/x\n", ""),
        ("ID=debian\nVERSION_CODENAME=bookworm?x=1#\n", ""),
        ("ID=debian\n", ""),
    ],
)
def test_the_release_is_two_words_or_none(text: str, release: str) -> None:
    assert examine_tree(make_tree(system(), {"etc/os-release": text.encode()}), "test", None).release == release
