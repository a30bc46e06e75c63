"""Judges sizes: the image against its budget, each layer against the largest that is allowed, and what could go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from wherry.check.size import normalise_title
from wherry.check.size_savings import GPU
from wherry.model.check_settings import SizeLimits
from wherry.model.report import Finding, Report, Severity, order_findings
from wherry.model.size import format_size
from wherry.model.sizes import LayerSize, OwnerKind, OwnerSize, SavedPart, Saving, Sizes

_NAMED = 4  # so many of the largest are told in a line


def judge_sizes(report: Report, limits: SizeLimits, *, slim: bool) -> Report:
    """The report with findings about its sizes; with `slim` also about what could go."""
    if report.sizes is None:
        return report
    sizes = _add_gpu(report.sizes, report.findings)
    found = [*_judge_budget(sizes, limits.budget), *_judge_layers(sizes, limits.layer), *(_judge_savings(sizes) if slim else ())]
    return replace(report, sizes=sizes, findings=order_findings([*report.findings, *found]))


def _add_gpu(sizes: Sizes, findings: Iterable[Finding]) -> Sizes:
    """What is for GPUs could go where a finding says that there is none: whole packages."""
    folders = [path for one in findings if one.rule == "gpu-packages" and one.severity is Severity.WARNING for path in one.where]
    stems = (folder.rpartition("/")[2].removesuffix(".dist-info").partition("-") for folder in folders)
    titles = {normalise_title(f"{name} {version}") for name, _, version in stems}
    owners = [
        one for one in sizes.owners if one.kind in (OwnerKind.WHEEL, OwnerKind.RECORD) and normalise_title(one.name) in titles
    ]
    if not owners:
        return sizes
    parts = tuple(SavedPart(owner=one.name, files=one.files, content=one.content, stored=one.stored) for one in owners)
    gone = {part.owner for part in parts}
    others = (Saving(kind=one.kind, parts=tuple(part for part in one.parts if part.owner not in gone)) for one in sizes.savings)
    return replace(sizes, savings=(Saving(kind=GPU, parts=parts), *(one for one in others if one.parts)))


def _judge_budget(sizes: Sizes, budget: int | None) -> Iterator[Finding]:
    if budget is None or sizes.weight <= budget:
        return
    layers = f"; largest layers: {_tell_largest((one.name, one.stored) for one in sizes.layers)}" if sizes.layers else ""
    over = f"{format_size(sizes.weight)}, {format_size(sizes.weight - budget)} over its budget of {format_size(budget)}"
    yield Finding(
        rule="size-budget",
        severity=Severity.ERROR,
        subject="size",
        what=f"{over}; most of it: {_tell_largest(weigh_groups(sizes))}{layers}",
        remedy="drop or replace the largest requirement, or what --slim lists; or raise size-budget",
    )


def _judge_layers(sizes: Sizes, limit: int | None) -> Iterator[Finding]:
    for layer in sizes.layers:
        if limit is not None and layer.stored > limit:
            yield Finding(
                rule="max-layer",
                severity=Severity.ERROR,
                subject=layer.name,
                what=f"the layer {layer.name} is {format_size(layer.stored)}, and no layer may be more than {format_size(limit)}",
                remedy=_advise_layer(layer),
            )


def _advise_layer(layer: LayerSize) -> str:
    if layer.kind == "foreign":
        return "make it in several steps, so that a change moves less; or raise max-layer"
    return "a smaller build of what lies in it; or raise max-layer"


def _judge_savings(sizes: Sizes) -> Iterator[Finding]:
    whole = sum(sizes.weigh(one) for one in sizes.savings)
    if whole:
        yield Finding(
            rule="unneeded-files",
            severity=Severity.NOTE,
            subject="size",
            what=f"{format_size(whole)} of {format_size(sizes.weight)} could go: {_tell_largest(_weigh_savings(sizes))}",
            remedy="builds of the packages without it; where a Dockerfile makes the image, remove it in the step that installs",
        )


def weigh_groups(sizes: Sizes) -> list[tuple[str, int]]:
    """Each requirement, or other group, with all that is told under it; the heaviest first."""
    return [(name, sum(map(sizes.weigh, parts))) for name, parts in group_owners(sizes)]


def group_owners(sizes: Sizes) -> list[tuple[str, list[OwnerSize]]]:
    """The owners by what they are told under; the heaviest group first, and in each the heaviest owner."""
    groups: dict[str, list[OwnerSize]] = defaultdict(list)
    for one in sorted(sizes.owners, key=lambda one: (-sizes.weigh(one), one.name)):
        groups[one.within].append(one)
    return sorted(groups.items(), key=lambda pair: (-sum(map(sizes.weigh, pair[1])), pair[0]))


def _weigh_savings(sizes: Sizes) -> list[tuple[str, int]]:
    return [(one.kind, sizes.weigh(one)) for one in sizes.savings]


def _tell_largest(parts: Iterable[tuple[str, int]]) -> str:
    largest = sorted(parts, key=lambda part: (-part[1], part[0]))[:_NAMED]
    return ", ".join(f"{name} {format_size(size)}" for name, size in largest if size)
