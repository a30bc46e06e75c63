"""HTML out of texts that are anybody's: nothing but `Html` is markup, and nothing hides or turns around."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.formats.html_page import Html, join, render_page, tag
from wherry.formats.treemap_html import Cell, render_treemap

EVIL = '<script>alert(1)</script>" onmouseover="x" \' &lt; </title></style>'


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> _Reader:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return reader


@given(st.text())
def test_text_stays_text(text: str) -> None:
    found = read(tag("p", text, title=text, class_="quiet"))
    assert found.tags == ["p"]
    assert [name for name, _ in found.attributes] == ["title", "class"]
    if text.isprintable():
        assert found.text == text
        assert found.attributes[0][1] == text


def test_markup_is_only_what_was_made_as_such() -> None:
    assert tag("p", tag("b", "<"), " & ", Html("<br>")) == "<p><b>&lt;</b> &amp; <br></p>"
    assert tag("a", "x", href=None, aria_label="y") == '<a aria-label="y">x</a>'
    assert join([EVIL]).count("<") == 0


@pytest.mark.parametrize("letter", ["\u202e", "\u200b", "\x00", "\x1b", "\udce9", "\u2028"])
def test_what_cannot_be_seen_is_shown_as_replaced(letter: str) -> None:
    made = tag("p", f"a{letter}b")
    assert made == "<p>a\ufffdb</p>"
    made.encode()


def test_a_page_forbids_what_it_does_not_need() -> None:
    page = render_page(EVIL, "p { color: red }", tag("main", EVIL))
    found = read(page)
    assert "script" not in found.tags
    policy = next(value for name, value in found.attributes if name == "content")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert page.startswith("<!doctype html>")


def cell(name: str, weight: int, *parts: Cell) -> Cell:
    return Cell(name=name, amount=f"{weight} B", told=f"{name} told", look="wheel", weight=weight, link="row", parts=parts)


def test_a_treemap_is_a_list_of_lists_with_links() -> None:
    inner = (cell("scipy", 700), cell(EVIL, 200))
    found = read(render_treemap("Bytes", [cell("small", 100), cell("scikit", 900, *inner)]))
    assert found.tags.count("ul") == 2
    assert found.tags.count("li") == 4
    assert [value for name, value in found.attributes if name == "aria-label"][:3] == ["Bytes", "scikit told", "scikit"]
    assert {value for name, value in found.attributes if name == "href"} == {"#row"}
    assert "script" not in found.tags


def test_what_is_too_small_to_be_seen_is_drawn_together() -> None:
    crumbs = [cell(f"crumb{number}", 1) for number in range(5)]
    found = read(render_treemap("Bytes", [cell("all", 100_000), *crumbs, cell("none", 0)]))
    assert "5 smaller ones" in found.text
    assert "crumb1" not in found.text
    assert "none" not in found.text
