"""Progress in notebooks: one line a cell, told by several threads; plain lines elsewhere."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from wherry.notebook import render_line, show_in_notebook


class FakeHandle:
    def __init__(self, drawn: list[tuple[int, str]], number: int) -> None:
        self.drawn, self.number = drawn, number

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.drawn.append((self.number, data["text/plain"]))


class FakeDisplay:
    """IPython.display as far as it is used; remembers which output was drawn into."""

    def __init__(self) -> None:
        self.drawn: list[tuple[int, str]] = []
        self.html: list[str] = []
        self.handles = 0

    def display(self, data: dict[str, str], *, raw: bool, display_id: bool) -> FakeHandle:
        assert raw
        assert display_id
        self.handles += 1
        self.html.append(data["text/html"])
        handle = FakeHandle(self.drawn, self.handles)
        handle.update(data, raw=True)
        return handle


class FakeShell:
    kernel = object()
    execution_count = 1


@pytest.fixture
def jupyter(monkeypatch: pytest.MonkeyPatch) -> tuple[FakeShell, FakeDisplay]:
    shell, display = FakeShell(), FakeDisplay()

    class IPython:
        @staticmethod
        def get_ipython() -> Any:
            return shell

    fake: Any = IPython
    fake.display = display
    monkeypatch.setitem(sys.modules, "IPython", fake)
    return shell, display


def test_a_line_is_redrawn_in_its_cell_and_begins_anew_in_the_next(jupyter: tuple[FakeShell, FakeDisplay]) -> None:
    shell, display = jupyter
    now = iter([0.0, 0.01, 0.2, 0.21, 0.22])
    progress = show_in_notebook(clock=lambda: next(now))
    progress("a.whl", 1, 4)
    progress("a.whl", 2, 4)  # too soon after the last
    progress("a.whl", 3, 4)
    progress("a.whl", 4, 4)  # the end is always drawn
    shell.execution_count = 2
    progress("<b>", 4, 4)
    assert [number for number, _ in display.drawn] == [1, 1, 1, 2]
    assert display.drawn[2][1].endswith("100%  a.whl  (1 done)")
    assert display.drawn[3][1].endswith("(1 done)")
    assert "&lt;b&gt;" in display.html[1]


def test_elsewhere_it_is_a_line_for_each_thing_that_is_done() -> None:
    stream = io.StringIO()
    progress = show_in_notebook(stream)
    for done in (1, 2, 2):
        progress("a.whl", done, 2)
    progress("of unknown size", 7, 0)
    assert stream.getvalue() == "done: a.whl\n"


@pytest.mark.parametrize(
    ("done", "total", "text"), [(0, 0, "x"), (5, 0, "x"), (0, 2, "░" * 24 + "   0%  x"), (9, 2, "█" * 24 + " 100%  x")]
)
def test_a_line(done: int, total: int, text: str) -> None:
    assert render_line("x", done, total) == text
