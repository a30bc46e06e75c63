"""The command line's tree: what is said of a command is what the command says, and nothing loads before it is named."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from wherry.cli.app import COMMANDS, app

START = "import sys; from wherry.cli.front import main; sys.argv[0] = 'wherry'; main()"


def wherry(*words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START, *words],
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def all_commands() -> list[tuple[tuple[str, ...], Any]]:
    """Every command by its words, groups too."""
    found: list[tuple[tuple[str, ...], Any]] = []

    def walk(words: tuple[str, ...], command: Any) -> None:
        found.append((words, command))
        if hasattr(command, "list_commands"):
            context = command.context_class(command, info_name="wherry")
            for name in command.list_commands(context):
                walk((*words, name), command.get_command(context, name))

    walk((), get_command(app))
    return found


COMMAND_LIST = all_commands()
NAMED = [pytest.param(words, command, id=" ".join(words)) for words, command in COMMAND_LIST if words]
SINGLE = [
    pytest.param(words, command, id=" ".join(words)) for words, command in COMMAND_LIST if not hasattr(command, "list_commands")
]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_command_is_its_own(name: str) -> None:
    command = dict(COMMAND_LIST)[(name,)]
    own = inspect.cleandoc(command.help).partition("\n\n")[0].replace("\n", " ")
    assert COMMANDS[name][1] == own


@pytest.mark.parametrize(("words", "command"), SINGLE)
def test_every_command_has_examples_that_name_it(words: tuple[str, ...], command: Any) -> None:
    assert "\b\nExamples:\n" in (command.epilog or "")
    assert " ".join(("wherry", *words)) in command.epilog


@pytest.mark.parametrize(("words", "command"), SINGLE)
def test_examples_use_options_that_exist(words: tuple[str, ...], command: Any) -> None:
    options = {name for parameter in command.params for name in parameter.opts + parameter.secondary_opts}
    for line in command.epilog.splitlines():
        line = line.partition("  #")[0].partition(" && ")[0].partition(" -- ")[0]
        for word in line.split():
            if word.startswith("--") and "wherry run python" not in line:
                assert word in options, line


@pytest.mark.parametrize(("words", "command"), NAMED)
def test_help_fits_80_columns_and_says_what_each_option_is(words: tuple[str, ...], command: Any) -> None:
    context = command.context_class(command, info_name=" ".join(("wherry", *words)), terminal_width=78)
    text = command.get_help(context)
    assert not [line for line in text.splitlines() if len(line) > 80]
    assert command.help
    silent = [parameter.name for parameter in command.params if not getattr(parameter, "help", None)]
    assert not silent


def test_help_imports_no_command() -> None:
    modules = sorted({module for names, _ in COMMANDS.values() for module in names})
    probe = (
        "import sys\n"
        "from wherry.cli.front import main\n"
        "sys.argv = ['wherry', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code\n"
        f"wrong = [name for name in {modules!r} if f'wherry.cli.{{name}}' in sys.modules]\n"
        "wrong += [name for name in ('rich', 'urllib3', 'asyncio', 'installer', 'wherry.pipeline') if name in sys.modules]\n"
        "assert not wrong, wrong\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"\n  {name}" in done.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("shell", "sign"), [("bash", "complete -o"), ("zsh", "#compdef wherry"), ("fish", "complete --command wherry")]
)
def test_completion_is_shown_and_not_installed(shell: str, sign: str, tmp_path: Path) -> None:
    # typer looks which shell started it; this variable of its own lets the shell be named.
    detect = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = wherry("--show-completion", shell, HOME=str(tmp_path), **detect)
    source = wherry(_WHERRY_COMPLETE=f"source_{shell}", HOME=str(tmp_path))
    assert shown.returncode == source.returncode == 0, shown.stderr + source.stderr
    assert shown.stdout.strip() == source.stdout.strip()
    assert sign in shown.stdout
    assert list(tmp_path.iterdir()) == []


def test_completion_names_the_commands() -> None:
    env = {"_WHERRY_COMPLETE": "complete_bash", "COMP_WORDS": "wherry ", "COMP_CWORD": "1"}
    done = wherry(**env)
    assert set(COMMANDS) <= set(done.stdout.split())


@pytest.mark.parametrize(
    "words", [("nope",), ("build", "--nope"), ("image", "nope"), ("lock", "a", "b"), ("push",), ("build", "--platform", "")]
)
def test_a_wrong_command_line_is_told_in_a_line(words: tuple[str, ...], tmp_path: Path) -> None:
    done = wherry(*words, cwd=tmp_path)
    assert done.returncode in (2, 10)
    assert done.stdout == ""
    assert "rror: " in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_command_ends_with_2() -> None:
    assert wherry("nope").returncode == 2


def test_no_command_shows_the_help() -> None:
    done = wherry()
    assert "Usage: wherry" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [(("build", "nowhere"), 10), (("image", "inspect", "nothing"), 13), (("push", "UPPER CASE"), 2), (("diff", "a", "b"), 13)],
)
def test_an_error_has_its_code_and_no_traceback(words: tuple[str, ...], code: int, tmp_path: Path) -> None:
    done = wherry(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_version() -> None:
    from wherry import __version__

    assert wherry("--version").stdout == f"wherry {__version__}\n"


def test_ctrl_c_ends_with_130_and_no_traceback(tmp_path: Path) -> None:
    """Interrupted while it reads an archive that never comes."""
    reader = subprocess.Popen(
        [sys.executable, "-c", START, "image", "load", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert reader.stdin is not None
    wait_for_read(reader)
    reader.send_signal(signal.SIGINT)
    _, talk = reader.communicate(timeout=60)
    assert reader.returncode == 130
    assert "Traceback" not in talk


def wait_for_read(process: subprocess.Popen[str]) -> None:
    """Until the process sleeps in a read of its stdin."""
    for _ in range(600):
        waits_in = Path(f"/proc/{process.pid}/wchan").read_text()
        if "pipe" in waits_in:
            return
        if process.poll() is not None:
            pytest.fail(f"it ended with {process.returncode}")
        time.sleep(0.1)
    pytest.fail("it never read its stdin")


def test_a_closed_pipe_is_no_error_of_ours() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"'{sys.executable}' -c \"{START}\" --help | true"], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_digest_is_no_name_to_choose_and_a_note_is_told_once(tmp_path: Path) -> None:
    done = wherry("build", "--offline", "--tag", "a@sha256:abc", cwd=tmp_path)
    assert done.returncode == 2
    assert "--tag: a digest cannot be chosen" in done.stderr
    told = wherry("build", "--offline", cwd=tmp_path, WHERRY_CACHE=str(tmp_path / "cache"), WHERRY_STORE=str(tmp_path / "store"))
    assert told.stderr.count("the image gets no packages") == 1
