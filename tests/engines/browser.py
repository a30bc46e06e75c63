"""A real Chromium before a real `wherry ui`, over jobs that really run: all of it on loopback, ended with the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.conftest import require_tool
from tests.unit.run.test_local_backend import make_environment
from wherry.jobs import Jobs, JobWish
from wherry.model.job import BackendKind, JobRecord, Target
from wherry.run.backends.local import LocalBackend

_QUIET = ("gpu", "quic", "background-networking", "component-update", "sync", "dev-shm-usage")
ARGUMENTS = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in _QUIET)]
_LOCAL = Target(name="local", backend=BackendKind.LOCAL)


@contextmanager
def open_chromium() -> Iterator[Browser]:
    require_tool("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass(kw_only=True)
class Harbour:
    """A place with jobs, and the page over it. `said` is what browsers complained of, and whom else they asked."""

    place: Path
    browser: Browser
    address: str = ""
    said: list[str] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        places = {"WHERRY_JOBS": "jobs", "WHERRY_STORE": "store", "WHERRY_CACHE": "cache"}
        return {**os.environ, **{name: str(self.place / folder) for name, folder in places.items()}}

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.env)

    @contextmanager
    def serve(self) -> Iterator[subprocess.Popen[str]]:
        """`wherry ui`, until the end of the block."""
        words = [Path(sys.executable).with_name("wherry"), "ui", "--no-browser"]
        server = subprocess.Popen(words, cwd=self.place, env=self.env, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            self.address = server.stdout.readline().strip()
            assert self.address.startswith("http://127.0.0.1:")
            yield server
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
            server.stdout.close()

    @contextmanager
    def visit(self, path: str = "jobs", **options: object) -> Iterator[Page]:
        """A page in a browser that was let in."""
        context: BrowserContext = self.browser.new_context(**options)  # type: ignore[arg-type]
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self._note(request.url))
        try:
            page.goto(self.address)
            page.wait_for_url("**/jobs")
            if path != "jobs":
                page.goto(page.url.removesuffix("jobs") + path)
            yield page
        finally:
            context.close()

    def _note(self, url: str) -> None:
        if not url.startswith(self.address.partition("?")[0]):
            self.said.append(f"asked {url}")

    def begin_job(self, script: str, *words: str) -> JobRecord:
        prefix = self.place / "env"
        wish = JobWish(root=self.place, name="anomaly", target=_LOCAL, command=("sh", "-c", script, *words))
        return self.jobs.begin(wish, lambda then: LocalBackend(self.env, lambda: (prefix, make_environment(prefix)), then=then))
