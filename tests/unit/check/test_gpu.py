"""What is there for GPUs."""

from __future__ import annotations

from tests.unit.check.trees import Files, distribution, make_tree, system
from wherry.check.doctor import examine_tree
from wherry.model.report import Severity


def examine(*layers: Files) -> list[tuple[str, Severity, str]]:
    report = examine_tree(make_tree(system(), *layers), "test", None)
    return [(one.rule, one.severity, one.what) for one in report.findings]


def test_how_much_of_an_image_is_for_gpus() -> None:
    big = bytes(60_000_000)
    layers = (
        distribution("nvidia-cublas-cu12", "12.4", {"nvidia/cublas/lib/data.bin": big}),
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
