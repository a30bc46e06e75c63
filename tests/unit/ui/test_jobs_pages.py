"""The pages of jobs: lists, one job, several side by side; hostile names, logs and files; damage."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.unit.run.backend_contract import wait_until
from tests.unit.ui.conftest import PLACE, World
from wherry.model.job import JobState
from wherry.ui.pages.jobs import A_PAGE

EVIL = "<script>alert(1)</script>\x1b[31m\u202e\"'"


def rows(page: str) -> list[str]:
    return re.findall(r'id="row-(\w+)"', page)


def test_no_jobs_say_how_to_make_one(world: World) -> None:
    assert "wherry run --on local" in world.read("jobs")
    assert world.browser.get("/p/").headers["location"] == "/p/jobs"


def test_lists_are_filtered_and_paged(world: World) -> None:
    for number in range(A_PAGE + 3):
        state = JobState.FAILED if number % 10 == 0 else JobState.SUCCEEDED
        world.add_job(f"a{number:03}", started=float(number), state=state, target="local" if number % 2 else "big")
    first, second = world.read("jobs"), world.read("jobs?page=2")
    assert (rows(first)[0], len(rows(first)), rows(second)) == ("a052", A_PAGE, ["a002", "a001", "a000"])
    assert 'href="jobs?page=2"' in first
    assert rows(world.read("jobs?state=failed&target=big&project=/work/anomaly")) == [
        "a050",
        "a040",
        "a030",
        "a020",
        "a010",
        "a000",
    ]
    assert "No jobs here" in world.read("jobs?project=/elsewhere")
    for wrong in ("state=odd", "page=x", "page=-1", "page=99999999999"):
        world.read(f"jobs?{wrong}", status=400)


def test_a_page_that_did_not_change_is_not_sent_again(world: World) -> None:
    world.add_job("aa")
    tag = world.browser.get("/p/jobs").headers["etag"]
    again = world.browser.get("/p/jobs", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    world.add_job("bb")
    assert world.browser.get("/p/jobs", headers={"if-none-match": tag}).status_code == 200


def test_what_is_known_of_a_job(world: World) -> None:
    metrics = [{"metric": "loss", "value": 1 / step, "step": step} for step in (1, 2, 4)] + [{"params": {"seed": 7}}]
    world.add_job(
        "aa",
        metrics=metrics,
        stdout=b"hello\n",
        outputs={"m/model.pkl": b"1234"},
        parameters={"lr": "0.1"},
        lock="sha256:" + "ab" * 32,
        seed=0,
    )
    page = world.read("jobs/aa")
    for text in (
        "succeeded",
        "python train.py",
        "sha256:abababababab",
        "<dt>Seed</dt><dd>0",
        "<dt>lr</dt><dd>0.1",
        "<dt>seed</dt><dd>7",
        "hello",
        "m/model.pkl",
        "/work/anomaly",
    ):
        assert text in page, text
    assert 'aria-label="loss: aa from 1 to 0.25, between 0.25 and 1."' in page
    assert "http-equiv" not in page  # it has ended: nothing will change
    assert "Stop" not in page


def test_a_job_of_another_machine_runs_as_far_as_is_known(world: World) -> None:
    world.add_job("aa", state=JobState.RUNNING, host="elsewhere", outputs={"part": b"12"})
    page = world.read("jobs/aa")
    assert "Stop this job" in page
    assert 'data-every="1"' in page
    assert "part" in page
    world.browser.post("/p/jobs/aa/stop", headers={"origin": PLACE})
    assert wait_until(lambda: "could not be stopped: job aa runs on elsewhere" in world.read("jobs/aa"))


def test_hostile_texts_are_only_texts(world: World) -> None:
    world.add_job(
        "aa",
        name=EVIL,
        command=("python", EVIL, "\udcff"),
        project=EVIL,
        target=EVIL,
        parameters={EVIL: EVIL},
        env={EVIL: EVIL},
        metrics=[{"metric": EVIL, "value": 1.0}, {"params": {EVIL: EVIL}}],
        stdout=EVIL.encode() + b"\n\x1b]0;title\x07\x1b[2Jgone\rstays\n\xff\x9b31m",
        outputs={"<b>": b"x"},
        commit=EVIL,
    )
    world.add_job("bb")
    for path in ("jobs", "jobs/aa", "compare?id=aa&id=bb", f"jobs/{quote(EVIL)}"):
        page = world.browser.get(f"/p/{path}").text
        assert "<script>alert" not in page
        assert not set(page) & set("\x1b\x07\x9b\u202e")
        assert page.count("<script") == 1
    page = world.read("jobs/aa")
    assert "stays" in page
    assert "gone" not in page
    assert "\\x1b[31m\\u202e" in page


def test_outputs_are_sent_as_files_and_nothing_else_is(world: World, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    record = world.add_job("aa", outputs={"a/page é.html": b"<script>1</script>"}, stdout=b"whole")
    outputs = world.desk.jobs.place / record.id / "outputs"
    (outputs / "link").symlink_to(secret)
    (outputs / "up").symlink_to(tmp_path)
    answer = world.browser.get("/p/jobs/aa/outputs/a/page%20%C3%A9.html")
    assert answer.content == b"<script>1</script>"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''page%20%C3%A9.html"
    for path in (
        "link",
        "up/secret",
        "..%2Fmetrics%2F0.jsonl",
        "%2Fetc%2Fpasswd",
        "a",
        "",
        "none",
        "a%00",
        "..%2F..%2Fjobs.sqlite",
    ):
        assert world.browser.get(f"/p/jobs/aa/outputs/{path}").status_code == 404, path
    assert world.browser.get("/p/jobs/aa/logs/stdout").content == b"whole"
    assert world.browser.get("/p/jobs/aa/logs/lock").status_code == 404


def test_only_pictures_that_cannot_run_are_drawn(world: World) -> None:
    outputs = {"plots/roc.png": b"<script>1</script>", "a.svg": b"<svg/>", "b.html": b"<p>", "c.PNG.html": b"<p>"}
    world.add_job("aa", outputs=outputs)
    page = world.read("jobs/aa")
    assert re.findall(r'<img src="([^"]+)"', page) == ["jobs/aa/outputs/plots/roc.png?show"]
    for path in outputs:
        answer = world.browser.get(f"/p/jobs/aa/outputs/{path}?show")
        assert answer.headers["content-type"] == ("image/png" if path == "plots/roc.png" else "application/octet-stream")
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_end_of_a_long_log(world: World) -> None:
    world.add_job("aa", stdout=b"".join(b"line %d\n" % number for number in range(100_000)))
    page = world.read("jobs/aa")
    assert "line 99999" in page
    assert "line 500\n" not in page
    assert len(page) < 200_000
    assert "Show more" in page
    assert "line 500\n" in world.read("jobs/aa?more=2")
    world.read("jobs/aa?more=9", status=400)


def test_side_by_side(world: World) -> None:
    for name, rate in (("aa", "0.1"), ("bb", "0.2")):
        metrics = [{"metric": "loss", "value": float(rate) * step, "step": step} for step in range(3)]
        world.add_job(name, parameters={"lr": rate, "trees": "9"}, metrics=metrics)
    page = world.read("compare?id=aa&id=bb")
    assert re.search(r'<tr class="differs"><th scope="row">lr.*0\.1</td><td class="other">0\.2</td>', page)
    assert "trees" in page
    assert 'aria-label="loss: aa from 0 to 0.2, between 0 and 0.2. bb from 0 to 0.4, between 0 and 0.4."' in page
    assert "trees" not in world.read("compare?id=aa&id=bb&only=differing")
    for wrong in ("", "id=aa", "id=aa&id=aa", "&".join(f"id=a{number}" for number in range(13))):
        world.read(f"compare?{wrong}", status=400)
    world.read("compare?id=aa&id=zz", status=404)


@pytest.mark.parametrize(
    "damage", ["UPDATE jobs SET document = '{}'", "UPDATE jobs SET document = '{'", "DROP TABLE jobs", "PRAGMA user_version = 99"]
)
def test_damage_is_told_in_words(world: World, damage: str) -> None:
    world.add_job("aa")
    with sqlite3.connect(world.desk.jobs.place / "jobs.sqlite") as database:
        database.execute(damage)
    database.close()
    page = world.read("jobs", status=404)
    assert "jobs.sqlite" in page
    assert "Traceback" not in page


def test_a_mistake_of_ours_is_admitted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.ui.pages.jobs.JobFilter", None)
    world.browser._transport.raise_server_exceptions = False  # type: ignore[attr-defined]
    page = world.read("jobs", status=500)
    assert "TypeError" in page
    assert "not callable" not in page
