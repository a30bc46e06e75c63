"""The steps of the story: each one command that a person would type, run as a process, with its time and what it moved."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.demo.one_layer import OneLayer, write_one_layer

from wherry.store.disk import DiskStore

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / ".demo"
PROJECT = DEMO / "iot-anomaly"
WHERRY = Path(sys.executable).with_name("wherry")


@dataclass(kw_only=True)
class Step:
    """`moved` are the bytes of the blobs that are new with this step, of the host's platform; None where nothing is built."""

    name: str
    seconds: float
    moved: int | None = None
    single_seconds: float | None = None
    single_bytes: int | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Build:
    """What `wherry build` said, and the same files of the host's platform in one layer."""

    result: dict[str, Any]
    image: dict[str, Any]
    one_layer: OneLayer

    def manifest(self, platform: str) -> str:
        return str(pick_image(self.result, platform)["manifest"])


@dataclass(kw_only=True)
class Demo:
    host: str
    env: Mapping[str, str]
    on: str | None
    steps: list[Step] = field(default_factory=list)
    known: set[str] = field(default_factory=set)

    def wherry(self, name: str, *words: str | Path, given: str | None = None) -> bytes:
        """Run one command as a process, and take its time. Its talk goes to stderr; when it fails, so does the demo."""
        print(f"\n$ wherry {' '.join(map(str, words))}", file=sys.stderr)
        start = time.perf_counter()
        done = subprocess.run(
            [WHERRY, *words], cwd=PROJECT, env=self.env, input=(given or "").encode(), stdout=subprocess.PIPE, check=False
        )
        seconds = time.perf_counter() - start
        if done.returncode != 0:
            sys.stderr.write(done.stdout.decode(errors="replace"))
            sys.exit(f"demo: {name} failed with exit code {done.returncode}")
        self.step(name, seconds)
        return done.stdout

    def step(self, name: str, seconds: float, note: str = "") -> None:
        self.steps.append(Step(name=name, seconds=seconds, note=note))

    def build(self, name: str) -> Build:
        """Build, and count what the store had not before."""
        result: dict[str, Any] = json.loads(self.wherry(name, "build", "--json"))
        image = pick_image(result, self.host)
        single = write_one_layer(DiskStore(DEMO / "store"), image, DEMO / "one-layer")
        new = [layer for layer in image["layers"] if layer["digest"] not in self.known]
        step = self.steps[-1]
        step.moved = sum(layer["size"] for layer in new)
        step.single_seconds, step.single_bytes = single.seconds, single.size
        causes = ", ".join(dict.fromkeys(layer["cause"] for layer in new))
        step.note = f"{len(new)} of {len(image['layers'])} layers new" + (f": {causes}" if len(new) < 4 else "")
        self.known.update(layer["digest"] for each in result["images"] for layer in each["layers"])
        return Build(result=result, image=image, one_layer=single)

    def choose_engine(self) -> None:
        """Bubblewrap, which leaves nothing outside .demo, if a trial works here; else what `wherry run` finds by itself."""
        if self.on is None:
            trial: list[str | Path] = [WHERRY, "run", "--on", "bubblewrap", "--", "python", "-c", ""]
            done = subprocess.run(trial, cwd=PROJECT, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            self.on = "bubblewrap" if done.returncode == 0 else None

    def run(self, name: str, *command: str, given: str | None = None) -> bytes:
        target = ("--on", self.on) if self.on else ()
        return self.wherry(name, "run", *target, *(("--", *command) if command else ()), given=given)


def pick_image(result: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(image for image in result["images"] if image["platform"] == name)
    return found


def expect(output: bytes, *, anomaly: bool, by: str) -> None:
    """The container's answer must be the right one, or the figures mean nothing."""
    answer = json.loads(output)
    if (answer.get("anomaly"), answer.get("by")) != (anomaly, by):
        sys.exit(f"demo: expected anomaly={anomaly} by {by!r}, got {answer}")
    print(output.decode().strip(), file=sys.stderr)
