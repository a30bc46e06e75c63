"""How differences are shown to people: on stdout, a table a platform. Widths follow the content, so pipes get whole lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wherry.cli.fleet_options import Fleet, tell_price
from wherry.cli.talk import format_size, print_table, show
from wherry.deliver.changes import Cause, Change
from wherry.deliver.difference import Difference
from wherry.deliver.lock_difference import LockDifference
from wherry.model.platform import Platform

if TYPE_CHECKING:
    from wherry.deliver.release_costs import ParcelCost


def print_images(differences: Sequence[Difference], fleet: Fleet | None, updates: Mapping[Platform, ParcelCost]) -> None:
    for difference in differences:
        print(f"{difference.platform}  {str(difference.base)[:19]} → {str(difference.target)[:19]}")
        if difference.is_empty:
            print("  the same image: nothing to move")
            continue
        _print_causes(difference.causes)
        for change in difference.dropped:
            show(f"  {change.text}")
        if difference.settings:
            print("  the same files: only settings changed (command, environment, labels …)")
        kept = f"{len(difference.kept)} stay ({format_size(sum(layer.size for layer in difference.kept))})"
        verb = "is" if len(difference.moved) == 1 else "are"
        print(f"\n  {len(difference.moved)} of {len(difference.moved) + len(difference.kept)} layers {verb} new, {kept}")
        _print_pulls(difference, fleet, updates.get(difference.platform))


def add_updates(document: dict[str, Any], updates: Mapping[Platform, ParcelCost]) -> dict[str, Any]:
    """The document of ``diff --json`` with what devices would fetch, for the platforms that it was weighed for."""
    weighed = {str(platform): cost for platform, cost in updates.items()}
    for platform in document["platforms"]:
        if cost := weighed.get(platform["platform"]):
            platform["update"] = {
                "parcel": cost.size,
                "socket_estimated": cost.update.socket,
                "wire_estimated": cost.update.total,
            }
    return document


def print_locks(differences: Sequence[LockDifference], fleet: Fleet | None) -> None:
    for difference in differences:
        print(str(difference.platform))
        if not difference.base_present or not difference.target_present:
            print(f"  only the {'target' if difference.target_present else 'base'} has this platform")
        elif difference.is_empty:
            print("  nothing changed")
        else:
            for change in difference.changes:
                show(f"  {change.text}")
            _print_estimate(difference, fleet)


def print_environments(changes: Sequence[Change]) -> None:
    for change in changes:
        show(change.text)
    if not changes:
        print("nothing changed")


def _print_causes(causes: Sequence[Cause]) -> None:
    rows = [
        (cause.text, f"{cause.kind.value} layer" if len(cause.layers) == 1 else f"{len(cause.layers)} layers") for cause in causes
    ]
    print_table([(*row, format_size(cause.size)) for row, cause in zip(rows, causes, strict=True)], indent="  ")
    if any(len(cause.changes) > 1 for cause in causes):
        print("  (changes named in one line share a layer; its bytes belong to all of them)")


def _print_pulls(difference: Difference, fleet: Fleet | None, update: ParcelCost | None) -> None:
    pull, single = difference.pull, difference.single_layer
    documents = format_size(pull.index + pull.manifest + pull.config)
    made_of = f"layers {format_size(pull.blobs)}, manifest and config {documents}, about {format_size(pull.overhead)} for the wire"
    pulls = [("a registry pull moves", pull.total, made_of), ("as a single-layer image", single.total, "")]
    if update:
        parcel = f"a parcel of {format_size(update.size)}, {format_size(update.update.socket)} at the socket"
        pulls.append(("as an update of a device", update.update.total, parcel))
    print_table([(name, format_size(size), *tell_price(size, fleet), note) for name, size, note in pulls], indent="  ")


def _print_estimate(difference: LockDifference, fleet: Fleet | None) -> None:
    size = difference.estimated_size
    note = "estimated from the packages' files; diff the images for exact figures"
    print_table([("changed layers move about", format_size(size), *tell_price(size, fleet), note)], indent="  ")
