"""Looks whether this device could take an update, and says what is in the way. Changes nothing.

The channel is asked on request alone: a request is a kilobyte or more, and links are metered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wherry.agent.settings import AgentSettings
from wherry.agent.state import DeviceState, StateFolder
from wherry.engines.device import DeviceEngine
from wherry.engines.host import judge_cgroups, judge_clock, judge_space
from wherry.engines.port import EngineImage
from wherry.errors import WherryError
from wherry.formats.urls import place
from wherry.model.digest import Digest
from wherry.model.host import HostFinding, HostState
from wherry.model.release import name_on_device
from wherry.store.host_state import read_cgroup_mode, read_space

# Asks the channel's server for the parcel from an image: its ``status``, and its ``time`` in seconds since 1970 or None.
AskChannel = Callable[[Digest | None], Mapping[str, Any]]
_ANSWERS = (200, 206, 304, 403, 404, 410)  # what a poll understands (`agent.link`)
_EARLIEST = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`well` False: an update would fail. `hint` is what to try."""

    well: bool
    what: str
    hint: str = ""


def examine_device(
    settings: AgentSettings, engine: DeviceEngine, now: datetime, ask_channel: AskChannel | None = None, root: Path = Path("/")
) -> tuple[Finding, ...]:
    """All that was found, in the order in which an update would come to it. `root` is where /sys begins."""
    folder = StateFolder(settings.state)
    return (
        _translate(judge_space("state", str(settings.state), read_space(settings.state))),
        _examine_trust(settings),
        _examine_clock(now),
        *(_examine_link(settings, folder, now, ask_channel) if ask_channel else ()),
        _translate(judge_cgroups(read_cgroup_mode(root))),
        _examine_engine(engine),
        *_examine_images(settings, engine, folder),
    )


def _translate(found: HostFinding) -> Finding:
    """A warning is no reason why an update would fail."""
    hint = "" if found.state is HostState.OK else found.remedy
    return Finding(well=found.state is not HostState.FAILING, what=found.what, hint=hint)


def _examine_link(settings: AgentSettings, folder: StateFolder, now: datetime, ask: AskChannel) -> list[Finding]:
    """Whether the channel can be reached, and this clock against its server's."""
    url = settings.channel.url
    if not url:
        return [Finding(well=True, what="no channel is set: updates come by wherry-agent apply FILE")]
    try:
        state = folder.read()
        answer = ask(state.current.manifest if state.current else None)
    except WherryError as error:
        hint = error.hint or "the link, the address in agent.toml, certificates; then wherry-agent doctor --link again"
        return [Finding(well=False, what=f"{place(url)}: {error.what}", hint=hint)]
    status = answer["status"]
    if status not in _ANSWERS:
        return [Finding(well=False, what=f"{place(url)} answers {status}", hint="its address in agent.toml, or its server's log")]
    news = "has a parcel from what is on" if status in (200, 206) else "answers; no parcel from what is on lies there"
    reached = Finding(well=True, what=f"{place(url)} {news}")
    if (time := answer["time"]) is None:
        return [reached]
    return [reached, _translate(judge_clock(now, datetime.fromtimestamp(time, UTC), place(url)))]


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
