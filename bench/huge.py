"""A wheel of 2 GB: how much memory and time a build of it takes. The wheel is generated, once, and served on loopback."""

from __future__ import annotations

import base64
import hashlib
import random
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from bench.harness import NotMeasured, run_process, tell
from bench.mirror import serve_wheels
from bench.results import Figure, figure, not_run
from bench.rivals.port import weigh_layout
from bench.workshop import Workshop, copy_tree, places

_FILE = 512 << 20  # bytes of each of the four data files
_CHUNK = 1 << 20
_TOML = 'name = "huge"\nbase = "debian:bookworm"\ncode = false\nmodels = []\n'
_FOUR_VALUES = bytes(value & 3 for value in range(256))  # what is mapped to these shrinks to about a quarter
_METADATA = b"Metadata-Version: 2.1\nName: huge\nVersion: 1.0\n"
_WHEEL = b"Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_SMALL = {"huge/__init__.py": b"", "huge-1.0.dist-info/METADATA": _METADATA, "huge-1.0.dist-info/WHEEL": _WHEEL}


def measure_huge_wheel(case: str, workshop: Workshop) -> Iterator[Figure]:
    """Locked from an index of its own, built with `--find`; one run."""
    folder = workshop.root / "huge"
    wheel = folder / "wheels" / "huge-1.0-py3-none-any.whl"
    if not wheel.exists():
        tell("generating a wheel of 2 GB")
        write_huge_wheel(wheel)
    try:
        yield from _build(case, workshop, folder, wheel)
    except NotMeasured as error:
        yield not_run(case, "wherry", str(error))
    finally:
        for place in ("project", "store", "cache"):
            shutil.rmtree(folder / place, ignore_errors=True)


def _build(case: str, workshop: Workshop, folder: Path, wheel: Path) -> Iterator[Figure]:
    for place in ("project", "store", "cache"):
        shutil.rmtree(folder / place, ignore_errors=True)
    project = folder / "project"
    project.mkdir(parents=True)
    (project / "wherry.toml").write_text(_TOML)
    (project / "requirements.txt").write_text("huge==1.0\n")
    prepared = workshop.root / "prepared" / "default" / "base" / "cache"
    if prepared.exists():
        copy_tree(prepared, folder / "cache")
    with serve_wheels(wheel.parent) as index:
        env = {**workshop.environment, **places(folder), "UV_DEFAULT_INDEX": index}
        run_process([workshop.wherry, "lock"], cwd=project, env=env)
        run = run_process([workshop.wherry, "build", "--find", wheel.parent], cwd=project, env=env, memory=True)
    yield figure(case, "wherry", "peak_mb", [run.peak / 1e6], "MB")
    yield figure(case, "wherry", "seconds", [run.seconds], "s")
    yield figure(case, "wherry", "wheel_bytes", [wheel.stat().st_size], "bytes")
    yield figure(case, "wherry", "image_bytes", [weigh_layout(folder / "store", "huge:latest").total], "bytes")


def write_huge_wheel(path: Path, size: int = _FILE) -> None:
    """Four stored files of `size` bytes, two of them random, two that compress about four times, and a true RECORD."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    record = []
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
        for number in range(4):
            record.append(_write_member(archive, f"huge/data{number}.bin", _chunks(number, size)))
        for name, body in _SMALL.items():
            record.append(_write_member(archive, name, iter((body,))))
        archive.writestr("huge-1.0.dist-info/RECORD", "".join(record) + "huge-1.0.dist-info/RECORD,,\n")
    beside.replace(path)


def _write_member(archive: zipfile.ZipFile, name: str, chunks: Iterator[bytes]) -> str:
    digest, size = hashlib.sha256(), 0
    with archive.open(name, "w", force_zip64=True) as member:
        for chunk in chunks:
            member.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return f"{name},sha256={base64.urlsafe_b64encode(digest.digest()).rstrip(b'=').decode()},{size}\n"


def _chunks(number: int, size: int) -> Iterator[bytes]:
    source = random.Random(number)
    for _ in range(size // _CHUNK):
        data = source.randbytes(_CHUNK)
        yield data if number % 2 == 0 else data.translate(_FOUR_VALUES)
