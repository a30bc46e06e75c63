"""Models against the image that they are in: nothing of them is ever loaded."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile
from collections.abc import Callable

import pytest

from tests.unit.check.trees import SITE, Files, distribution, make_tree, system
from wherry.check.doctor import examine_tree
from wherry.check.model_scan import scan_model
from wherry.errors import FormatError
from wherry.formats.model_headers import check_safetensors, parse_onnx
from wherry.model.report import Severity

ERROR, WARNING = Severity.ERROR, Severity.WARNING
SKLEARN = distribution("scikit-learn", "1.9.1", {"sklearn/__init__.py": b"", "sklearn/linear_model/_logistic.py": b""})


def examine(name: str, data: bytes, *more: Files, folder: str = "app") -> list[tuple[str, Severity, str]]:
    tree = make_tree(system(), SKLEARN, {f"{folder}/{name}": data, "app/own.py": b""}, *more)
    report = examine_tree(tree, "test", None, workdir="/app")
    return [(one.rule, one.severity, one.what) for one in report.findings]


def pickled(*names: str, stamp: str = "") -> bytes:
    """A pickle that imports names and does nothing with them."""
    imports = b"".join(f"c{name.replace(':', chr(10))}\n0".encode() for name in names)
    return b"\x80\x04" + imports + pickle.dumps({"_sklearn_version": stamp} if stamp else None)[2:]


def test_a_model_of_this_environment() -> None:
    data = pickled("sklearn.linear_model._logistic:LogisticRegression", "builtins:dict", "own:Scaler", stamp="1.9.0")
    assert examine("m.pkl", data) == []
    assert examine("m.joblib", gzip.compress(data)) == []


def test_a_model_of_another_scikit_learn() -> None:
    (found,) = examine("m.pkl", pickled(stamp="1.6.1"))
    assert found[:2] == ("model-version", WARNING)
    assert "made with scikit-learn 1.6.1, here is 1.9.1" in found[2]


def boosted(version: bytes) -> bytes:
    """A pickle of a booster, as xgboost 3.2 writes one: the version stands in its bytes, in UBJSON."""
    handle = b"{L\0\0\0\0\0\0\0\x07version[#L\0\0\0\0\0\0\0\x03i%bi%bi%b}" % tuple(version[at : at + 1] for at in range(3))
    return b"\x80\x04cxgboost.core\nBooster\n0" + pickle.dumps(bytes(300_000) + handle)[2:]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_model_of_another_xgboost(pack: Callable[[bytes], bytes]) -> None:
    here = distribution("xgboost", "3.2.0", {"xgboost/__init__.py": b"", "xgboost/core.py": b""})
    assert examine("m.pkl", pack(boosted(b"\x03\x02\x09")), here) == []
    (found,) = examine("m.pkl", pack(boosted(b"\x02\x01\x04")), here)
    assert found[:2] == ("model-version", WARNING)
    assert "made with xgboost 2.1.4, here is 3.2.0" in found[2]


def test_a_version_is_seen_wherever_chunks_end() -> None:
    data = boosted(b"\x02\x01\x04")
    for size in (1, 7, 24, 26):
        pieces = [data[:-60], *(data[-60:][at : at + size] for at in range(0, 60, size))]
        found = scan_model("m.pkl", len(data), iter(pieces))
        assert found is not None
        assert found.xgboost == ("2.1.4",)


@pytest.mark.parametrize(
    "name",
    ["os:system", "posix:system", "subprocess:Popen", "builtins:eval", "__builtin__:exec", "logging:os.system", "pickle:loads",
     "sklearn.utils:os.popen", "builtins:dict.__import__"],
)  # fmt: skip
def test_a_model_that_runs_code(name: str) -> None:
    found = examine("m.pkl", pickled(name))
    assert found[0][:2] == ("model-code", ERROR)


def test_a_model_that_may_reach_everything() -> None:
    assert examine("m.pkl", pickled("builtins:getattr"))[0][:2] == ("model-code", WARNING)


def test_a_model_whose_modules_are_not_there() -> None:
    (found,) = examine("m.pkl", pickled("sklearn.linear_model.logistic:LogisticRegression", "xgboost.sklearn:XGBRegressor"))
    assert found[:2] == ("model-import", ERROR)
    assert "no module sklearn.linear_model.logistic, xgboost.sklearn" in found[2]
    (own,) = examine("m.pkl", pickled("__main__:Net"))
    assert own[:2] == ("model-import", WARNING)


def test_folders_of_a_pth_file_may_have_anything() -> None:
    more = {f"{SITE}/own.pth": b"/srv/code\n"}
    assert examine("m.pkl", pickled("somewhere.else:X"), more) == []


def test_torchs_zip() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/data.pkl", pickled("os:system"))
        archive.writestr("archive/data/0", b"\0" * 1000)
    assert examine("net.pt", made.getvalue())[0][:2] == ("model-code", ERROR)
    assert examine("net.pt", made.getvalue()[:200] + b"\0" * 40)[0][:2] == ("damaged-model", ERROR)


def test_truncated_models() -> None:
    assert examine("m.pkl", pickled(stamp="1.9.1")[:-3])[0][:2] == ("damaged-model", ERROR)
    assert examine("m.joblib", gzip.compress(pickled(stamp="1.9.1"))[:-12])[0][:2] == ("damaged-model", ERROR)


def test_other_files_of_such_names_are_let_be() -> None:
    assert examine("m.pt", b"weights") == []
    assert examine("m.pkl", b"") == []


def test_models_of_packages_are_theirs() -> None:
    assert examine("tests/m.pkl", pickled("os:system"), folder=f"{SITE}/sklearn") == []


def safetensors(header: object, data: bytes = b"\0" * 16) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


GOOD = {"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}


def test_safetensors() -> None:
    assert examine("w.safetensors", safetensors(GOOD)) == []
    for bad in (
        safetensors(GOOD, b"\0" * 15),
        safetensors(b"{"),
        safetensors([]),
        safetensors({"w": {"data_offsets": [8, 4]}}),
        safetensors({"w": {}}),
        (1 << 40).to_bytes(8, "little"),
        b"\0\0",
    ):
        assert examine("w.safetensors", bad)[0][:2] == ("damaged-model", ERROR)
    assert check_safetensors([safetensors(GOOD)], len(safetensors(GOOD)), "x") == 1


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def onnx(version: int, domain: bytes = b"") -> bytes:
    opset = (field(1, domain) if domain else b"") + field(2, version)
    return field(1, 9) + field(2, b"pytorch") + field(7, b"g" * 100) + field(8, opset)


def test_onnx_operator_sets() -> None:
    assert dict(parse_onnx([onnx(17)], len(onnx(17)), "x").opsets) == {"": 17}
    runtime = distribution("onnxruntime", "1.16.3", {"onnxruntime/__init__.py": b""})
    (found,) = examine("m.onnx", onnx(21), runtime)
    assert found[:2] == ("model-version", ERROR)
    assert "asks for ONNX operator set 21; onnxruntime 1.16.3 knows them up to 19" in found[2]
    assert examine("m.onnx", onnx(19), runtime) == []
    assert examine("m.onnx", onnx(21)) == []


def test_damaged_onnx() -> None:
    data = onnx(17)
    for bad in (data[:-1], data[:20], b"\xff" * 30, b"", field(1, 9)):
        with pytest.raises(FormatError):
            parse_onnx([bad], len(bad), "x")
