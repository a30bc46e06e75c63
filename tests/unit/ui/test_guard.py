"""Who is let in, and who is not: hosts, tokens, cookies, origins; and what every answer forbids."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from tests.unit.ui.conftest import KNOWN, PLACE, World
from wherry.model.job import JobState
from wherry.ui.app import make_app
from wherry.ui.desk import Desk
from wherry.ui.guard import COOKIE, Secrets


@pytest.fixture
def stranger(desk: Desk) -> TestClient:
    return TestClient(make_app(desk, KNOWN), base_url=PLACE, follow_redirects=False)


def test_the_token_is_exchanged_for_a_cookie(stranger: TestClient) -> None:
    assert stranger.get("/p/jobs").status_code == 403
    answer = stranger.get(KNOWN.entrance)
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=s; ")
    assert {"HttpOnly", "Path=/p/", "SameSite=strict"} <= set(cookie.split("; "))
    assert "t" not in answer.text.split("url=")[1].split('"')[0].split("/")  # the address it leads on to has no token
    assert stranger.get("/p/jobs").status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/jobs", "/q/jobs", "/p", "/p/", "/p/?token=", "/p/?token=x", "/p/jobs?token=t", "/p/static/live.js"]
)
def test_nothing_else_leads_in(stranger: TestClient, path: str) -> None:
    answer = stranger.get(path)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_what_a_browser_is_started_with_counts_once(stranger: TestClient) -> None:
    assert stranger.head(KNOWN.entrance_once).status_code == 200  # a look at it does not use it up
    stranger.cookies.clear()
    assert stranger.get(KNOWN.entrance_once).status_code == 200
    stranger.cookies.clear()
    assert stranger.get(KNOWN.entrance_once).status_code == 403
    assert stranger.get(KNOWN.entrance).status_code == 200


@pytest.mark.parametrize("value", ["", "t", "S", "s2", "\xff"])
def test_only_the_right_cookie_counts(stranger: TestClient, value: str) -> None:
    assert stranger.get("/p/jobs", headers={b"cookie": f"{COOKIE}={value}".encode("latin-1")}).status_code == 403


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example:8910",
        "localhost.",
        "127.0.0.1:8910@x",
        "",
        "[::1]",
        "[",
        "a b",
        "127.0.0.1:999999",
    ],
)
def test_a_foreign_host_is_refused_even_with_the_token(world: World, host: str) -> None:
    for path in ("/p/jobs", KNOWN.entrance):
        assert world.browser.get(path, headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8910", "localhost:8910", "localhost:9000", "127.0.0.1"])
def test_loopback_is_fine_on_any_port_that_leads_here(world: World, host: str) -> None:
    assert world.browser.get("/p/jobs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:9999", "https://127.0.0.1:8910"])
def test_what_changes_something_comes_from_this_page(world: World, origin: str | None) -> None:
    world.add_job("aa", state=JobState.RUNNING, host="elsewhere")
    headers = {"origin": origin} if origin else {}
    assert world.browser.post("/p/jobs/aa/stop", headers=headers).status_code == 403
    assert world.browser.get("/p/jobs/aa/stop").status_code == 405
    assert world.browser.post("/p/jobs/aa/stop", headers={"origin": PLACE}).status_code == 303


@pytest.mark.parametrize("path", ["/p/jobs", "/p/nothing", "/q", "/p/static/live.js", "/p/jobs/zz"])
def test_every_answer_forbids_what_is_not_ours(world: World, path: str) -> None:
    headers = world.browser.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


def test_secrets_are_new_each_time() -> None:
    first, second = Secrets(), Secrets()
    made = [getattr(secrets, name) for secrets in (first, second) for name in ("place", "token", "once", "session")]
    assert len(set(made)) == 8
    assert min(map(len, made)) >= 32
    assert not any(secret in repr(first) for secret in made)
