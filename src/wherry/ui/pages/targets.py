"""The page of targets: where jobs of the project can go, and whether they could now."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from wherry.declare.targets import read_targets
from wherry.model.job import JobState, Target
from wherry.run.port import BackendInfo
from wherry.run.records import JobFilter
from wherry.ui.desk import Desk
from wherry.ui.probes import Health
from wherry.ui.rendering import render_page

_OFTEN, _SELDOM = 1, 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A target, how it is, and how many jobs of whatever project run there."""

    target: Target
    health: Health
    running: int


def show_targets(desk: Desk, request: Request) -> Response:
    places = [_look(desk, target) for target in read_targets(desk.root).values()]
    waiting = any(place.health.info is None for place in places)
    return render_page(request, "targets.html", page="targets", places=places, root=desk.root, every=_OFTEN if waiting else _SELDOM)


def _look(desk: Desk, target: Target) -> Place:
    _, running = desk.jobs.records.read_page(JobFilter(target=target.name, state=JobState.RUNNING), skip=0, most=1)
    return Place(target=target, health=desk.probes.look(target.name, partial(_probe, desk, target)), running=running)


def _probe(desk: Desk, target: Target) -> BackendInfo:
    return desk.jobs.backend_at(target.backend, target.engine, target.address).probe()
