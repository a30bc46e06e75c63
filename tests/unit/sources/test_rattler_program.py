from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tools.conda_channel.evil import write_evil_package

from wherry.errors import FormatError, LockError, StoreError, UsageError, WherryError
from wherry.sources import rattler_program, rattler_worker
from wherry.sources.rattler_program import run_rattler

pytest.importorskip("rattler")


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a module with the given body in the worker's place."""

    def write(body: str) -> None:
        (tmp_path / "stand_in.py").write_text("import json, os, signal, sys, time\n" + textwrap.dedent(body))

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(rattler_program, "WORKER", "stand_in")
    return write


def test_the_answer_comes_back(worker):
    worker('print(json.dumps({"result": {"command": sys.argv[1], "asked": json.load(sys.stdin)}}))')
    assert run_rattler("solve", {"specs": ["α"]}, timeout=20) == {"command": "solve", "asked": {"specs": ["α"]}}


def test_an_error_raised_on_purpose_arrives_as_itself(worker):
    worker('print(json.dumps({"error": {"kind": "LockError", "what": "no", "where": "environment.yml:3", "hint": "less"}}))')
    with pytest.raises(LockError) as caught:
        run_rattler("solve", {}, timeout=20)
    assert (caught.value.what, caught.value.where, caught.value.hint) == ("no", "environment.yml:3", "less")


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("os.abort()", FormatError, "SIGABRT"),
        ("sys.exit('thread main panicked at https://u:SECRET@host/t/SECRET/x')", FormatError, "panicked at https://host/x"),
        ("os.kill(os.getpid(), signal.SIGKILL)", StoreError, "the system ended"),
        ("time.sleep(60)", FormatError, "did not finish"),
        ("print('nonsense')", FormatError, "no answer"),
        ("print('[]')", FormatError, "no answer"),
        ("""print('{"error": {"kind": "KeyboardInterrupt", "what": "x"}}')""", FormatError, "no answer"),
        ("""print('{"result": 3}')""", FormatError, "no answer"),
        ("", FormatError, "no answer"),
    ],
)
def test_a_process_that_fails_is_an_error_and_never_ours(worker, body: str, kind: type[WherryError], words: str):
    worker(body)
    with pytest.raises(kind, match=words) as caught:
        run_rattler("stage", {}, timeout=0.5 if "sleep" in body else 20)
    assert "SECRET" not in str(caught.value)


def test_a_package_that_aborts_py_rattler_itself_leaves_us_alive(tmp_path: Path):
    """The real one: an absolute path in `paths.json`. Nobody gets there, because the archive is inspected before.

    Most often the process aborts; sometimes another of its threads tells of the panic first.
    """
    archive = write_evil_package(tmp_path, "absolute path")
    digest, size = hashlib.sha256(archive.read_bytes()).hexdigest(), archive.stat().st_size
    record = {"archive": str(archive), "file": archive.name, "subdir": "noarch", "sha256": digest, "size": size}
    (tmp_path / "staging").mkdir()
    request = {"folder": str(tmp_path / "staging"), "prefix": "/opt/conda", "python": None, "records": [record]}
    with pytest.raises(FormatError, match=r"SIGABRT|cannot lay it out"):
        run_rattler("stage", request, timeout=60)


def test_the_users_own_configuration_does_not_reach_it(worker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "12")
    monkeypatch.setenv("RATTLER_AUTH_FILE", "/nowhere")
    worker('print(json.dumps({"result": {"seen": [n for n in os.environ if n.startswith(("CONDA_", "RATTLER_"))]}}))')
    assert run_rattler("solve", {}, timeout=20) == {"seen": []}


def test_the_worker_loads_a_command_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "loud.py").write_text(
        "print('loading')\ndef answer(request):\n    print('noise')\n    return {'twice': request['n'] * 2}\n"
    )
    (tmp_path / "entry.py").write_text(
        "from wherry.sources import rattler_worker\nrattler_worker._COMMANDS['solve'] = ('loud', 'answer')\nrattler_worker.main()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(rattler_program, "WORKER", "entry")
    assert run_rattler("solve", {"n": 4}, timeout=20) == {"twice": 8}


def test_what_a_library_raises_is_told_without_credentials(monkeypatch: pytest.MonkeyPatch):
    def fail(_request: dict[str, object]) -> dict[str, object]:
        raise OSError("failed to parse https://u:SECRET@host/t/SECRET/noarch/repodata.json at line 9")

    monkeypatch.setattr(rattler_worker, "_find_command", lambda _command: fail)
    problem = rattler_worker.answer_request("solve", {})["error"]
    assert problem["what"] == "py-rattler cannot solve: OSError: failed to parse https://host/noarch/repodata.json at line 9"


def test_an_unknown_command_is_told():
    assert "no such command" in rattler_worker.answer_request("dance", {})["error"]["what"]


def test_without_py_rattler_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "rattler", None)
    with pytest.raises(UsageError, match=r"wherry\[conda\]"):
        run_rattler("solve", {}, timeout=1)


def test_it_ends_with_a_parent_that_is_killed():
    """Its stdout closes when it is gone: it holds the only other end."""
    child = "from wherry.store.posix import end_with_parent; end_with_parent(); print('ready', flush=True); input()"
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    with subprocess.Popen(
        [sys.executable, "-c", parent, child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
        assert process.stdout.read() == ""
