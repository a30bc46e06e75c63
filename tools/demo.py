"""`make demo`: the whole way of examples/iot-anomaly, with every step's time and bytes, next to a single-layer image.

Locks and builds for amd64 and arm64, trains and scores in the container, retrains and rebuilds; ends with a table and the cost
for 1,000 and 100,000 devices, and writes .demo/report.json. Everything lies in .demo, which starts empty: figures are
those of a first time. Only the commands that a person would type are timed, as whole processes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from wherry.deliver.costs import flat_tariff, fleet_cost
from wherry.deliver.wire import plan_pull
from wherry.formats.codec import compressor
from wherry.formats.decompress import unpack_layer_chunks
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.store.disk import DiskStore

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / ".demo"
PROJECT = DEMO / "iot-anomaly"
FLEETS = (1_000, 100_000)
PLATFORMS = ("linux/amd64", "linux/arm64")
READING = '{"date": "2026-07-14", "temp_max": 3.5, "temp_min": -1.0}\n'


@dataclass(kw_only=True)
class Step:
    """`moved` are the bytes of the blobs that are new with this step, per platform; None where nothing is built."""

    name: str
    seconds: float
    moved: int | None = None
    single_seconds: float | None = None
    single_bytes: int | None = None
    note: str = ""


@dataclass(kw_only=True)
class Demo:
    host: str
    env: dict[str, str]
    on: str | None
    steps: list[Step] = field(default_factory=list)

    def wherry(self, name: str, *words: str, given: str | None = None) -> bytes:
        """Run one command as a process, and take its time. Its talk goes to stderr; when it fails, so does the demo."""
        print(f"\n$ wherry {' '.join(words)}", file=sys.stderr)
        start = time.perf_counter()
        done = subprocess.run(
            [Path(sys.executable).with_name("wherry"), *words],
            cwd=PROJECT,
            env=self.env,
            input=(given or "").encode(),
            stdout=subprocess.PIPE,
            check=False,
        )
        seconds = time.perf_counter() - start
        if done.returncode != 0:
            sys.stderr.write(done.stdout.decode(errors="replace"))
            sys.exit(f"demo: {name} failed with exit code {done.returncode}")
        self.steps.append(Step(name=name, seconds=seconds))
        return done.stdout

    def build(self, name: str, known: set[str], *words: str) -> dict[str, Any]:
        """Build, and count per platform what the store had not before."""
        result: dict[str, Any] = json.loads(self.wherry(name, "build", "--json", *words))
        image = pick_image(result, self.host)
        step = self.steps[-1]
        step.moved = sum(layer["size"] for layer in image["layers"] if layer["digest"] not in known)
        step.single_seconds, step.single_bytes = measure_single_layer(DiskStore(DEMO / "store"), image)
        new = [layer["cause"] for layer in image["layers"] if layer["digest"] not in known]
        step.note = f"{len(new)} of {len(image['layers'])} layers new" + (f": {', '.join(new)}" if len(new) < 4 else "")
        known.update(layer["digest"] for each in result["images"] for layer in each["layers"])
        return result

    def choose_engine(self) -> None:
        """Bubblewrap, which leaves nothing outside .demo, if a trial works here; else what `wherry run` finds by itself."""
        if self.on is None:
            trial: list[str | Path] = [
                Path(sys.executable).with_name("wherry"),
                "run",
                "--on",
                "bubblewrap",
                "--",
                "python",
                "-c",
                "",
            ]
            done = subprocess.run(trial, cwd=PROJECT, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            self.on = "bubblewrap" if done.returncode == 0 else None

    def run(self, name: str, *command: str, given: str | None = None) -> bytes:
        target = ("--on", self.on) if self.on else ()
        return self.wherry(name, "run", *target, *(("--", *command) if command else ()), given=given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", help="the engine for train and score; default: bubblewrap, or what `wherry run` finds")
    parser.add_argument("--keep-cache", action="store_true", help="do not download again what an earlier demo downloaded")
    asked = parser.parse_args()
    prepare(keep_cache=asked.keep_cache)
    env = {**os.environ, "WHERRY_STORE": str(DEMO / "store"), "WHERRY_CACHE": str(DEMO / "cache")}
    demo = Demo(host=str(Platform.parse(platform.machine())), env=env, on=asked.on)
    report = tell_story(demo)
    report["cache"] = "kept" if asked.keep_cache else "empty"
    (DEMO / "report.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    print_report(report)


def prepare(*, keep_cache: bool) -> None:
    """A fresh copy of the example, as a clone would have it."""
    for place in (PROJECT, DEMO / "store", *(() if keep_cache else (DEMO / "cache",))):
        shutil.rmtree(place, ignore_errors=True)
    DEMO.mkdir(exist_ok=True)
    shutil.copytree(
        ROOT / "examples" / "iot-anomaly", PROJECT, ignore=shutil.ignore_patterns("*.pkl", "__pycache__", "wherry.lock")
    )


def tell_story(demo: Demo) -> dict[str, Any]:
    known: set[str] = set()
    demo.wherry("lock, two platforms", "lock")
    demo.build("first build, two platforms", known)
    demo.choose_engine()
    expect(demo.run("score, no model yet", given=READING), anomaly=True, by="monthly rule")
    train(demo, "train in the container", seed=1)
    former = demo.build("build with the model", known)
    expect(demo.run("score with the model", given=READING), anomaly=True, by="model, seed 1")
    train(demo, "retrain", seed=2)
    latest = demo.build("rebuild with the new model", known)
    expect(demo.run("score with the new model", given=READING), anomaly=True, by="model, seed 2")
    return {
        "schema": 1,
        "engine": demo.on or "default",
        "host": demo.host,
        "steps": [asdict(step) for step in demo.steps],
        "updates": compare(demo, former, latest),
    }


def train(demo: Demo, name: str, *, seed: int) -> None:
    model = demo.run(name, "python", "train.py", "--seed", str(seed), "--output", "-")
    (PROJECT / "models" / "model.pkl").write_bytes(model)
    demo.steps[-1].note = f"model.pkl: {len(model):,} bytes"


def expect(output: bytes, *, anomaly: bool, by: str) -> None:
    """The container's answer must be the right one, or the figures mean nothing."""
    answer = json.loads(output)
    if (answer.get("anomaly"), answer.get("by")) != (anomaly, by):
        sys.exit(f"demo: expected anomaly={anomaly} by {by!r}, got {answer}")
    print(output.decode().strip(), file=sys.stderr)


def compare(demo: Demo, former: dict[str, Any], latest: dict[str, Any]) -> list[dict[str, Any]]:
    """What the retrained model costs, as `wherry diff` has it; the single layer beside it is the one that was measured."""
    updates = []
    for name in PLATFORMS:
        base, target = (pick_image(result, name)["manifest"] for result in (former, latest))
        difference = json.loads(demo.wherry(f"diff, {name}", "diff", base, target, "--json"))["platforms"][0]
        single_bytes = measure_single_layer(DiskStore(DEMO / "store"), pick_image(latest, name))[1]
        pull = difference["pull"]
        single = plan_pull(index=pull["index"], manifest=pull["manifest"], config=pull["config"], blobs=(single_bytes,)).total
        updates.append(
            {
                "platform": name,
                "causes": difference["causes"],
                "layers": pull["layers"],
                "pull": pull["total"],
                "single_layer": single_bytes,
                "single_layer_pull": single,
                "costs": [
                    {
                        "devices": devices,
                        "currency": "USD",
                        "amount": str(fleet_cost(pull["total"], devices, flat_tariff()).rounded),
                        "single_layer_amount": str(fleet_cost(single, devices, flat_tariff()).rounded),
                    }
                    for devices in FLEETS
                ],
            }
        )
    return updates


def pick_image(result: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(image for image in result["images"] if image["platform"] == name)
    return found


def measure_single_layer(store: DiskStore, image: dict[str, Any]) -> tuple[float, int]:
    """Write the same files as one gzip layer, with the same codec, and throw it away: seconds and bytes."""
    start = time.perf_counter()
    sink = _CountingGzip()
    # tarfile asks of a stream's file object only that it can write.
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as single:  # type: ignore[call-overload]
        for layer in image["layers"]:
            with (
                store.open(Digest.parse(layer["digest"])) as blob,
                tarfile.open(fileobj=_Readable(unpack_layer_chunks(_chunks(blob), 1 << 40)), mode="r|", bufsize=1 << 20) as members,  # type: ignore[call-overload]
            ):
                for member in members:
                    single.addfile(member, members.extractfile(member) if member.isfile() else None)
    return time.perf_counter() - start, sink.finish()


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(1 << 20), b"")


class _CountingGzip:
    """Compresses what is written and counts what comes out."""

    def __init__(self) -> None:
        self._gzip = compressor("gzip")
        self._size = 0

    def write(self, data: bytes) -> int:
        self._size += len(self._gzip.write(data))
        return len(data)

    def finish(self) -> int:
        return self._size + len(self._gzip.finish())


class _Readable:
    """Lets tarfile read from chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = bytearray()

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            self._rest += chunk
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken


def print_report(report: dict[str, Any]) -> None:
    print(f"\n{report['host']}, run by {report['engine']}; cache at the start: {report['cache']}")
    print("'one layer' is the same files in a single gzip layer: the time to write it alone, without making the files\n")
    header = ("step", "seconds", "bytes to move", "one layer: s", "one layer: bytes", "")
    rows = [
        (
            step["name"],
            f"{step['seconds']:.2f}",
            _show(step["moved"]),
            "" if step["single_seconds"] is None else f"{step['single_seconds']:.2f}",
            _show(step["single_bytes"]),
            step["note"],
        )
        for step in report["steps"]
    ]
    _print_table(header, rows)
    fleet_header = ("a retrained model, pulled", "bytes on the wire", "one layer", "times")
    moved = [
        (
            update["platform"],
            _show(update["pull"]),
            _show(update["single_layer_pull"]),
            f"{update['single_layer_pull'] / update['pull']:,.0f}",
        )
        for update in report["updates"]
    ]
    print()
    _print_table(fleet_header, moved)
    cost_header = ("cost at 25 USD per GB", "devices", "wherry", "one layer")
    costs = [
        (update["platform"], f"{cost['devices']:,}", f"{float(cost['amount']):,.2f}", f"{float(cost['single_layer_amount']):,.2f}")
        for update in report["updates"]
        for cost in update["costs"]
    ]
    print()
    _print_table(cost_header, costs)
    print(f"\n{(DEMO / 'report.json').relative_to(ROOT)} has all of it")


def _show(size: int | None) -> str:
    return "" if size is None else f"{size:,}"


def _print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, tuple("-" * width for width in widths), *rows):
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True)),
            row[-1],
        ]
        print("  ".join(cells).rstrip())


if __name__ == "__main__":
    main()
