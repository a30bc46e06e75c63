"""Notebooks in containers: a kernel that any Jupyter starts, executed by the real nbconvert, in real engines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import KernelManager

from tests.conftest import require_tool
from tests.engines.daemons import run_podman
from tests.engines.registry_fixture import run_registry
from tests.flow.conftest import PROGRAM, Seed, Wherry, copy_store, write_project
from tests.flow.test_notebook_command import answer_of, notebook_server, processes_of
from tests.unit.run.test_container_session import free_ports

pytestmark = [pytest.mark.network, pytest.mark.engine, pytest.mark.xdist_group("engines")]

# Bytecode of JupyterLab would be made for this test alone.
SETTINGS = 'name = "anomaly"\nbytecode = "none"\n'
CELL = """import os, pathlib, sys, tinyone
pathlib.Path("../data/out.txt").write_text(tinyone.VERSION)
try:
    pathlib.Path("../main.py").write_text("")
except OSError as error:
    refused = type(error).__name__
print(tinyone.VERSION, sys.executable, os.getcwd(), refused)"""
COLLEAGUE = 12345
# Whose monitor outlives its client, so that what is to end with us does not by itself.
only_podman = pytest.mark.parametrize("engine", ["podman"], indirect=True)


@pytest.fixture(scope="module")
def author(seed: Seed, tmp_path_factory: pytest.TempPathFactory) -> Wherry:
    """Somebody whose indexes are those of this machine, and one with the project's package; one store for the whole module."""
    home = tmp_path_factory.mktemp("author")
    copy_store(seed.wherry.store, home / "store")
    env = {key: value for key, value in seed.wherry.env.items() if key != "UV_DEFAULT_INDEX"}
    mine = {"UV_INDEX": seed.index.url, "JUPYTER_DATA_DIR": str(home / "jupyter")}
    return replace(seed.wherry, store=home / "store", env={**env, **mine})


@pytest.fixture(scope="module")
def place(author: Wherry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a notebook, not locked yet."""
    root = write_project(tmp_path_factory.mktemp("place") / "project", {"wherry.toml": SETTINGS, "notebooks/look.ipynb": ""})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    nbformat.write(notebook, root / "notebooks/look.ipynb")
    (root / "data").mkdir()
    return root


@pytest.fixture(scope="module", params=["bubblewrap", "podman"])
def engine(request: pytest.FixtureRequest, author: Wherry) -> Iterator[Wherry]:
    require_tool("bwrap")
    with ExitStack() as stack:
        more = dict(stack.enter_context(run_podman()).env) if request.param == "podman" else {}
        containers = {key: value for key, value in more.items() if key.startswith("CONTAINER")}
        yield author.with_env(**containers, WHERRY_ENGINE=request.param)


def test_a_notebook_through_the_containers_kernel(engine: Wherry, place: Path) -> None:
    """The kernel's files are on the host afterwards, and belong to whoever executed the notebook."""
    told = engine.ok("notebook", "--kernels", cwd=place).split()
    assert [Path(folder).name for folder in told] == ["wherry-anomaly-local", "wherry-anomaly-container"]
    (place / "data/out.txt").unlink(missing_ok=True)
    argv = [Path(sys.executable).with_name("jupyter"), "nbconvert", "--to", "notebook", "--execute", "--inplace"]
    argv += ["--ExecutePreprocessor.kernel_name=wherry-anomaly-container", place / "notebooks/look.ipynb"]
    done = subprocess.run(argv, env=engine.environment(), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    said = nbformat.read(place / "notebooks/look.ipynb", as_version=4).cells[0].outputs[0].text
    assert said.split() == ["1.0", "/opt/env/bin/python", "/app/notebooks", "OSError"]
    assert (place / "data/out.txt").read_text() == "1.0"
    assert (place / "data/out.txt").stat().st_uid == os.getuid()

    assert b"jupyter" not in (place / "wherry.lock").read_bytes()


@only_podman
def test_interrupt_and_kill(engine: Wherry, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.ok("notebook", "--kernels", cwd=place)
    for key, value in engine.environment().items():
        monkeypatch.setenv(key, value)
    manager = KernelManager(kernel_name="wherry-anomaly-container")
    manager.start_kernel(env=engine.environment(), cwd=str(place))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)
        said: list[str] = []

        def hook(message: dict[str, object]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream" and isinstance(content, dict):
                said.append(str(content["text"]).strip())
                if said == ["begun"]:
                    manager.interrupt_kernel()

        code = "import time\nprint('begun', flush=True)\ntry:\n    time.sleep(300)\nexcept KeyboardInterrupt:\n    print('heard')"
        client.execute_interactive(code, output_hook=hook, timeout=120)
        assert said == ["begun", "heard"]
        assert processes_of(Path("/opt/notebook/start.py"))
        os.kill(manager.provisioner.pid, signal.SIGKILL)
        assert wait_until_gone(Path("/opt/notebook/start.py"))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


@only_podman
def test_jupyterlab_in_the_container(engine: Wherry, place: Path) -> None:
    (place / "notebooks/new.txt").unlink(missing_ok=True)
    with notebook_server(engine, place, "--on", "container") as (_, url):
        address, _, token = url.partition("/lab?token=")
        assert answer_of(url) == 200
        assert answer_of(f"{address}/api/contents") == 403
        content = json.dumps({"type": "file", "format": "text", "content": "mine"}).encode()
        assert answer_of(f"{address}/api/contents/notebooks/new.txt?token={token}", "PUT", content) == 201
        assert answer_of(f"{address}/api/kernels?token={token}", "POST") == 201
        assert not processes_of(Path(token))
    assert wait_until_gone(Path("/opt/notebook/start.py"))
    assert (place / "notebooks/new.txt").read_text() == "mine"
    assert (place / "notebooks/new.txt").stat().st_uid == os.getuid()


def test_a_shared_notebook(author: Wherry, place: Path, tmp_path: Path) -> None:
    """What a colleague has who knows docker's commands alone, and one who has wherry."""
    (place / "notebooks/shown.txt").write_text("from the project")
    (tmp_path / "notebooks").mkdir()
    os.chown(tmp_path / "notebooks", COLLEAGUE, COLLEAGUE)
    (port,) = free_ports(1)
    with run_registry(tmp_path / "registry") as registry, run_podman((registry.host,)) as podman:
        reference = f"{registry.host}/anomaly-notebook:1"
        author.ok("push", "--notebook", reference, cwd=place)
        argv = ["podman", "run", "--rm", "-p", f"127.0.0.1:{port}:8888", "-v", f"{tmp_path}/notebooks:/work/notebooks", reference]
        try_notebook(argv, dict(podman.env), tmp_path, port)
        assert (tmp_path / "notebooks/fresh.txt").stat().st_uid == COLLEAGUE
        assert (tmp_path / "notebooks/shown.txt").read_text() == "from the project"

        colleague = replace(author, store=tmp_path / "store").with_env(**podman.env)
        here = tmp_path / "elsewhere"
        here.mkdir()
        argv = [str(PROGRAM), "run", "--on", "podman", "-p", f"127.0.0.1:{port}:8888", "--image", reference]
        try_notebook(argv, colleague.environment(), here, port)
        assert (here / "notebooks/fresh.txt").read_text() == "mine"
    assert "jupyterlab" not in (place / "wherry.lock").read_text()
    assert "notebook" not in author.ok("image", "inspect", "anomaly", "--json", cwd=place)


def try_notebook(argv: list[str], env: dict[str, str], folder: Path, port: int) -> None:
    """Start it, open it with its token and without, write a file."""
    with (folder / "log").open("w") as log:
        running = subprocess.Popen(argv, env=env, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert running.stdout is not None
        address, _, token = running.stdout.readline().strip().replace(":8888", f":{port}").partition("/lab?token=")
        assert len(token) == 48, (folder / "log").read_text()
        wait_for_answer(address)
        assert answer_of(f"{address}/lab?token={token}") == 200
        assert answer_of(f"{address}/api/contents") == 403
        content = json.dumps({"type": "file", "format": "text", "content": "mine"}).encode()
        assert answer_of(f"{address}/api/contents/notebooks/fresh.txt?token={token}", "PUT", content) == 201
        assert answer_of(f"{address}/api/contents/data/fresh.txt?token={token}", "PUT", content) == 201
    finally:
        running.terminate()
        running.wait(60)
        assert running.stdout is not None
        running.stdout.close()


def wait_for_answer(address: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            answer_of(f"{address}/api")
        except OSError:
            time.sleep(0.1)
        else:
            return


def wait_until_gone(program: Path) -> bool:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if not processes_of(program):
            return True
        time.sleep(0.05)
    return False
