"""How long `import pandas, sklearn` takes: in wherry's image, and in ordinary virtual environments over the same base.

All run the image's own Python under bubblewrap, on one and the same base, unpacked from the image's own layers. The
image's root is read-only; the ordinary environment is made by uv with compiled bytecode and may be written.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.harness import NotMeasured, run_process, tell
from bench.results import Figure, figure, not_run, ratio
from bench.rivals.wherry import Wherry
from bench.workshop import Workshop

_RUNS = 9
_IMPORT = "import pandas, sklearn"


def measure_imports(case: str, workshop: Workshop, wherry: Wherry) -> Iterator[Figure]:
    """Interleaved runs; the first of each is not counted, so that files lie in the page cache."""
    if shutil.which("bwrap") is None:
        yield not_run(case, "wherry", "bwrap is not installed")
        return
    folder = workshop.root / "import"
    shutil.rmtree(folder, ignore_errors=True)
    layers = _layers(wherry.store)
    base = wherry.weigh_base().blobs
    _unpack(wherry.store, layers, folder / "image")
    _unpack(wherry.store, [digest for digest in layers if digest in base], folder / "base")
    subjects = {"wherry": _enter(folder / "image")}
    for name, options in (("venv", ("--compile-bytecode",)), ("venv-without-bytecode", ())):
        try:
            subjects[name] = _make_venv(workshop, wherry, folder, name, options)
        except NotMeasured as error:
            yield not_run(case, name, str(error))
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(_RUNS + 1):
        for name, inside in subjects.items():
            run = run_process([*inside, "/opt/env/bin/python", "-c", _IMPORT])
            if number:
                seconds[name].append(run.seconds)
    tell("import: done")
    for name, values in seconds.items():
        yield figure(case, name, "seconds", values, "s")
    if "venv" in seconds:
        yield ratio(case, "ratio_to_venv", seconds["wherry"], seconds["venv"])


def _enter(root: Path, *more: str | Path) -> list[str | Path]:
    """The root read-only, as an engine's `--read-only` has it, with what every container gets."""
    words: list[str | Path] = ["bwrap", "--ro-bind", root, "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]
    return [*words, "--clearenv", "--setenv", "HOME", "/tmp", *more, "--"]


def _make_venv(workshop: Workshop, wherry: Wherry, folder: Path, name: str, options: Sequence[str]) -> list[str | Path]:
    """An environment at /opt/env over the base, filled by uv as its lock says; writable when it has bytecode."""
    environment = folder / name
    shutil.copytree(folder / "base" / "opt" / "env", environment, symlinks=True)
    requirements = folder / "requirements.txt"
    requirements.write_text(wherry.pinned_requirements())
    tools = ("--tmpfs", "/mnt", "--ro-bind", workshop.uv, "/mnt/uv", "--ro-bind", requirements, "/mnt/requirements.txt")
    words = ["pip", "sync", "-q", "--require-hashes", "--default-index", workshop.index, "--no-cache", "--link-mode", "copy"]
    inside = _enter(folder / "base", "--bind", environment, "/opt/env", *tools)
    run_process([*inside, "/mnt/uv", *words, "--python", "/opt/env/bin/python", *options, "/mnt/requirements.txt"])
    return _enter(folder / "base", "--bind" if options else "--ro-bind", environment, "/opt/env")


def _layers(store: Path) -> list[str]:
    """The digests of the layers of the image `bench`, from the lowest."""
    entries = _read(store / "index.json")["manifests"]
    entry = next(one for one in entries if one["annotations"]["org.opencontainers.image.ref.name"] == "bench:latest")
    index = _read(_blob(store, entry["digest"]))
    manifest = _read(_blob(store, index["manifests"][0]["digest"]))
    return [layer["digest"] for layer in manifest["layers"]]


def _unpack(store: Path, digests: Sequence[str], root: Path) -> None:
    root.mkdir(parents=True)
    for digest in digests:
        run_process(["tar", "-xzf", _blob(store, digest), "--no-same-owner", "-C", root])
    for name in ("dev", "proc", "tmp", "mnt"):
        (root / name).mkdir(exist_ok=True)


def _blob(store: Path, digest: str) -> Path:
    return store / "blobs" / digest.replace(":", "/")


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())
