"""Differences as one JSON document, version 1 (docs/how-to/see-what-an-update-costs.md, "For programs").

Nothing in it depends on host or time. Money is text, so that no reader's floating point changes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from wherry.deliver.changes import Cause, Change
from wherry.deliver.costs import Tariff, fleet_cost
from wherry.deliver.difference import Difference
from wherry.deliver.lock_difference import LockDifference
from wherry.deliver.wire import Pull
from wherry.model.image import BuiltLayer

DIFF_SCHEMA = 1


def render_image_differences(
    differences: Iterable[Difference], *, devices: int | None = None, tariff: Tariff | None = None
) -> dict[str, Any]:
    """What `wherry diff --json` says of two images; with `devices` and `tariff` also what it costs."""
    platforms = []
    for difference in differences:
        platform = _render_difference(difference)
        if devices is not None and tariff is not None:
            platform["cost"] = render_cost(difference.pull.total, devices, tariff)
            platform["single_layer_cost"] = render_cost(difference.single_layer.total, devices, tariff)
        platforms.append(platform)
    return {"schema": DIFF_SCHEMA, "of": "images", "platforms": platforms}


def render_lock_differences(
    differences: Iterable[LockDifference], *, devices: int | None = None, tariff: Tariff | None = None
) -> dict[str, Any]:
    platforms = []
    for difference in differences:
        platform: dict[str, Any] = {
            "platform": str(difference.platform),
            "in_base": difference.base_present,
            "in_target": difference.target_present,
            "changes": _render_changes(difference.changes),
            "causes": [_render_cause(cause) for cause in difference.causes],
            "estimated_size": difference.estimated_size,
        }
        if devices is not None and tariff is not None:
            platform["cost"] = render_cost(difference.estimated_size, devices, tariff)
        platforms.append(platform)
    return {"schema": DIFF_SCHEMA, "of": "locks", "platforms": platforms}


def render_environment_changes(changes: Sequence[Change]) -> dict[str, Any]:
    return {"schema": DIFF_SCHEMA, "of": "environments", "changes": _render_changes(changes)}


def render_cost(moved: int, devices: int, tariff: Tariff) -> dict[str, Any]:
    cost = fleet_cost(moved, devices, tariff)
    return {
        "tariff": tariff.name,
        "devices": devices,
        "billed": cost.billed,
        "charged": cost.charged,
        "total_moved": cost.total_moved,
        "amount": f"{cost.rounded:f}",
        "currency": cost.currency,
    }


def _render_difference(difference: Difference) -> dict[str, Any]:
    cause_of = {layer: cause.text for cause in difference.causes for layer in cause.layers}
    return {
        "platform": str(difference.platform),
        "base": str(difference.base),
        "target": str(difference.target),
        "layers": [_render_layer(layer, cause_of.get(layer.name, layer.cause)) for layer in difference.moved],
        "causes": [_render_cause(cause) for cause in difference.causes],
        "removed": _render_changes(difference.dropped),
        "settings": difference.settings,
        "kept": {"layers": len(difference.kept), "size": sum(layer.size for layer in difference.kept)},
        "pull": _render_pull(difference.pull),
        "single_layer": _render_pull(difference.single_layer),
    }


def _render_layer(layer: BuiltLayer, cause: str) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind.value,
        "diff_id": str(layer.diff_id),
        "digest": str(layer.digest),
        "size": layer.size,
        "cause": cause,
    }


def _render_cause(cause: Cause) -> dict[str, Any]:
    return {
        "cause": cause.text,
        "kind": cause.kind.value,
        "size": cause.size,
        "layers": list(cause.layers),
        "changes": _render_changes(cause.changes),
    }


def _render_changes(changes: Iterable[Change]) -> list[dict[str, Any]]:
    return [{"name": change.name, "base": change.base, "target": change.target} for change in changes]


def _render_pull(pull: Pull) -> dict[str, int]:
    return {
        "index": pull.index,
        "manifest": pull.manifest,
        "config": pull.config,
        "layers": pull.blobs,
        "overhead_estimated": pull.overhead,
        "total": pull.total,
    }
