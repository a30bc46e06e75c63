"""Defects planted, one at a time, in a root or in a wheel that is well: how many does check find, and what does it find besides?"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulators.bases import tar_of
from tests.simulators.wheels import make_wheel
from tests.unit.check.trees import SITE, Files, distribution, facts_of, module, system
from tests.unit.formats.elves import make_elf
from tests.unit.formats.portables import make_pe

from wherry.check.contents import read_contents
from wherry.check.doctor import examine_layers
from wherry.check.gpu import DeclaredGpu
from wherry.check.wheel_file import examine_wheel
from wherry.formats.oci_json import parse_config, render_config
from wherry.model.platform import Platform
from wherry.model.report import Report, Severity

_TAG = "cp311-cp311-manylinux_2_17_x86_64"
_KEY = "AK" + "IA" + "ABCDEFGHIJKLMNOP"
_SKLEARN = distribution("scikit-learn", "1.9.1", {"sklearn/__init__.py": b""})
_RUNTIME = distribution("onnxruntime", "1.16.3", {"onnxruntime/__init__.py": b""})
_PYD = "x/_c.cp311-win_amd64.pyd"
_ONNX = b"\x08\x09" + b"B\x02\x10\x15"  # operator set 21


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """`layers` lie over the sound root; `rule` is the name of what has to be found. `gpu` is what is known of the target.

    With `wheel` it is a wheel for Windows that holds these files instead.
    """

    name: str
    rule: str
    layers: tuple[Files, ...] = ()
    env: tuple[str, ...] = field(default=())
    gpu: DeclaredGpu | None = None
    wheel: Mapping[str, bytes] | None = None


def _module(name: str, content: bytes, tag: str = _TAG, file: str = "x/_c.abi3.so") -> Files:
    return distribution(name, "1.0", {file: content}, tag)


DEFECTS = (
    Defect(name="missing library", rule="missing-library", layers=(_module("x", module("_c", "libGL.so.1")),)),
    Defect(
        name="missing library of a plugin",
        rule="missing-library",
        layers=(distribution("x", "1.0", {"x/_c.abi3.so": module("_c"), "x/p/libq.so": make_elf(["libX11.so.6"])}, _TAG),),
    ),
    Defect(
        name="missing library behind ctypes",
        rule="missing-library",
        layers=(distribution("x", "1.0", {"x/lib_x.so": make_elf(["libgomp.so.1"]), "x/b.py": b"import ctypes\n"}),),
    ),
    Defect(name="too new GLIBC", rule="symbol-version", layers=(_module("x", module("_c", needs={"libc.so.6": ["GLIBC_2.38"]})),)),
    Defect(name="another architecture", rule="wrong-architecture", layers=(_module("x", module("_c", architecture="arm64")),)),
    Defect(
        name="wheel for arm64", rule="wrong-architecture", layers=(_module("x", b"", "cp311-cp311-manylinux_2_17_aarch64", "x.py"),)
    ),
    Defect(name="musl wheel", rule="wrong-libc", layers=(_module("x", b"", "cp311-cp311-musllinux_1_2_x86_64", "x.py"),)),
    Defect(
        name="module for Python 3.10",
        rule="wrong-python",
        layers=(_module("x", module("_c"), file="x/_c.cpython-310-x86_64-linux-gnu.so"),),
    ),
    Defect(
        name="wheel for Python 3.12", rule="wrong-python", layers=(_module("x", b"", "cp312-cp312-manylinux_2_17_x86_64", "x.py"),)
    ),
    Defect(name="wheel for Windows", rule="wrong-wheel", layers=(_module("x", b"", "cp311-cp311-win_amd64", "x.py"),)),
    Defect(name="truncated library", rule="damaged-library", layers=(_module("x", module("_c")[:300]),)),
    Defect(
        name="empty package",
        rule="empty-package",
        layers=({path: data for path, data in distribution("x", "1.0", {"x.py": b""}).items() if "dist-info" in path},),
    ),
    Defect(name="empty environment", rule="empty-environment", layers=({"srv/venv/pyvenv.cfg": b"home = /usr/bin\n"},)),
    Defect(
        name="packages of an absent Python",
        rule="no-interpreter",
        layers=({"srv/lib/python3.9/site-packages/x-1.dist-info/METADATA": b"Name: x\nVersion: 1\n"},),
    ),
    Defect(
        name="Python that would not start",
        rule="interpreter",
        layers=({"usr/bin/python3.11": make_elf(["libpython3.11.so.1.0"], interpreter="/l")},),
    ),
    Defect(
        name="altered file",
        rule="altered-file",
        layers=({**_module("x", b"x = 1", "py3-none-any", "x.py"), f"{SITE}/x-1.0.dist-info/RECORD": b"x.py,sha256=AAAA,5\n"},),
    ),
    Defect(
        name="missing file",
        rule="missing-file",
        layers=(distribution("x", "1.0", {"x.py": b"", "y.py": b""}), {f"{SITE}/.wh.y.py": b""}),
    ),
    Defect(name="file that nobody brought", rule="extra-file", layers=({f"{SITE}/stray.py": b""},)),
    Defect(name="module that hides Python's own", rule="shadowed-module", layers=({"app/random.py": b""},)),
    Defect(
        name="other scikit-learn",
        rule="model-version",
        layers=(_SKLEARN, {"app/m.pkl": pickle.dumps({"_sklearn_version": "1.6.1"})}),
    ),
    Defect(name="malicious pickle", rule="model-code", layers=({"app/m.pkl": b"\x80\x04cos\nsystem\n\x8c\x02ls\x85R."},)),
    Defect(
        name="model without its package", rule="model-import", layers=({"app/m.pkl": b"\x80\x04cxgboost.sklearn\nXGBRegressor\n."},)
    ),
    Defect(name="truncated model", rule="damaged-model", layers=({"app/m.pkl": pickle.dumps(list(range(99)))[:50]},)),
    Defect(name="newer ONNX operators", rule="model-version", layers=(_RUNTIME, {"app/m.onnx": _ONNX})),
    Defect(name="baked key", rule="secret", layers=({"app/settings.py": f"KEY = '{_KEY}'\n".encode()},)),
    Defect(name="key that a later layer removes", rule="secret", layers=({"app/key": _KEY.encode()}, {"app/.wh.key": b""})),
    Defect(name="password in a variable", rule="secret-name", env=("DB_PASSWORD=hunter22",)),
    Defect(name="missing DLL", rule="missing-dll", wheel={_PYD: make_pe(["python311.dll", "MSVCP140.dll"])}),
    Defect(name="missing DLL of a DLL", rule="missing-dll", wheel={_PYD: make_pe(["a.dll"]), "x/a.dll": make_pe(["lost.dll"])}),
    Defect(name="DLL that is loaded late", rule="missing-dll", wheel={_PYD: make_pe(["python3.dll"], delayed=["lost.dll"])}),
    Defect(
        name="DLL in a folder where nothing looks", rule="missing-dll", wheel={_PYD: make_pe(["a.dll"]), "x.libs/a.dll": make_pe()}
    ),
    Defect(name="DLL for another machine", rule="wrong-architecture", wheel={_PYD: make_pe(architecture="386")}),
    Defect(name="DLL for another Python", rule="wrong-python", wheel={_PYD: make_pe(["python312.dll"])}),
    Defect(name="truncated DLL", rule="damaged-library", wheel={_PYD: make_pe(["python311.dll"])[:700]}),
    Defect(
        name="newer CUDA than the driver's",
        rule="cuda-driver",
        layers=(distribution("torch", "2.9.0+cu130", {"torch/x.py": b""}),),
        gpu=DeclaredGpu(cuda="12.4"),
    ),
    Defect(
        name="two CUDAs",
        rule="duplicate-cuda",
        layers=tuple(distribution(f"nvidia-cudnn-cu{major}", "9.1", {f"nvidia/cudnn{major}/x": b""}) for major in (11, 12)),
    ),
    Defect(
        name="build for GPUs where there is none",
        rule="gpu-packages",
        layers=(distribution("onnxruntime-gpu", "1.20", {"onnxruntime/capi/cuda.bin": bytes(60_000_000)}),),
        gpu=DeclaredGpu(cuda=None),
    ),
    Defect(
        name="fonts that a script would have fetched",
        rule="maintainer-script",
        layers=({"var/lib/dpkg/status.d/ttf-mscorefonts-installer": b""},),
    ),
)


def find_defects() -> Iterator[tuple[Defect, bool, tuple[str, ...]]]:
    """Each defect, whether it is found, and the errors of other rules that are told with it."""
    for defect in DEFECTS:
        report = _examine_wheel(defect.wheel) if defect.wheel is not None else _examine_root(defect)
        expected = {defect.rule, "missing-file"} if defect.rule == "empty-package" else {defect.rule}
        others = {one.rule for one in report.findings if one.severity is Severity.ERROR} - expected
        yield defect, any(one.rule == defect.rule for one in report.findings), tuple(sorted(others))


def _examine_root(defect: Defect) -> Report:
    layers = [system(), *defect.layers]
    raw = render_config(
        platform=Platform("linux", "amd64"),
        created="2020-01-01T00:00:00Z",
        diff_ids=[],
        env=list(defect.env),
        user="10001",
        workdir="/app",
    )
    return examine_layers(
        [facts_of(files) for files in layers],
        defect.name,
        None,
        parse_config(raw, where=defect.name),
        contents=[read_contents([tar_of(files)], defect.name) for files in layers],
        gpu=defect.gpu,
    )


def _examine_wheel(files: Mapping[str, bytes]) -> Report:
    with tempfile.TemporaryDirectory(prefix="wherry-planted-") as folder:
        return examine_wheel(make_wheel(Path(folder), "x", "1.0", files, tag="cp311-cp311-win_amd64"))
