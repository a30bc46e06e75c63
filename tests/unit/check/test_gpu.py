"""What is there for GPUs: whether the driver serves it, how much it is, what to take instead."""

from __future__ import annotations

import pytest

from tests.unit.check.trees import Files, distribution, make_tree, system
from wherry.check.doctor import examine_tree
from wherry.check.gpu import DeclaredGpu, judge_gpu
from wherry.check.python import find_sites
from wherry.model.cuda import find_cuda, find_driver
from wherry.model.report import Finding, Fix, Severity

BIG = bytes(60_000_000)


def examine(*layers: Files) -> list[tuple[str, Severity, str]]:
    report = examine_tree(make_tree(system(), *layers), "test", None)
    return [(one.rule, one.severity, one.what) for one in report.findings]


def test_how_much_of_an_image_is_for_gpus() -> None:
    layers = (
        distribution("nvidia-cublas-cu12", "12.4", {"nvidia/cublas/lib/data.bin": BIG}),
        distribution("torch", "2.9.0+cu124", {"torch/data.bin": b"x"}),
        distribution("other", "1.0", {"other/data.bin": b"x"}),
    )
    assert examine(*layers) == [("gpu-packages", Severity.NOTE, "60 MB are for GPUs: nvidia-cublas-cu12 12.4, torch 2.9.0+cu124")]
    assert examine(*layers[1:]) == []


def test_cuda_of_two_versions() -> None:
    layers = [distribution(f"nvidia-cudnn-cu{major}", "9.1", {f"nvidia/cudnn{major}/x": b""}) for major in (11, 12)]
    (found,) = examine(*layers)
    assert found == (
        "duplicate-cuda",
        Severity.WARNING,
        "cudnn of CUDA is there more than once: nvidia-cudnn-cu11 9.1, nvidia-cudnn-cu12 9.1",
    )


def judge(*layers: Files, cuda: str | None = None, declared: bool = True, env: str = "") -> list[Finding]:
    tree = make_tree(system(), *layers)
    known = DeclaredGpu(cuda=cuda) if declared else None
    return list(judge_gpu(tree, find_sites(tree), known, {"NVIDIA_REQUIRE_CUDA": env}))


@pytest.mark.parametrize(
    ("name", "version", "cuda", "severity"),
    [
        ("torch", "2.9.0+cu130", "12.4", Severity.ERROR),
        ("torch", "2.5.1+cu124", "12.4", None),
        ("torch", "2.5.1+cu118", "12.4", None),
        ("torch", "2.7.0+cu126", "12.4", Severity.WARNING),
        ("nvidia-cuda-runtime-cu12", "12.8.90", "12.4", Severity.WARNING),
        ("nvidia-cuda-runtime-cu12", "12.4.127", "12.4", None),
        ("nvidia-cuda-runtime", "13.0.48", "12.9", Severity.ERROR),
        ("nvidia_cublas_cu12", "12.9.1", "11.8", Severity.ERROR),
        ("nvidia-cublas-cu12", "12.9.1", "12.0", None),
        ("cupy-cuda12x", "13.4", "11.8", Severity.ERROR),
        ("jax-cuda13-plugin", "0.9", "12.9", Severity.ERROR),
        ("numpy", "2.0", "9.0", None),
    ],
)
def test_builds_and_the_declared_driver(name: str, version: str, cuda: str, severity: Severity | None) -> None:
    found = judge(distribution(name, version, {"x.py": b""}), cuda=cuda)
    assert [(one.rule, one.severity) for one in found] == ([("cuda-driver", severity)] if severity else [])


def test_what_is_said_of_a_driver_that_is_too_old() -> None:
    (found,) = judge(distribution("torch", "2.9.0+cu130", {"x.py": b""}), cuda="12.4")
    assert found.what == ('torch 2.9.0+cu130: for CUDA 13.0; "CUDA driver version is insufficient": the declared driver has 12.4')
    assert found.remedy == "builds for CUDA 12.4 or older, or a newer driver (580.65.06 brings CUDA 13.0)"


def test_condas_cuda_counts_too() -> None:
    records = {f"opt/env/conda-meta/{name}.json": b"{}" for name in ("cuda-cudart-12.6.77-0", "cuda-version-12.6-h7480c83_3")}
    (found,) = judge(records, cuda="12.4")
    assert (found.severity, found.subject) == (Severity.WARNING, "CUDA 12.6")
    wheels = distribution("nvidia-cuda-runtime-cu12", "12.4.127", {"nvidia/cuda_runtime/lib/x": bytes(2_000_000)})
    (twice,) = judge(records, wheels, declared=False)
    assert (twice.rule, twice.severity) == ("duplicate-cuda", Severity.WARNING)
    assert twice.what == (
        "CUDA is there from conda (cuda-cudart-12.6.77-0) and once more in wheels (2 MB): nvidia-cuda-runtime-cu12 12.4.127"
    )


def test_a_base_that_asks_for_a_newer_driver() -> None:
    (found,) = judge(cuda="12.2", env="cuda>=12.4 brand=tesla,driver>=470,driver<471")
    assert (found.rule, found.severity, found.subject) == ("cuda-driver", Severity.ERROR, "NVIDIA_REQUIRE_CUDA")
    assert judge(cuda="12.4", env="cuda>=12.4") == []
    assert judge(declared=False, env="cuda>=12.4") == []


def test_builds_for_two_major_versions() -> None:
    layers = [distribution("torch", "2.1+cu118", {"torch/x": b""}), distribution("cupy-cuda12x", "13", {"cupy/x": b""})]
    (found,) = judge(*layers, declared=False)
    assert found.what == "built for different major versions of CUDA: cupy-cuda12x 13, torch 2.1+cu118"


def test_a_gpu_build_where_none_is_declared() -> None:
    layer = distribution("onnxruntime-gpu", "1.20", {"onnxruntime/capi/providers_cuda.so": BIG})
    (found,) = judge(layer)
    assert (found.rule, found.severity) == ("gpu-packages", Severity.WARNING)
    assert found.what == "60 MB are for GPUs: onnxruntime-gpu 1.20, and no GPU is declared"
    assert "onnxruntime in place of onnxruntime-gpu" in found.remedy
    assert found.fix == Fix(replacements=(("onnxruntime-gpu", "onnxruntime"),))
    assert [one.severity for one in judge(layer, declared=False)] == [Severity.NOTE]
    assert judge(layer, cuda="12.4") == []


def test_wheels_that_bring_a_library_for_gpus_along() -> None:
    nccl = distribution("nvidia-nccl-cu12", "2.28", {"nvidia/nccl/lib/x": BIG})
    (found,) = judge(nccl, distribution("xgboost", "3.1", {"xgboost/x.py": b""}))
    assert found.fix == Fix(replacements=(("xgboost", "xgboost-cpu"),))
    (torch,) = judge(nccl, distribution("torch", "2.9", {"torch/x.py": b""}))
    assert "torch from its own index" in torch.remedy


@pytest.mark.parametrize(
    ("driver", "cuda"),
    [
        ("550.54", "12.4"),
        ("550.54.14", "12.4"),
        ("550.54.13", "12.3"),
        ("535.288.01", "12.2"),
        ("580.95.05", "13.0"),
        ("390.10", None),
    ],
)
def test_drivers_and_what_they_bring(driver: str, cuda: str | None) -> None:
    assert find_cuda(driver) == cuda


def test_the_driver_to_ask_for() -> None:
    assert find_driver((12, 4)) == "550.54.14"
    assert find_driver((12, 7)) == "570.26"
    assert find_driver((99, 0)) is None
    with pytest.raises(ValueError, match="R550"):
        find_cuda("R550")
