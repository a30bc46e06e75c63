"""The page in a real browser: it keeps up with what happens, without a reload and without taking anything from its reader."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.engines.browser import Harbour, open_chromium
from tests.unit.run.backend_contract import wait_until
from tests.unit.run.sweeps import Crew, make_state
from wherry.model.job import JobState
from wherry.store.objects_folder import FolderObjects

expect.set_options(timeout=30_000)
pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("browser")]
# Goes on when the file `go` is there; says a line and a value for each line in the file `say`.
WAITING = "touch say; tail -f -n +1 say & n=0; until [ -e go$1 ]; do sleep 0.05; done; kill %1; echo done"
METRIC = 'for n in 1 2 3; do echo "{\\"metric\\": \\"loss\\", \\"value\\": $1.$n, \\"step\\": $n}" >> "$WHERRY_METRICS"; done'


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    with open_chromium() as browser:
        place = tmp_path_factory.mktemp("harbour")
        harbour = Harbour(place=place, browser=browser)
        with harbour.serve():
            yield harbour
        assert [text for text in harbour.said if "ERR_CONNECTION_REFUSED" not in text] == []


def mark(page: Page) -> None:
    """What a reload would forget."""
    page.evaluate("window.kept = true")


def is_marked(page: Page) -> bool:
    return bool(page.evaluate("window.kept === true"))


def test_a_list_keeps_up_and_takes_nothing_from_its_reader(harbour: Harbour) -> None:
    first = harbour.begin_job(WAITING, "sh", "1")
    with harbour.visit() as page:
        mark(page)
        row = page.locator(f"#row-{first.id}")
        expect(row).to_contain_text("running")
        tick = page.locator(f"#tick-{first.id}")
        tick.focus()
        page.keyboard.press("Space")
        second = harbour.begin_job(METRIC, "sh", "2")
        expect(page.locator(f"#row-{second.id}")).to_contain_text("succeeded")
        (harbour.place / "go1").touch()
        expect(row).to_contain_text("succeeded")
        expect(tick).to_be_checked()
        expect(tick).to_be_focused()
        assert is_marked(page)


def test_a_log_is_followed_but_not_under_the_reader_s_eyes(harbour: Harbour) -> None:
    (harbour.place / "say").unlink(missing_ok=True)
    job = harbour.begin_job(WAITING, "sh", "2")
    say = harbour.place / "say"
    assert wait_until(say.exists)
    with harbour.visit(f"jobs/{job.id}") as page, say.open("a", buffering=1) as told:
        mark(page)
        log = page.locator("#log-stdout pre")
        told.write("".join(f"line {number}\n" for number in range(200)))
        expect(log).to_contain_text("line 199")
        at_end = "log => log.scrollTop + log.clientHeight >= log.scrollHeight - 8"
        expect(log).to_be_visible()
        assert wait_until(lambda: bool(log.evaluate(at_end)))
        log.evaluate("log => { log.scrollTop = 40; getSelection().selectAllChildren(log) }")
        told.write("one more\n")
        expect(log).to_contain_text("one more")
        assert log.evaluate("log => log.scrollTop") == 40
        assert "line 199" in page.evaluate("getSelection().toString()")
        log.evaluate("log => { log.scrollTop = log.scrollHeight }")
        (harbour.place / "go2").touch()
        expect(page.locator("h1")).to_contain_text("succeeded")
        expect(log).to_contain_text("done")
        assert log.evaluate(at_end)
        expect(page).to_have_title(f"succeeded: anomaly {job.id} · wherry")
        assert is_marked(page)


@pytest.mark.parametrize("scripts", [True, False])
def test_a_job_is_stopped(harbour: Harbour, scripts: bool) -> None:
    job = harbour.begin_job("while :; do sleep 0.05; done")
    with harbour.visit(f"jobs/{job.id}", java_script_enabled=scripts) as page:
        page.get_by_text("Stop…").click()
        page.get_by_role("button", name="Stop this job").click()
        if scripts:
            expect(page.locator("h1")).to_contain_text("cancelled")
        else:
            assert wait_until(lambda: "cancelled" in (page.reload(), page.locator("h1").inner_text())[1])
        expect(page.get_by_text("Stop…")).to_have_count(0)
    assert harbour.jobs.find(job.id).state is JobState.CANCELLED


def test_two_jobs_are_put_side_by_side(harbour: Harbour) -> None:
    jobs = [harbour.begin_job(METRIC, "sh", value, "--lr", value) for value in ("1", "7")]
    assert wait_until(lambda: all(harbour.jobs.find(job.id).state.is_final for job in jobs))
    with harbour.visit() as page:
        for job in jobs:
            page.get_by_label(f"Compare {job.id}").check()
        page.get_by_role("button", name="Compare the ticked").click()
        words = f"loss: {jobs[0].id} from 1.1 to 1.3, between 1.1 and 1.3. {jobs[1].id} from 7.1 to 7.3, between 7.1 and 7.3."
        expect(page.get_by_role("img", name="loss")).to_have_attribute("aria-label", words)
        assert page.locator("svg[role=img] g.line").count() == 2
        expect(page.get_by_role("row", name="lr differs").locator("td.other")).to_have_text("7")
        page.get_by_text("As a table").click()
        expect(page.get_by_role("row", name="2 1.2 7.2")).to_be_visible()


def test_a_sweep_s_tasks_change_while_one_looks_on(harbour: Harbour) -> None:
    place = harbour.place / "jobs/sweeps"
    place.mkdir(parents=True, exist_ok=True)
    script = f"until [ -e {harbour.place}/task{{i}} ]; do sleep 0.02; done; exit {{i}}"
    state = make_state(harbour.place, script, tasks=2, store=FolderObjects(place / "state"))
    (place / f"{state.id}.address").write_text(state.store.url)
    crew = Crew(state, harbour.place)
    worker = threading.Thread(target=crew.work)
    worker.start()
    with harbour.visit(f"sweeps/{state.id}") as page:
        mark(page)
        for task, end in enumerate(("succeeded", "failed")):
            expect(page.locator(f"#task-{task}.running")).to_be_visible()
            (harbour.place / f"task{task}").touch()
            expect(page.locator(f"#task-{task}.{end}")).to_be_visible()
        expect(page.get_by_text("2 of 2 done")).to_be_visible()
        assert is_marked(page)
    worker.join()


def test_a_killed_page_loses_nothing(harbour: Harbour) -> None:
    job = harbour.begin_job(WAITING, "sh", "3")
    other = Harbour(place=harbour.place, browser=harbour.browser)
    with other.serve() as server, other.visit(f"jobs/{job.id}") as page:
        expect(page.locator("h1")).to_contain_text("running")
        os.kill(server.pid, signal.SIGKILL)
        expect(page.locator("#link")).to_contain_text("does not answer")
    (harbour.place / "go3").touch()
    with harbour.visit(f"jobs/{job.id}") as page:
        expect(page.locator("h1")).to_contain_text("succeeded")


def test_without_scripts_the_page_comes_again_by_itself(harbour: Harbour) -> None:
    job = harbour.begin_job(WAITING, "sh", "4")
    with harbour.visit(f"jobs/{job.id}", java_script_enabled=False) as page:
        expect(page.locator("h1")).to_contain_text("running")
        (harbour.place / "go4").touch()
        expect(page.locator("h1")).to_contain_text("succeeded")
