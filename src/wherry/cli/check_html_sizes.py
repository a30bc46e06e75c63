"""The part of `wherry check --html` about sizes: two treemaps with the tables that say the same, and what could go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wherry.check.size_gates import group_owners
from wherry.check.size_savings import WORTH_KNOWING
from wherry.cli.page_parts import (
    count_of,
    name_of,
    render_bar,
    render_legend,
    render_number,
    render_size,
    render_table,
)
from wherry.cli.talk import format_size
from wherry.formats.html_page import Html, join, tag
from wherry.formats.treemap_html import Cell, render_treemap
from wherry.model.check_settings import SizeLimits
from wherry.model.sizes import LayerSize, OwnerKind, OwnerSize, Saving, Sizes

_LEAST = 0.002  # of the whole: what is smaller has no line of its own; --json has it. Less than what the picture shows
_PARTS = 20  # of a requirement with a line of their own
_WORDS = {
    OwnerKind.WHEEL: "wheels",
    OwnerKind.RECORD: "conda packages",
    OwnerKind.DEBIAN: "Debian packages",
    OwnerKind.PYTHON: "Python itself",
    OwnerKind.MODEL: "models",
    OwnerKind.CODE: "the project's own files",
    OwnerKind.SYSTEM: "the base",
    OwnerKind.HIDDEN: "hidden, and pulled all the same",
}
_LOOK_OF_LAYER = {
    "wheel": "wheel",
    "wheels": "wheel",
    "record": "record",
    "records": "record",
    "interpreter": "python",
    "bytecode": "python",
    "code": "code",
    "model": "model",
    "foreign": "debian",
}


def render_savings(sizes: Sizes) -> Iterator[Html]:
    """What could go, each kind with its price and where most of it lies."""
    if not sizes.savings:
        return
    saved = sum(sizes.weigh(one) for one in sizes.savings)
    yield tag("h2", "What could go")
    about = "About " if sizes.layers else ""
    yield tag("p", f"{about}{format_size(saved)} of {format_size(sizes.weight)} could go; each kind says what it is good for.")
    heads = ("what", "#saves of a pull", "-on disk", "-files") if sizes.layers else ("what", "#saves", "-files")
    yield render_table(_caption(sizes), heads, (_render_saving(one, sizes) for one in sizes.savings))
    yield tag(
        "p",
        "Wheels and conda packages are laid out whole: ask for builds without these parts. In a Dockerfile, remove them in the "
        "very step that installs them; a later step only hides them.",
        class_="quiet",
    )


def _caption(sizes: Sizes) -> str:
    return "Parts of layers are shares in proportion to their files" if sizes.layers else "Sizes as the files lie there"


def _render_saving(saving: Saving, sizes: Sizes) -> Html:
    named = [part for part in saving.parts[:3] if part.owner != saving.kind]
    most = join(
        join((", " if number else "mostly ", name_of(part.owner), f" {format_size(part.content)}"))
        for number, part in enumerate(named)
    )
    notes = (tag("small", text, class_="below") for text in (WORTH_KNOWING.get(saving.kind, ""), most) if text)
    words = tag("th", saving.kind, *notes, scope="row")
    sized = (render_size(saving.stored), render_size(saving.content, wide=True)) if sizes.layers else (render_size(saving.content),)
    return tag("tr", words, *sized, render_number(f"{saving.files:,}", wide=True))


def render_sizes(sizes: Sizes, at: str, limits: SizeLimits) -> Iterator[Html]:
    """By requirement, then by layer: each a picture, and the same as a table."""
    groups = group_owners(sizes)
    yield tag("h2", "Where the bytes are")
    measure = "a pull moves (its share of the stored layers)" if sizes.layers else "lie on the disk"
    yield tag("p", f"The larger a box, the more bytes {measure}. Each leads to its line in the table.", class_="quiet")
    yield tag("h3", "By requirement")
    cells = [_group_cell(sizes, name, parts, f"{at}-o{number}") for number, (name, parts) in enumerate(groups)]
    yield render_treemap("Bytes by requirement", cells)
    used = {part.kind for _, parts in groups for part in parts if sizes.weigh(part)}
    yield render_legend((kind.value, _WORDS[kind]) for kind in OwnerKind if kind in used)
    heads = ("what", "#to pull", "-on disk", "-files") if sizes.layers else ("what", "#on disk", "-files")
    caption = "A requirement stands with what it brought; what several need counts once"
    yield render_table(caption, heads, _owner_rows(sizes, groups, at))
    if sizes.layers:
        yield from _render_layers(sizes, at, limits)


def _group_cell(sizes: Sizes, name: str, parts: Sequence[OwnerSize], link: str) -> Cell:
    weight = sum(map(sizes.weigh, parts))
    inner = tuple(
        Cell(
            name=part.name,
            amount=format_size(sizes.weigh(part)),
            told=_tell(sizes, part.name, part),
            look=part.kind.value,
            weight=sizes.weigh(part),
            link=link,
        )
        for part in parts
    )
    told = f"{name}: {format_size(weight)}, {count_of(len(parts), 'part')}" if len(parts) > 1 else _tell(sizes, name, parts[0])
    return Cell(name=name, amount=format_size(weight), told=told, look=parts[0].kind.value, weight=weight, link=link, parts=inner)


def _tell(sizes: Sizes, name: str, part: OwnerSize | LayerSize) -> str:
    pulled = f"{format_size(part.stored)} to pull, " if sizes.layers else ""
    return f"{name}: {pulled}{format_size(part.content)} on disk, {count_of(part.files, 'file')}"


def _owner_rows(sizes: Sizes, groups: Sequence[tuple[str, Sequence[OwnerSize]]], at: str) -> Iterator[Html]:
    """A line for each group, and for its parts; what is small is told in one line. Whatever the picture shows has a line."""
    least = sizes.weight * _LEAST
    small = [part for _, parts in groups if sum(map(sizes.weigh, parts)) < least for part in parts]
    for number, (name, parts) in enumerate(groups):
        if sum(map(sizes.weigh, parts)) >= least:
            yield _row(sizes, name, parts, id=f"{at}-o{number}")
            shown = [part for part in parts if sizes.weigh(part) >= least][:_PARTS] if len(parts) > 1 else []
            yield from (_row(sizes, part.name, [part], class_="part") for part in shown)
            rest = parts[len(shown) :]
            if shown and rest:
                yield _row(sizes, rest[0].name if len(rest) == 1 else f"{len(rest)} smaller ones", rest, class_="part")
    if small:
        yield _row(sizes, small[0].name if len(small) == 1 else f"{len(small)} others, all small", small)


def _row(sizes: Sizes, name: str, parts: Sequence[OwnerSize], **attributes: str) -> Html:
    weight = sum(map(sizes.weigh, parts))
    also = next((part.also for part in parts if part.name == name), ())
    note = tag("small", "needed by ", name_of(_tell_names(also)), " too", class_="below") if also else ""
    return tag(
        "tr",
        tag("th", name_of(name), render_bar(weight, sizes.weight) if "id" in attributes else "", note, scope="row"),
        render_size(weight),
        render_size(sum(part.content for part in parts), wide=True) if sizes.layers else "",
        render_number(f"{sum(part.files for part in parts):,}", wide=True),
        **attributes,
    )


def _tell_names(titles: Sequence[str]) -> str:
    names = [title.partition(" ")[0] for title in titles]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _render_layers(sizes: Sizes, at: str, limits: SizeLimits) -> Iterator[Html]:
    yield tag("h3", "By layer")
    yield tag("p", "A layer moves as a whole whenever anything in it changes.", class_="quiet")
    cells = (
        Cell(
            name=layer.name,
            amount=format_size(layer.stored),
            told=_tell(sizes, layer.name, layer),
            look=_LOOK_OF_LAYER.get(layer.kind, "system"),
            weight=layer.stored,
            link=f"{at}-l{number}",
        )
        for number, layer in enumerate(sizes.layers)
    )
    yield render_treemap("Bytes by layer", list(cells))
    rows = (_render_layer(sizes, layer, f"{at}-l{number}", limits) for number, layer in enumerate(sizes.layers))
    yield render_table("Layers, the lowest first", ("layer", "#to pull", "-on disk", "-files"), rows)


def _render_layer(sizes: Sizes, layer: LayerSize, at: str, limits: SizeLimits) -> Html:
    over = limits.layer is not None and layer.stored > limits.layer
    note = tag("small", f"over the limit of {format_size(limits.layer or 0)}", class_="error") if over else ""
    return tag(
        "tr",
        tag("th", name_of(layer.name), " ", note, render_bar(layer.stored, sizes.stored), scope="row"),
        render_size(layer.stored),
        render_size(layer.content, wide=True),
        render_number(f"{layer.files:,}", wide=True),
        id=at,
    )
