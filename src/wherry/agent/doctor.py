"""Looks whether this device could take an update, and says what is in the way. Changes nothing."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime

from wherry.agent.settings import AgentSettings
from wherry.agent.state import DeviceState, StateFolder
from wherry.engines.device import DeviceEngine
from wherry.engines.port import EngineImage
from wherry.errors import WherryError
from wherry.model.release import name_on_device

_EARLIEST = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`well` False: an update would fail. `hint` is what to try."""

    well: bool
    what: str
    hint: str = ""


def examine_device(settings: AgentSettings, engine: DeviceEngine, now: datetime) -> tuple[Finding, ...]:
    """All that was found, in the order in which an update would come to it."""
    folder = StateFolder(settings.state)
    return (
        _examine_folder(settings),
        _examine_trust(settings),
        _examine_clock(now),
        _examine_engine(engine),
        *_examine_images(settings, engine, folder),
    )


def _examine_folder(settings: AgentSettings) -> Finding:
    place = settings.state
    while not place.exists() and place != place.parent:
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding(well=False, what=f"{settings.state} cannot be written", hint="run as root, or set `state` in agent.toml")
    free = shutil.disk_usage(place).free
    return Finding(well=True, what=f"{settings.state}: {free // 10**6} MB are free")


def _examine_trust(settings: AgentSettings) -> Finding:
    if (settings.state / "trust" / "root.json").exists():
        return Finding(well=True, what="this device trusts a channel")
    if settings.channel.root.is_file():
        return Finding(well=True, what=f"the channel's root is {settings.channel.root}")
    return Finding(well=False, what=f"no root: {settings.channel.root} is missing", hint="copy the channel's 1.root.json there")


def _examine_clock(now: datetime) -> Finding:
    if now < _EARLIEST:
        what = f"the clock says {now:%Y-%m-%d}; the newest signed time counts instead"
        return Finding(well=True, what=what, hint="set the clock: without it, old metadata cannot be told from new")
    return Finding(well=True, what=f"the clock says {now:%Y-%m-%d %H:%M} UTC")


def _examine_engine(engine: DeviceEngine) -> Finding:
    info = engine.probe()
    if not info.usable:
        return Finding(well=False, what=f"{info.name} is not usable: {info.reason}", hint=info.hint)
    return Finding(well=True, what=f"{info.name} {info.version} is usable")


def _examine_images(settings: AgentSettings, engine: DeviceEngine, folder: StateFolder) -> list[Finding]:
    try:
        state = folder.read()
    except WherryError as error:
        return [Finding(well=False, what=str(error), hint="remove state.json; the next update is then a full one")]
    if state.current is None:
        return [Finding(well=True, what="no image is on yet: the first update is a full one")]
    return [_examine_image(settings, engine, folder, state)]


def _examine_image(settings: AgentSettings, engine: DeviceEngine, folder: StateFolder, state: DeviceState) -> Finding:
    if state.current is None:
        return Finding(well=True, what="no image is on yet")
    try:
        record = folder.read_record(state.current.manifest)
        name = name_on_device(settings.container.name, record.target.manifest)
        present = engine.probe().usable and engine.has(EngineImage(config=record.parse_config(), name=name))
    except WherryError as error:
        return Finding(well=False, what=str(error), hint="the full parcel")
    if not present:
        return Finding(
            well=False, what=f"{engine.name} has not the image of release {state.current.release}", hint="the full parcel"
        )
    return Finding(well=True, what=f"release {state.current.release} is in {engine.name}")
