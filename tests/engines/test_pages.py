"""Pages of `check --html` and `diff --html` in a real browser: light, dark, on a phone, by keyboard, on paper, offline."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.conftest import cannot_run
from tests.unit.check.trees import distribution, module, system
from tests.unit.cli.test_check import store_image
from wherry.cli.check import register as register_check
from wherry.cli.diff import register as register_diff
from wherry.errors import CheckError

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("chromium")]

EVIL = "<script>document.title='owned'</script>"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
# Of every text that is shown: its contrast with the nearest ground that is not transparent (WCAG 2.2, 1.4.3), the worst first.
CONTRASTS = """() => {
  const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return [...n.slice(0, 3), n.length > 3 ? n[3] : 1]; };
  const linear = part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour[3] === 1) return colour;
    }
    return [255, 255, 255, 1];
  };
  const told = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].filter(child => child.nodeType === 3 && child.textContent.trim());
    if (!own.length || !node.checkVisibility()) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))];
    told.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), own[0].textContent.trim().slice(0, 40), node.className]);
  }
  return told.sort((x, y) => x[0] - y[0]);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        cannot_run("not installed: chromium, and playwright to drive it (tools/setup.sh engines)")
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report with everything in it, and a difference."""
    folder = tmp_path_factory.mktemp("pages")
    patch = pytest.MonkeyPatch()
    patch.setenv("WHERRY_STORE", str(folder / "store"))
    patch.setenv("WHERRY_CACHE", str(folder / "cache"))
    try:
        broken = distribution("cv", "4.1", {"cv2/cv2.abi3.so": module("cv2", "libGL.so.1"), "cv2/data.bin": os.urandom(300_000)})
        heavy = distribution("heavy", "1", {"heavy.py": os.urandom(90_000), "heavy/tests/data": os.urandom(200_000)})
        own = {f"app/{'deep/' * 30}id_rsa": b"not empty", f"app/{EVIL}/.env": b"A=1", "tmp/x": b"1"}
        store_image(system(), broken, name="tiny:1")
        store_image(system(), broken, heavy, own, name="tiny:2")
        app = typer.Typer()
        app.callback()(lambda: None)
        register_check(app)
        register_diff(app)
        made = {"report": folder / "report.html", "difference": folder / "difference.html"}
        words = ["check", "tiny:2", "--html", str(made["report"]), "--size-budget", "100kB", "--max-layer", "90kB"]
        assert CliRunner().invoke(app, words).exit_code == CheckError.exit_code
        assert CliRunner().invoke(app, ["diff", "tiny:1", "tiny:2", "--html", str(made["difference"])]).exit_code == 0
    finally:
        patch.undo()
    return made


@pytest.mark.parametrize("name", ["report", "difference"])
@pytest.mark.parametrize("width", [1100, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read(browser: Any, pages: dict[str, Path], name: str, width: int, scheme: str) -> None:
    asked: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: asked.append(message.text))
    page.goto(pages[name].as_uri())
    assert asked == [pages[name].as_uri()], "it loads nothing, and the browser has nothing to complain of"
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
    worst = page.evaluate(CONTRASTS)
    assert len(worst) > 20
    assert worst[0][0] >= 4.5, worst[:3]
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark is (scheme == "dark")
    assert "owned" not in page.title()
    if name == "report":
        assert page.get_by_text("libGL.so.1 is not there: import cv2 fails").is_visible()
        assert page.get_by_text("What could go").is_visible()
        assert (
            page.get_by_role("cell", name="tests of packages").or_(page.get_by_role("rowheader", name="tests of packages")).count()
        )
        assert page.get_by_text(EVIL).count()
    page.close()


def test_a_keyboard_leads_from_the_picture_to_the_table(browser: Any, pages: dict[str, Path]) -> None:
    page = browser.new_page(viewport={"width": 1100, "height": 800})
    page.goto(pages["report"].as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", "one sees where one is"
    page.get_by_role("link", name="heavy 1: ").first.focus()
    page.keyboard.press("Enter")
    assert "heavy 1" in page.locator("tr:target").inner_text()
    page.locator("article", has_text="libGL").get_by_text("what this means").focus()
    page.keyboard.press("Enter")
    assert page.get_by_text("nowhere where the dynamic linker looks").first.is_visible()
    page.close()


def test_it_can_be_printed(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto(pages["report"].as_uri())
    page.pdf(path=str(tmp_path / "report.pdf"), format="A4")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    page.close()
