"""The bench `deliver`: what an update moves, next to casync, xdelta3, zstd, bsdiff4 and gzip on the same trees.

What each case and figure means stands in docs/explanation/measurements.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.cases import measure_cases
from bench.device import Device
from bench.harness import NotMeasured, Run, tell
from bench.pairs import AMD64, HUGE, PAIRS, Pair, Shipyard, make_huge_image
from bench.results import Figure, Results, Target, figure, not_run
from bench.rivals.deltas import RIVALS, Trees
from bench.wire import weigh_idle_month, weigh_parcel
from bench.workshop import install_wherry

CASES = (*PAIRS, "huge-layer", "idle-month")
TITLES = {
    "iris-model": "a logistic regression of 825 B, retrained",
    "digits-model": "a logistic regression of 6 kB, retrained with 50 more rows",
    "sklearn-patch-amd64": "scikit-learn 1.9.0 to 1.9.1, bytecode in a cache",
    "sklearn-patch-arm64": "the same for arm64",
    "sklearn-patch-bytecode": "the same with layers of bytecode",
    "openssl": "libssl3 and openssl of bookworm, to their security update",
    "four-minor": "numpy, scipy, pandas, scikit-learn, one minor version up",
    "strangers-image": "one Python file in a layer of 100 MB that buildah made",
    "huge-layer": "a full parcel with a layer of 2 GB, half of it random",
    "idle-month": "30 polls that bring nothing, each with a full handshake, at the interface",
}
_ON_DEVICES = (Target(metric="agent_peak_mb", limit=64), Target(metric="mb_per_s", limit=30, at_least=True))
TARGETS = {
    "iris-model": (
        Target(metric="parcel_bytes", limit=850),
        Target(metric="wire_bytes", limit=4_500),
        Target(metric="wire_bytes_kept", limit=1_600),
    ),
    "digits-model": (Target(metric="parcel_bytes", limit=5_500),),
    "sklearn-patch-amd64": (Target(metric="parcel_bytes", limit=80_000),),
    "sklearn-patch-arm64": (Target(metric="parcel_bytes", limit=80_000),),
    "sklearn-patch-bytecode": (Target(metric="parcel_bytes", limit=235_000),),
    "openssl": (Target(metric="parcel_bytes", limit=250_000),),
    "four-minor": (Target(metric="parcel_bytes", limit=25_000_000), *_ON_DEVICES),
    "huge-layer": _ON_DEVICES,
    "strangers-image": (Target(metric="parcel_bytes", limit=10_000),),
    "idle-month": (Target(metric="wire_bytes", limit=150_000),),
}
_WEIGHED = ("iris-model", "digits-model")  # on the wire, too
_APPLIED = ("sklearn-patch-amd64", "four-minor")  # by an agent
MB = 1e6


def run(work: Path, source: Path, results: Results, cases: tuple[str, ...]) -> None:
    """Measure the cases with the wherry of `source`; each is printed and kept as soon as it is done."""
    yard = Shipyard(root=work, wherry=install_wherry(work, source))
    measure_cases("deliver", cases, TITLES, TARGETS, results, lambda case: _measure(case, yard))


def _measure(case: str, yard: Shipyard) -> Iterator[Figure]:
    if case == "idle-month":
        yield from _measure_idle_month(case, yard)
    elif case == "huge-layer":
        yield from _measure_huge_layer(case, yard)
    else:
        pair, folder = PAIRS[case](yard), yard.root / "trees" / case
        try:
            base, target = yard.write_changed_layers(pair, folder)
            yield from _measure_wherry(case, yard, pair, target.stat().st_size)
            yield from _measure_rivals(case, Trees(folder=folder, base_tar=base, target_tar=target))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _measure_wherry(case: str, yard: Shipyard, pair: Pair, layers: int) -> Iterator[Figure]:
    """Release both images to a channel of their own; the parcel is what the owner of the first fetches for the second."""
    channel = yard.open_channel(case)
    channel.release(pair.base, pair.platform)
    with TemporaryDirectory(dir=yard.root) as scratch:
        device = Device(folder=Path(scratch) / "device", agent=yard.agent)
        if case in _APPLIED:
            device.prepare(channel.folder)
            device.apply(channel.locate(None, pair.platform))
        made = channel.release(pair.target, pair.platform)
        parcel = channel.locate(pair.base, pair.platform)
        yield figure(case, "wherry", "parcel_bytes", [parcel.stat().st_size], "bytes")
        yield figure(case, "wherry", "layers_bytes", [layers], "bytes")
        yield figure(case, "wherry", "release_seconds", [made.seconds], "s")
        yield figure(case, "wherry", "release_peak_mb", [made.peak / MB], "MB")
        if case in _WEIGHED:
            wire = weigh_parcel(yard.python, Path(scratch), parcel.read_bytes())
            yield figure(case, "wherry", "wire_bytes", [wire.whole], "bytes")
            yield figure(case, "wherry", "wire_bytes_kept", [wire.kept], "bytes")
        if case in _APPLIED:
            yield from _measure_agent(case, device.apply(parcel), layers)


def _measure_huge_layer(case: str, yard: Shipyard) -> Iterator[Figure]:
    """A device that has nothing takes a full parcel."""
    channel = yard.open_channel(case)
    channel.release(make_huge_image(yard), AMD64)
    parcel = channel.locate(None, AMD64)
    yield figure(case, "wherry", "parcel_bytes", [parcel.stat().st_size], "bytes")
    with TemporaryDirectory(dir=yard.root) as scratch:
        device = Device(folder=Path(scratch) / "device", agent=yard.agent)
        device.prepare(channel.folder)
        yield from _measure_agent(case, device.apply(parcel), HUGE)


def _measure_agent(case: str, run: Run, layers: int) -> Iterator[Figure]:
    yield figure(case, "wherry", "agent_peak_mb", [run.peak / MB], "MB")
    yield figure(case, "wherry", "agent_seconds", [run.seconds], "s")
    yield figure(case, "wherry", "mb_per_s", [layers / MB / run.seconds], "MB/s")


def _measure_idle_month(case: str, yard: Shipyard) -> Iterator[Figure]:
    with TemporaryDirectory(dir=yard.root) as folder:
        moved, noted = weigh_idle_month(yard.python, Path(folder))
    yield figure(case, "wherry", "wire_bytes", [moved], "bytes")
    yield figure(case, "wherry", "ledger_bytes", [noted], "bytes")


def _measure_rivals(case: str, trees: Trees) -> Iterator[Figure]:
    trees.unpack()
    for name, send in RIVALS.items():
        try:
            sent = send(trees)
        except NotMeasured as error:
            tell(f"{case}: {name}: not run: {error}")
            yield not_run(case, name, str(error))
            continue
        tell(f"{case}: {name} {sent.size} bytes, {sent.run.seconds:.1f} s")
        yield figure(case, name, "bytes", [sent.size], "bytes")
        yield figure(case, name, "seconds", [sent.run.seconds], "s")
        if sent.run.peak:  # what is over in a few milliseconds is not looked at
            yield figure(case, name, "peak_mb", [sent.run.peak / MB], "MB")
