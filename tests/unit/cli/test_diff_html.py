"""`wherry diff --html`: what changed and what it moves, of images, locks and environments."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from tests.unit.cli.test_diff import LAYERS, diff, store_image
from tests.unit.cli.test_diff import app as app
from tests.unit.formats.test_html_page import read

EVIL = "<img src=x>"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "difference.html"


def test_what_moves_between_two_images(app: typer.Typer, page: Path) -> None:
    numpy = ("wheel", "numpy", "numpy 2.0", 9_000_000)
    store_image("anomaly:1", numpy, *LAYERS, ("wheel", "gone", "gone 1", 7))
    store_image("anomaly:2", numpy, ("wheel", "pandas", "pandas 2.2.3", 12_500_000), *LAYERS[1:])
    diff(app, "anomaly:1", "anomaly:2", "--html", str(page), "--devices", "1000")
    found = read(page.read_text())
    assert [found.text.count(f"linux/{each}") for each in ("amd64", "arm64")] == [1, 1]
    for told in ("1 of 4 layers is new", "pandas 2.2.2 → 2.2.3", "12.5 MB", "USD for 1,000 devices", "gone removed"):
        assert told in found.text
    assert {value for name, value in found.attributes if name == "class"} >= {"cell moved", "cell kept"}
    links = {str(value)[1:] for name, value in found.attributes if name == "href"}
    assert links <= {value for name, value in found.attributes if name == "id"}


def test_names_are_not_believed(app: typer.Typer, page: Path) -> None:
    store_image("anomaly:1", *LAYERS)
    store_image("anomaly:2", *LAYERS, ("model", EVIL, EVIL, 90_000_000))
    diff(app, "anomaly:1", "anomaly:2", "--html", str(page))
    found = read(page.read_text())
    assert "img" not in found.tags
    assert EVIL in found.text


def test_the_same_image(app: typer.Typer, page: Path) -> None:
    store_image("anomaly:1", *LAYERS)
    diff(app, "anomaly:1", "anomaly:1", "--html", str(page))
    assert "nothing to move" in read(page.read_text()).text


def test_two_environments(app: typer.Typer, page: Path, tmp_path: Path) -> None:
    for name, text in (("a.txt", "six==1.0\nold\n"), ("b.txt", "six==1.1\nsame-or-not\n")):
        (tmp_path / name).write_text(text)
    diff(app, str(tmp_path / "a.txt"), str(tmp_path / "b.txt"), "--html", str(page))
    text = read(page.read_text()).text
    assert "==1.0==1.1" in text.replace(" ", "")
    assert "absent" in text
    diff(app, str(tmp_path / "a.txt"), str(tmp_path / "a.txt"), "--html", str(page))
    assert "Nothing changed." in read(page.read_text()).text
