"""What a model was made in: kept beside the bytes, never in them."""

from __future__ import annotations

from dataclasses import dataclass

# What the name of a file that looks like a model ends with.
MODEL_SUFFIXES = (
    ".pkl",
    ".pickle",
    ".joblib",
    ".skops",
    ".onnx",
    ".safetensors",
    ".gguf",
    ".pt",
    ".pth",
    ".ckpt",
    ".h5",
    ".keras",
    ".tflite",
    ".mlmodel",
    ".cbm",
    ".ubj",
)
STAMP_SUFFIX = ".stamp.json"  # after the model's own name


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStamp:
    """`sha256` is that of the model's file; `lock` the digest of the locked packages for `platform` that `job` ran with."""

    sha256: str
    job: str
    lock: str
    platform: str
    python: str | None = None
