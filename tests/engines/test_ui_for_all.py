"""The page for everybody: by keyboard alone, in light and dark, on a phone, without motion; and hostile texts in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.engines.browser import Harbour, open_chromium
from tests.simulators.releases import put_image
from tests.unit.run.backend_contract import wait_until
from tests.unit.run.sweeps import Crew
from tests.unit.store.tiny import AMD64
from wherry.model.sweep import Axis, Parameters, Sweep, SweepSpec
from wherry.run.sweep_state import SweepState
from wherry.store.disk import DiskStore
from wherry.store.objects_folder import FolderObjects

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("browser")]
EVIL = '<img src=x onerror="alert(1)"></pre><script>alert(2)</script>' + "long" * 40
# Writes a metric and an output with hostile names, and a hostile log.
HOSTILE = """printf '%s\\n' "$1"; printf '%s\\n' "$2" >> "$WHERRY_METRICS"
echo x > "$WHERRY_OUTPUTS/<b>&.html"; touch "$WHERRY_OUTPUTS/$3" """
SWEEPS = ("sweeps", "sweeps/trial-1", "sweeps/trial-1/tasks/2", "sweeps/trial-1/tasks/3")
# Texts, what they lie on, and how well one is told from the other (WCAG 2.1, 1.4.3).
CONTRASTS = """() => {
  const read = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, place) => sum + c * [0.2126, 0.7152, 0.0722][place], 0);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = read(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest("option, noscript")) continue;
    const style = getComputedStyle(node);
    const [high, low] = [light(read(node.closest("svg") ? style.fill : style.color)), light(ground(node))].sort((a, b) => b - a);
    found.push([(high + 0.05) / (low + 0.05), walker.currentNode.data.trim().slice(0, 40)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    with open_chromium() as browser:
        harbour = Harbour(place=tmp_path_factory.mktemp("harbour"), browser=browser)
        store = DiskStore(harbour.place / "store")
        for name, model in (("one:1", b"1" * 6000), (f"{'two' * 30}:1", b"2" * 6000)):
            store.tag(name, put_image(store, [{"opt/big": bytes(9000)}, {"model.pkl": model}], AMD64, "gzip"))
        (harbour.place / "wherry.toml").write_text(
            '[targets.gone]\nengine = "docker"\n[targets.big]\nbackend = "local"\ncpus = 2\n'
        )
        begin_sweep(harbour)
        with harbour.serve():
            yield harbour
        assert [text for text in harbour.said if "404" not in text] == []


def begin_sweep(harbour: Harbour) -> None:
    """A sweep of two hostile parameters, worked off but for one task."""
    place = harbour.place / "jobs/sweeps"
    place.mkdir(parents=True)
    parameters = Parameters(axes=(Axis(name="<i>lr", values=(0.1, EVIL)), Axis(name="depth", values=(1, 2))))
    script = f"{HOSTILE.partition(chr(10))[0]}; exit {{depth}}"
    metric = json.dumps({"metric": EVIL, "value": 1.5}).replace("{", "{{").replace("}", "}}")
    sweep = Sweep(name="trial", command=("sh", "-c", script, "sh", EVIL, metric, "{<i>lr}"), parameters=parameters, price=2.0)
    spec = SweepSpec(
        id="trial-1", sweep=sweep, target=EVIL, backend="local", root=str(harbour.place), owner=EVIL, created=0.0, beat=0.05
    )
    state = SweepState(FolderObjects(place / "state"), spec.id)
    assert state.create(spec)
    (place / "trial-1.address").write_text(state.store.url)
    beat = Crew(state, harbour.place).work(indices=range(3))
    assert beat is not None
    assert beat.done == 3


@pytest.fixture(scope="module")
def hostile(harbour: Harbour) -> str:
    """The ID of a job that is hostile wherever it can be."""
    metric = json.dumps({"metric": EVIL, "value": 1.5}) + "\n" + json.dumps({"metric": EVIL, "value": 2.5})
    job = harbour.begin_job(HOSTILE, "sh", EVIL, metric, "n" * 200, f"--name={EVIL}")
    assert wait_until(lambda: harbour.jobs.find(job.id).state.is_final)
    return job.id


@pytest.fixture(scope="module")
def paths(harbour: Harbour, hostile: str) -> list[str]:
    """Every page there is."""
    second = harbour.begin_job("exit 3", "sh", "--lr", "2")
    assert wait_until(lambda: harbour.jobs.find(second.id).state.is_final)
    update = f"images/update?base=one:1&target={'two' * 30}:1"
    both = f"compare?id={hostile}&id={second.id}"
    return [
        "jobs",
        f"jobs/{hostile}",
        f"jobs/{second.id}",
        both,
        "images",
        "images/show?name=one:1",
        update,
        "targets",
        "jobs/none",
    ]


def go_round(page: Page, paths: list[str]) -> Iterator[str]:
    base = page.evaluate("document.baseURI")
    for path in paths:
        page.goto(base + path)
        for passing in ("asking", "reading …", "Reading its state …"):
            expect(page.get_by_text(passing)).to_have_count(0)
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true })")
        yield path


def test_every_text_can_be_read_in_light_and_dark(harbour: Harbour, paths: list[str]) -> None:
    grounds: dict[str, set[str]] = {"light": set(), "dark": set()}
    with harbour.visit() as page:
        for path in go_round(page, paths):
            for scheme, seen in grounds.items():
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                found = page.evaluate(CONTRASTS)
                assert len(found) > 5, path
                assert [(text, ratio) for ratio, text in found if ratio < 4.5] == [], f"{path}, {scheme}"
                seen.add(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
    assert grounds == {"light": {"rgb(247, 247, 245)"}, "dark": {"rgb(19, 21, 23)"}}


def test_no_page_is_wider_than_a_phone(harbour: Harbour, paths: list[str]) -> None:
    with harbour.visit(viewport={"width": 360, "height": 640}) as page:
        for path in go_round(page, paths):
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_nothing_moves_for_those_who_do_not_want_it(harbour: Harbour) -> None:
    job = harbour.begin_job("while :; do sleep 0.05; done")
    names = []
    for motion in ("no-preference", "reduce"):
        with harbour.visit(f"jobs/{job.id}", reduced_motion=motion) as page:
            sign = page.locator("h1 .running [aria-hidden]")
            expect(sign).to_be_visible()
            names.append(sign.evaluate("sign => getComputedStyle(sign).animationName"))
    harbour.jobs.cancel(job, 0)
    assert names == ["breathe", "none"]


def test_hostile_texts_run_nothing(harbour: Harbour, hostile: str, paths: list[str]) -> None:
    asked: list[str] = []
    with harbour.visit() as page:
        page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
        for _ in go_round(page, paths):
            assert page.locator("main img, main script").count() == 0
        page.goto(page.evaluate("document.baseURI") + f"jobs/{hostile}")
        expect(page.locator("#log-stdout pre")).to_have_text(EVIL)
        with page.expect_download() as begun:
            page.get_by_role("link", name="<b>&.html").click()
        assert begun.value.path().read_text() == "x\n"
    assert asked == []


def test_a_walk_by_keyboard_alone(harbour: Harbour, hostile: str, paths: list[str]) -> None:
    """From the list to a comparison, and through every stop of it; each stop can be seen, and none holds one fast."""
    with harbour.visit() as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        ticked = 0
        while ticked < 2:
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.type") == "checkbox":
                page.keyboard.press("Space")
                ticked += 1
        page.keyboard.press("Enter")  # in a field it sends its form
        page.wait_for_url("**/compare?*")
        for path in go_round(page, paths):
            stops = walk(page)
            assert page.evaluate(
                "document.querySelectorAll('main a, main button, main summary, main [tabindex=\"0\"]').length"
            ) <= len(stops)
            assert all(stops), path


def walk(page: Page) -> list[bool]:
    """Tab from the page's beginning to its end: of each stop, whether it shows that it has the focus."""
    page.evaluate("document.activeElement.blur()")
    stops: list[bool] = []
    while len(stops) < 400:
        page.keyboard.press("Tab")
        shown = page.evaluate(
            "() => { const at = document.activeElement; if (!at || at === document.body) return null;"
            "const style = getComputedStyle(at); return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1 }"
        )
        if shown is None:
            return stops
        stops.append(shown)
    raise AssertionError("there is no way out")
