"""`wherry diff --html`: what changed and what it moves, as one page for a browser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.cli.fleet_options import Fleet, tell_price
from wherry.cli.page_parts import (
    count_of,
    name_of,
    render_bar,
    render_figures,
    render_legend,
    render_number,
    render_size,
    render_table,
    write_page,
)
from wherry.cli.talk import format_size
from wherry.deliver.changes import Cause, Change
from wherry.deliver.difference import Difference
from wherry.deliver.lock_difference import LockDifference
from wherry.formats.html_page import Html, join, tag
from wherry.formats.treemap_html import Cell, render_treemap
from wherry.model.image import BuiltLayer
from wherry.model.platform import Platform

if TYPE_CHECKING:
    from wherry.deliver.release_costs import ParcelCost

Differences = Sequence[Difference] | Sequence[LockDifference] | Sequence[Change]


def write_difference_page(
    path: Path, ends: tuple[str, str], differences: Differences, fleet: Fleet | None, updates: Mapping[Platform, ParcelCost]
) -> None:
    """All platforms in one file; `ends` are what was compared, as it was typed."""
    base, target = ends
    parts = [tag("h1", name_of(base), tag("small", " → "), name_of(target))]
    changes = [each for each in differences if isinstance(each, Change)]
    for number, each in enumerate(differences):
        if isinstance(each, Difference):
            parts += _render_image(each, f"p{number}", fleet, updates.get(each.platform))
        elif isinstance(each, LockDifference):
            parts += _render_lock(each, fleet)
    if changes:
        parts.append(_render_changes(changes))
    elif not differences:
        parts.append(tag("p", "Nothing changed.", class_="verdict good"))
    write_page(path, f"{base} → {target}: wherry diff", parts, command="wherry diff --html")


def _render_image(difference: Difference, at: str, fleet: Fleet | None, update: ParcelCost | None) -> Iterator[Html]:
    yield tag("h2", str(difference.platform))
    if difference.is_empty:
        yield tag("p", "The same image: nothing to move.", class_="verdict good")
        return
    yield tag("p", *_tell_move(difference), class_="verdict")
    yield render_figures(_figures(difference, fleet, update))
    if difference.causes or difference.dropped or difference.settings:
        yield tag("h3", "What changed")
        yield render_table("Bytes as stored, by what brought them", ("change", "~in", "#moves"), _render_causes(difference))
    if any(len(cause.changes) > 1 for cause in difference.causes):
        yield tag("p", "Changes in one line share a layer: its bytes belong to all of them.", class_="quiet")
    yield from _render_layers(difference, at)


def _tell_move(difference: Difference) -> Iterator[str]:
    moved, all_layers = len(difference.moved), len(difference.moved) + len(difference.kept)
    yield f"{moved} of {count_of(all_layers, 'layer')} {'is' if moved == 1 else 'are'} new"
    yield f", {format_size(sum(layer.size for layer in difference.kept))} stay where they are."


def _figures(difference: Difference, fleet: Fleet | None, update: ParcelCost | None) -> Iterator[tuple[str, str, str]]:
    pull, single = difference.pull, difference.single_layer
    yield "a registry pull moves", format_size(pull.total), _join_notes(f"layers {format_size(pull.blobs)}", pull.total, fleet)
    if update:
        note = _join_notes(f"a parcel of {format_size(update.size)}", update.update.total, fleet)
        yield "as an update of a device", format_size(update.update.total), note
    yield "as a single-layer image", format_size(single.total), _join_notes("", single.total, fleet)


def _join_notes(note: str, size: int, fleet: Fleet | None) -> str:
    return "; ".join(text for text in (note, *tell_price(size, fleet)) if text)


def _render_causes(difference: Difference) -> Iterator[Html]:
    whole = sum(cause.size for cause in difference.causes)
    for cause in difference.causes:
        yield _render_cause(cause, whole)
    for change in difference.dropped:
        yield tag("tr", tag("th", name_of(change.text), scope="row"), tag("td", class_="kind wide"), render_number("–"))
    if difference.settings:
        words = "only settings: command, environment, labels …"
        yield tag("tr", tag("th", words, scope="row"), tag("td", "the same files", class_="kind wide"), render_number("–"))


def _render_cause(cause: Cause, whole: int) -> Html:
    layers = f"{cause.kind.value} layer" if len(cause.layers) == 1 else count_of(len(cause.layers), "layer")
    head = tag("th", name_of(cause.text), render_bar(cause.size, whole), scope="row")
    return tag("tr", head, tag("td", layers, class_="kind wide"), render_size(cause.size))


def _render_layers(difference: Difference, at: str) -> Iterator[Html]:
    told = [(layer, "moved") for layer in difference.moved] + [(layer, "kept") for layer in difference.kept]
    told.sort(key=lambda pair: (pair[1] == "kept", -pair[0].size, pair[0].name))
    whole = sum(layer.size for layer, _ in told)
    yield tag("h3", "Layers of the new image")
    yield render_treemap("Bytes by layer", [_layer_cell(layer, look, f"{at}-{n}") for n, (layer, look) in enumerate(told)])
    yield render_legend((("moved", "new: these bytes move"), ("kept", "there already")))
    rows = (_render_layer(layer, look, whole, f"{at}-{n}") for n, (layer, look) in enumerate(told))
    yield render_table("What moves first, each as stored", ("layer", "", "#size"), rows)


def _layer_cell(layer: BuiltLayer, look: str, link: str) -> Cell:
    size = format_size(layer.size)
    told = f"{layer.name}: {size}, {'moves' if look == 'moved' else 'is there already'}"
    return Cell(name=layer.name, amount=size, told=told, look=look, weight=layer.size, link=link)


def _render_layer(layer: BuiltLayer, look: str, whole: int, at: str) -> Html:
    head = tag("th", name_of(layer.name), render_bar(layer.size, whole), scope="row")
    state = tag("td", "moves" if look == "moved" else tag("span", "stays", class_="quiet"))
    return tag("tr", head, state, render_size(layer.size), id=at)


def _render_lock(difference: LockDifference, fleet: Fleet | None) -> Iterator[Html]:
    yield tag("h2", str(difference.platform))
    if not difference.base_present or not difference.target_present:
        end = "target" if difference.target_present else "base"
        yield tag("p", f"Only the {end} has this platform.", class_="verdict")
    elif difference.is_empty:
        yield tag("p", "Nothing changed.", class_="verdict good")
    else:
        size = difference.estimated_size
        note = _join_notes("estimated from the packages' files", size, fleet)
        yield render_figures([("changed layers move about", format_size(size), note)])
        yield _render_changes(difference.changes)
        whole = sum(cause.size for cause in difference.causes)
        rows = (_render_cause(cause, whole) for cause in difference.causes)
        yield render_table("By layer; a changed layer moves as a whole", ("change", "~in", "#moves about"), rows)


def _render_changes(changes: Sequence[Change]) -> Html:
    rows = (
        tag(
            "tr", tag("th", name_of(each.name), scope="row"), *(tag("td", _tell_version(text)) for text in (each.base, each.target))
        )
        for each in changes
    )
    return join((tag("h3", "What changed"), render_table("Packages and what is asked for", ("what", "before", "after"), rows)))


def _tell_version(text: str | None) -> Html:
    if text is None:
        return tag("span", "absent", class_="quiet")
    return name_of(text) if text else tag("span", "any version", class_="quiet")
