"""`wherry notebook`: a real JupyterLab beside a project's packages, asked over HTTP, run by nbconvert, ended by Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

from tests.flow.conftest import Wherry
from tests.simulators.python_index import PythonIndex
from wherry.declare.code import code_files
from wherry.declare.project import read_declaration

pytestmark = pytest.mark.network

CELL = """import os, sys, tinyone, pathlib
pathlib.Path("../data/out.txt").write_text(tinyone.VERSION)
print(tinyone.VERSION, pathlib.Path(tinyone.__file__).parents[4], os.environ.get("PYTHONNOUSERSITE"))"""


@pytest.fixture
def author(wherry: Wherry, index: PythonIndex) -> Wherry:
    """Somebody whose indexes are those of this machine, and one with the project's package."""
    env = {key: value for key, value in wherry.env.items() if key != "UV_DEFAULT_INDEX"}
    return Wherry(store=wherry.store, cache=wherry.cache, env={**env, "UV_INDEX": index.url})


@contextmanager
def notebook_server(author: Wherry, project: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running command, and the address that it prints."""
    log = project.parent / "server.log"
    with log.open("a") as output:
        running = author.start("notebook", "--no-browser", *words, cwd=project, stderr=output)
    try:
        assert running.stdout is not None
        url = running.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), log.read_text()
        yield running, url
    finally:
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130, log.read_text()
        assert running.stdout is not None
        running.stdout.close()


def answer_of(url: str, method: str = "GET", body: bytes | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, method=method), timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def processes_of(folder: Path) -> list[str]:
    """Command lines of running programs that name a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


def test_jupyterlab_in_the_projects_environment(author: Wherry, project: Path) -> None:
    (project / "notebooks").mkdir()
    (project / "data").mkdir()
    place = project / "notebooks/look.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)]), place)
    overlay = project / ".wherry/notebook"

    with notebook_server(author, project) as (_, url):
        address, _, token = url.partition("/lab?token=")
        assert len(token) == 48
        assert answer_of(f"{address}/api/contents") == 403
        assert answer_of(f"{address}/api/contents/notebooks/look.ipynb?token={token}") == 200
        assert answer_of(url) == 200
        assert answer_of(f"{address}/api/kernels?token={token}", "POST") == 201
        assert any("ipykernel_launcher" in words for words in processes_of(overlay))
        assert not any(token in words for words in processes_of(overlay))
    assert processes_of(overlay) == []

    argv = [overlay / "bin/jupyter-nbconvert", "--to", "notebook", "--execute", "--inplace", place]
    done = subprocess.run(argv, env=author.environment(), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    said = nbformat.read(place, as_version=4).cells[0].outputs[0].text.split()
    assert said[:2] == ["1.0", str(project / ".wherry/env")]
    assert (project / "data/out.txt").read_text() == "1.0"
    assert place.stat().st_uid == os.getuid()

    lock = (project / "wherry.lock.notebook").read_bytes()
    assert b'name = "jupyterlab"' in lock
    assert b"tinyone" not in lock
    assert b"jupyter" not in (project / "wherry.lock").read_bytes()
    names = {file.path for file in code_files(read_declaration(project, author.environment()))}
    assert names == {"main.py", "requirements.txt", "notebooks/look.ipynb", "data/out.txt"}

    before = (overlay / "wherry-notebook.json").stat().st_mtime_ns
    with notebook_server(author, project) as (_, again):
        assert again.partition("token=")[2] != token
    assert (overlay / "wherry-notebook.json").stat().st_mtime_ns == before
    assert (project / "wherry.lock.notebook").read_bytes() == lock


def test_packages_that_do_not_go_together_are_refused(author: Wherry, project: Path, index: PythonIndex) -> None:
    (project / "requirements.txt").write_text("tinyone==1.0\ntraitlets==4.0.0\n")
    author.ok("lock", cwd=project)
    said = author.refused("notebook", "--no-browser", cwd=project, code=11)
    assert "JupyterLab does not go together with the project's packages" in said
    assert not (project / "wherry.lock.notebook").exists()
