"""How the cost of a release is shown: to people a table a platform, to programs one document, version 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wherry.cli.fleet_options import Fleet, tell_price
from wherry.cli.talk import format_size, print_table
from wherry.deliver.difference_json import render_cost
from wherry.deliver.wire import plan_update

if TYPE_CHECKING:
    from wherry.deliver.release_costs import ParcelCost, ReleaseCosts
    from wherry.deliver.release_order import OrderResult

RELEASE_SCHEMA = 1
_DOCUMENTS = "signatures, manifest and config"


def print_costs(costs: ReleaseCosts, fleet: Fleet | None) -> None:
    for full in costs.full:
        print(full.platform)
        updates = [cost for cost in costs.updates if cost.platform == full.platform]
        for cost in updates:
            _print_update(cost, fleet)
        if not updates:
            print("  no device can have a former release: all begin with the full parcel")
        rows = [
            ("once more, to who has it", poll, tell_price(poll.update.total, fleet))
            for poll in costs.polls
            if poll.platform == full.platform
        ]
        rows += [("full, for a new device", full, tell_price(full.update.total, fleet))]
        print_table([(name, format_size(cost.size), _tell_wire(cost), *price) for name, cost, price in rows], indent="  ")
        nothing = plan_update(0).total
        print(f"  a poll that finds nothing new is about {format_size(nothing)}")


def _print_update(cost: ParcelCost, fleet: Fleet | None) -> None:
    print(f"  from {cost.base}")
    rows = [(part.cause, format_size(part.size), "whole" if part.whole else "") for part in cost.parts]
    print_table([*rows, (_DOCUMENTS, format_size(cost.documents), "")], indent="    ")
    compared = (
        ("this update", format_size(cost.size), _tell_wire(cost), tell_price(cost.update.total, fleet)),
        ("docker pull of it", format_size(cost.pull.total), "with the wire", tell_price(cost.pull.total, fleet)),
        ("as a one-layer image", format_size(cost.single_layer.total), "with the wire", tell_price(cost.single_layer.total, fleet)),
    )
    print_table([(*cells, *price) for *cells, price in compared], indent="    ")


def _tell_wire(cost: ParcelCost) -> str:
    return f"{format_size(cost.update.socket)} at the socket, about {format_size(cost.update.total)} on the wire"


def release_document(done: OrderResult, fleet: Fleet | None, *, dry_run: bool) -> dict[str, Any]:
    """``release --json``."""
    return {
        "schema": RELEASE_SCHEMA,
        "dry_run": dry_run,
        "release": done.release,
        "updates": _render_costs(done.costs.updates, fleet),
        "polls": _render_costs(done.costs.polls, fleet),
        "full": _render_costs(done.costs.full, fleet),
        "passed_over": list(done.passed_over),
        "poll_wire_estimated": plan_update(0).total,
    }


def _render_costs(costs: Sequence[ParcelCost], fleet: Fleet | None) -> list[dict[str, Any]]:
    return [_render_cost(cost, fleet) for cost in costs]


def _render_cost(cost: ParcelCost, fleet: Fleet | None) -> dict[str, Any]:
    sizes = {"update": cost.update.total, "pull": cost.pull.total, "single_layer": cost.single_layer.total}
    document: dict[str, Any] = {
        "platform": str(cost.platform),
        "from": cost.base,
        "parcel": cost.size,
        "documents": cost.documents,
        "layers": [{"cause": part.cause, "size": part.size, "whole": part.whole} for part in cost.parts],
        "socket_estimated": cost.update.socket,
        "wire_estimated": cost.update.total,
        "pull_estimated": cost.pull.total,
        "single_layer_pull_estimated": cost.single_layer.total,
    }
    if fleet is not None:
        devices, tariff = fleet
        document["cost"] = {name: render_cost(size, devices, tariff) for name, size in sizes.items()}
    return document
