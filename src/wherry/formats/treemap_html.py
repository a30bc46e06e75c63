"""Draws a treemap as HTML: nested lists whose items lie where `treemap` says, in parts of a hundred, so that they fit any width.

A screen reader reads the lists, and a keyboard walks through the links, each of which leads to its row in the table beneath.
What is too small to be seen is put together with others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wherry.formats.html_page import Html, join, tag
from wherry.formats.treemap import Box, lay_out

_WIDTH, _HEIGHT = 120.0, 80.0  # between what a screen and what a phone has
_LEAST = 0.004  # of the whole: what is smaller is drawn together
_HEAD = 6.0  # of the height: the line above the parts of a group
_ROOM = 14.0  # what a group has to have in both directions to be drawn by its parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """`look` is a class of the style sheet, `told` all that is to be said of it, `link` the id of its row; `parts` add up to it."""

    name: str
    amount: str
    told: str
    look: str
    weight: int
    link: str = ""
    parts: tuple[Cell, ...] = ()


def render_treemap(label: str, cells: Sequence[Cell]) -> Html:
    """The picture of all cells, the heaviest first."""
    return tag("div", _render_list(cells, _WIDTH, _HEIGHT, sum(cell.weight for cell in cells), label), class_="treemap")


def _render_list(cells: Sequence[Cell], width: float, height: float, whole: int, label: str) -> Html:
    shown = _join_small(sorted(cells, key=lambda cell: (-cell.weight, cell.name)), whole)
    boxes = lay_out([cell.weight for cell in shown], width, height)
    items = (_render_cell(cell, box, width, height, whole) for cell, box in zip(shown, boxes, strict=True))
    return tag("ul", join(items), aria_label=label)


def _join_small(cells: Sequence[Cell], whole: int) -> list[Cell]:
    large = [cell for cell in cells if cell.weight >= whole * _LEAST]
    small = [cell for cell in cells if 0 < cell.weight < whole * _LEAST]
    if len(small) < 2:
        return [*large, *small]
    name = f"{len(small)} smaller ones"
    together = Cell(name=name, amount="", told=f"{name}, told in the table", look="rest", weight=sum(one.weight for one in small))
    return [*large, together]


def _render_cell(cell: Cell, box: Box, width: float, height: float, whole: int) -> Html:
    place = (
        f"left:{100 * box.left / width:.3f}%;top:{100 * box.top / height:.3f}%;"
        f"width:{100 * box.width / width:.3f}%;height:{100 * box.height / height:.3f}%"
    )
    words = (tag("b", tag("bdi", cell.name)), " ", tag("span", cell.amount))
    if len(cell.parts) < 2 or min(box.width, box.height) < _ROOM:
        look = cell.look if not cell.parts else max(cell.parts, key=lambda part: part.weight).look
        return tag("li", _link(cell, words), style=place, class_=f"cell {look}")
    parts = _render_list(cell.parts, box.width, box.height - _HEAD, whole, cell.name)
    return tag("li", _link(cell, words), tag("div", parts), style=place, class_="group")


def _link(cell: Cell, words: Sequence[str]) -> Html:
    return tag("a", *words, href=f"#{cell.link}" if cell.link else None, aria_label=cell.told, title=cell.told)
