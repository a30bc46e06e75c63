"""What the pages of `wherry check --html` and `wherry diff --html` are made of, and how one comes into a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from wherry.cli.talk import format_size
from wherry.errors import StoreError
from wherry.formats.html_page import Html, join, render_page, tag
from wherry.store.posix import write_atomically
from wherry.version import VERSION


def write_page(path: Path, title: str, body: Iterable[str], *, command: str) -> None:
    """The page as a whole or not at all; `command` is what its foot says it comes from."""
    foot = tag("footer", f"Written by wherry {VERSION}, ", tag("code", command), ". This page loads nothing and runs nothing.")
    style = files("wherry.cli").joinpath("page.css").read_text("utf-8")
    page = render_page(title, style, join((tag("main", *body), foot)))
    try:
        write_atomically(path, page.encode())
    except OSError as error:
        raise StoreError(f"cannot be written: {error.strerror}", where=str(path), hint="another place: --html FILE") from error


def name_of(text: str) -> Html:
    """A name that is somebody else's: it cannot turn around the direction of what stands beside it."""
    return tag("bdi", text)


def render_figures(figures: Iterable[tuple[str, str, str]]) -> Html:
    """The few numbers that matter: what it is, the number, and a word on it, which may be `Html`."""
    told = (tag("div", tag("dt", label), tag("dd", value, tag("small", note) if note else "")) for label, value, note in figures)
    return tag("dl", *told, class_="figures")


def render_table(caption: str, heads: Sequence[str], rows: Iterable[Html]) -> Html:
    """A table; a head with ``#`` before it stands over numbers, with ``-`` or ``~`` numbers or words that phones leave out."""
    cells = (tag("th", head.lstrip("#-~"), scope="col", class_=_look(head)) for head in heads)
    return tag("table", tag("caption", caption), tag("thead", tag("tr", *cells)), tag("tbody", *rows))


def _look(head: str) -> str | None:
    return {"#": "number", "-": "number wide", "~": "wide"}.get(head[:1])


def render_number(text: str, *, wide: bool = False) -> Html:
    return tag("td", text, class_="number wide" if wide else "number")


def render_size(size: int, *, wide: bool = False) -> Html:
    return render_number(format_size(size), wide=wide)


def render_bar(part: int, whole: int) -> Html:
    """How much of the whole a part is, to be seen at once; the number stands beside it."""
    share = 100 * part / whole if whole else 0
    return tag("span", tag("i", style=f"width:{min(share, 100):.1f}%"), class_="bar", aria_hidden="true")


def render_legend(looks: Iterable[tuple[str, str]]) -> Html:
    """What the colours of a treemap mean: class and words."""
    return tag("ul", *(tag("li", tag("i", class_=look), words) for look, words in looks), class_="legend", aria_label="Colours")


def count_of(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
