"""A device's status as one small JSON document (docs/reference/agent-status.md), for a person and for whatever asks over a link."""

from __future__ import annotations

from typing import Any

from wherry.agent.settings import AgentSettings
from wherry.agent.state import DeviceState, Installed
from wherry.engines.device import DeviceEngine
from wherry.errors import EngineError
from wherry.version import VERSION

STATUS_VERSION = 1


def describe_status(settings: AgentSettings, engine: DeviceEngine, state: DeviceState) -> dict[str, Any]:
    """What is on, what was before, what is pending, what was taken back, and whether the container runs."""
    info = engine.probe()
    return {
        "version": STATUS_VERSION,
        "agent": VERSION,
        "platform": str(settings.platform),
        "engine": {"name": info.name, "version": info.version, "usable": info.usable},
        "container": {"name": settings.container.name, "running": info.usable and _is_running(engine, settings.container.name)},
        "current": _describe_image(state.current),
        "former": _describe_image(state.former),
        "pending": state.pending
        and {
            "image": _describe_image(state.pending.image),
            "phase": state.pending.phase.value,
            "tries": state.pending.tries,
        },
        "refused": [{"image": _describe_image(refusal.image), "reason": refusal.reason} for refusal in state.refusals],
    }


def render_lines(status: dict[str, Any]) -> list[str]:
    """The same for a person."""
    container, current = status["container"], status["current"]
    running = "running" if container["running"] else "not running"
    lines = [f"container {container['name']}: {running}, in {status['engine']['name']} {status['engine']['version']}".rstrip()]
    lines.append(f"on: {_name_image(current)}" if current else "on: nothing yet")
    if status["former"]:
        lines.append(f"before: {_name_image(status['former'])}")
    if status["pending"]:
        lines.append(f"pending: {_name_image(status['pending']['image'])}, {status['pending']['phase']}")
    lines += [f"taken back: {_name_image(refused['image'])}: {refused['reason']}" for refused in status["refused"]]
    return lines


def _is_running(engine: DeviceEngine, name: str) -> bool:
    try:
        found = engine.find_container(name)
    except EngineError:
        return False
    return found is not None and found.running


def _describe_image(image: Installed | None) -> dict[str, Any] | None:
    return {"release": image.release, "manifest": str(image.manifest)} if image else None


def _name_image(image: dict[str, Any]) -> str:
    return f"release {image['release']} ({image['manifest'][7:19]})"
