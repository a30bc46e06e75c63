"""The story: a project becomes an image, the image a release on a device; then a new model, newer packages, a sick release."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from tests.simulators.certificates import make_certificates
from tools.demo.fleet import Device, Fleet, Update, install_device, serve_fleet
from tools.demo.rivals import Rivals, measure_rivals
from tools.demo.steps import DEMO, PROJECT, Build, Demo, expect

from wherry.deliver.costs import flat_tariff, fleet_cost

FLEETS = (1_000, 100_000)
PLATFORMS = ("linux/amd64", "linux/arm64")
READING = '{"date": "2026-07-14", "temp_max": 3.5, "temp_min": -1.0}\n'
FORMER_PACKAGE, LATEST_PACKAGE = "scikit-learn==1.9.0", "scikit-learn==1.9.1"
_MODEL = PROJECT / "models" / "model.pkl"


def tell_story(demo: Demo, *, device: str | None) -> dict[str, Any]:
    """`device` is the engine on the device; None takes the first that works."""
    certificates = make_certificates(DEMO / "certificates", "rsa")
    former = build_first(demo)
    with serve_fleet(demo, certificates) as fleet, ExitStack() as stack:
        parcels = [fleet.release(1)]
        van, installed = stack.enter_context(install_device(fleet, device))
        updates = [installed]
        check(demo, van, installed, 1, seed=1)
        builds = [former]
        for number, build in ((2, build_model), (3, build_packages)):
            builds.append(build(demo))
            parcels.append(fleet.release(number))
            updates.append(van.update())
            check(demo, van, updates[-1], number, seed=2)
        sick = try_sick_release(demo, fleet, van) if van.runs_container else None
    client, rivals = measure_rivals(demo, builds, certificates)
    return {
        "schema": 2,
        "engine": demo.on or "default",
        "host": demo.host,
        "device": van.engine,
        "client": client,
        "steps": [asdict(step) for step in demo.steps],
        "estimates": [estimate(demo, builds, number, name) for number in (2, 3) for name in PLATFORMS],
        "first": describe_update(installed, parcels[0]),
        "updates": [
            describe_release(number, updates[number - 1], parcels[number - 1], rival) for number, rival in enumerate(rivals, 2)
        ],
        "sick": sick,
    }


def build_first(demo: Demo) -> Build:
    pin_package(FORMER_PACKAGE)
    demo.wherry("lock, two platforms", "lock")
    demo.build("first build, two platforms")
    demo.choose_engine()
    expect(demo.run("score, no model yet", given=READING), anomaly=True, by="monthly rule")
    train(demo, "train in the container", seed=1)
    former = demo.build("build with the model")
    expect(demo.run("score with the model", given=READING), anomaly=True, by="model, seed 1")
    return former


def build_model(demo: Demo) -> Build:
    train(demo, "retrain", seed=2)
    built = demo.build("rebuild with the new model")
    expect(demo.run("score with the new model", given=READING), anomaly=True, by="model, seed 2")
    return built


def build_packages(demo: Demo) -> Build:
    pin_package(LATEST_PACKAGE)
    demo.wherry("lock the newer scikit-learn", "lock")
    return demo.build("rebuild with it")


def pin_package(line: str) -> None:
    place = PROJECT / "requirements.txt"
    lines = [line if each.startswith("scikit-learn") else each for each in place.read_text().splitlines()]
    place.write_text("\n".join(lines) + "\n")


def train(demo: Demo, name: str, *, seed: int) -> None:
    model = demo.run(name, "python", "train.py", "--seed", str(seed), "--output", "-")
    _MODEL.write_bytes(model)
    demo.steps[-1].note = f"model.pkl: {len(model):,} bytes"


def check(demo: Demo, van: Device, update: Update, number: int, *, seed: int) -> None:
    """The device runs that release, or the figures mean nothing."""
    current = van.read_status()["current"] or {}
    if update.code != 0 or current.get("release") != number:
        sys.exit(f"demo: the device is not on release {number}: {update.said}")
    if van.runs_container:
        expect(van.score(READING), anomaly=True, by=f"model, seed {seed}")
    demo.step(f"device: release {number}", update.seconds, f"{update.moved:,} bytes on the link")


def try_sick_release(demo: Demo, fleet: Fleet, van: Device) -> dict[str, Any]:
    """Half of a model, as a full disk leaves it: the device tries it, and goes back by itself."""
    _MODEL.write_bytes(_MODEL.read_bytes()[:3000])
    demo.wherry("build with half a model", "build")
    fleet.release(4)
    update = van.update()
    status = van.read_status()
    refused = [each["image"]["release"] for each in status["refused"]]
    if update.code == 0 or refused != [4] or status["current"]["release"] != 3:
        sys.exit(f"demo: the device kept a sick release: {update.said}")
    expect(van.score(READING), anomaly=True, by="model, seed 2")
    demo.step("device: release 4, and back", update.seconds, f"{update.moved:,} bytes on the link, {update.after:,} to go back")
    return {"release": 4, "moved": update.moved, "moved_to_go_back": update.after, "reason": status["refused"][0]["reason"]}


def estimate(demo: Demo, builds: Sequence[Build], number: int, platform: str) -> dict[str, Any]:
    """What `wherry diff` says beforehand of a registry pull."""
    base, target = (builds[index].manifest(platform) for index in (number - 2, number - 1))
    told = json.loads(demo.wherry(f"diff, {platform}", "diff", base, target, "--json"))["platforms"][0]
    return {"release": number, "platform": platform, "causes": told["causes"], "pull": told["pull"]["total"]}


def describe_update(update: Update, parcel: int) -> dict[str, Any]:
    return {"parcel": parcel, "moved": update.moved, "ledger": update.ledger}


def describe_release(number: int, update: Update, parcel: int, rival: Rivals) -> dict[str, Any]:
    ways = {"wherry": (update.moved, ""), **{name: (way["moved"], way["note"]) for name, way in asdict(rival).items()}}
    return {
        "release": number,
        **describe_update(update, parcel),
        "ways": {name: describe_way(moved, note, update.moved) for name, (moved, note) in ways.items()},
    }


def describe_way(moved: int | None, note: str, by_wherry: int) -> dict[str, Any]:
    if moved is None:
        return {"moved": None, "note": note}
    costs = {str(devices): str(fleet_cost(moved, devices, flat_tariff()).rounded) for devices in FLEETS}
    return {"moved": moved, "times": moved / by_wherry, "cost": costs}
