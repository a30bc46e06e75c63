"""`make demo`: the whole way of examples/iot-anomaly, from a folder to devices, with every step's time and bytes.

Locks and builds for amd64 and arm64, trains and scores in the container, releases to a device, retrains, takes newer packages. Ends
with a table of what each update moved over the device's link, next to registry pulls of the same change, and the money for 1,000
and 100,000 devices; writes .demo/report.json. What the demo keeps lies in .demo, which starts empty: figures are of a first time.
Only what a person would type is timed, as whole processes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import time

from tools.demo.steps import DEMO, PROJECT, ROOT, Demo
from tools.demo.story import tell_story
from tools.demo.tables import print_report

from wherry.model.platform import Platform


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--on", help="the engine for train and score; default: bubblewrap, or what `wherry run` finds")
    parser.add_argument(
        "--device", choices=("podman", "docker", "bubblewrap"), help="the device's engine; default: the first that works"
    )
    parser.add_argument("--keep-cache", action="store_true", help="do not download again what an earlier demo downloaded")
    asked = parser.parse_args()
    start = time.perf_counter()
    prepare(keep_cache=asked.keep_cache)
    env = {**os.environ, "WHERRY_STORE": str(DEMO / "store"), "WHERRY_CACHE": str(DEMO / "cache")}
    report = tell_story(Demo(host=str(Platform.parse(platform.machine())), env=env, on=asked.on), device=asked.device)
    report["cache"] = "kept" if asked.keep_cache else "empty"
    report["seconds"] = round(time.perf_counter() - start, 1)
    (DEMO / "report.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    print_report(report)


def prepare(*, keep_cache: bool) -> None:
    """A fresh copy of the example, as a clone would have it."""
    kept = {"cache"} if keep_cache else set()
    for place in DEMO.iterdir() if DEMO.is_dir() else ():
        if place.is_dir() and place.name not in kept:
            shutil.rmtree(place, ignore_errors=True)
    DEMO.mkdir(exist_ok=True)
    shutil.copytree(
        ROOT / "examples" / "iot-anomaly", PROJECT, ignore=shutil.ignore_patterns("*.pkl", "__pycache__", "wherry.lock")
    )


if __name__ == "__main__":
    main()
