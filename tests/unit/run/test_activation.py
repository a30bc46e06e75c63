"""The hook, evaluated by real shells."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import cannot_run
from wherry.errors import UsageError
from wherry.run.activation import SHELLS, localise_variables, render_hook

ASKED = pytest.mark.engine  # not everywhere: installed with the engines
NASTY = 'it\'s "$HOME" `id` \\ ; *'


@pytest.mark.parametrize("shell", ["bash", "sh", pytest.param("zsh", marks=ASKED), pytest.param("fish", marks=ASKED)])
def test_in_and_out_again(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        cannot_run(f"no {shell}")
    prefix = tmp_path / "a place" / "env"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin/tool").write_text("#!/bin/sh\necho found\n")
    (prefix / "bin/tool").chmod(0o755)
    hook = tmp_path / "hook"
    hook.write_text(render_hook(shell, prefix, "anomaly", {"VALUE": NASTY, "not.exported": "x"}))
    source = "source" if shell == "fish" else "."
    show = "printenv VALUE; printenv VIRTUAL_ENV; printenv PYTHONNOUSERSITE; printenv PYTHONHOME; printenv PATH"
    script = f"{source} '{hook}'; {source} '{hook}'; tool; {show}; deactivate; echo OUT; {show}"
    env = {"PATH": "/usr/bin:/bin", "VALUE": "before", "PYTHONHOME": "/old", "HOME": str(tmp_path)}
    done = subprocess.run([str(program), "-c", script], capture_output=True, text=True, env=env, check=False)
    inside, _, outside = done.stdout.partition("OUT\n")
    assert inside.splitlines() == ["found", NASTY, str(prefix), "1", f"{prefix}/bin:/usr/bin:/bin"], done.stderr
    assert outside.splitlines() == ["before", "/old", "/usr/bin:/bin"]


def test_nothing_but_values_is_taken_from_a_record(tmp_path: Path) -> None:
    """A record lies in the project, which may be a stranger's."""
    for shell in SHELLS:
        text = render_hook(shell, tmp_path, "$(touch evil)", {"A;touch evil": "x", "B=$(touch evil)": "x"})
        assert "evil" not in text


def test_an_unknown_shell_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tcsh"):
        render_hook("tcsh", tmp_path, "x", {})


def test_paths_of_the_image_become_the_projects(tmp_path: Path) -> None:
    given = {"PYTHONPATH": "/app/src:/opt/x:/apple", "WORK": "/app", "URL": "http://host/app"}
    assert localise_variables(given, "/app", Path("/home/me/p")) == {
        "PYTHONPATH": "/home/me/p/src:/opt/x:/apple",
        "WORK": "/home/me/p",
        "URL": "http://host/app",
    }
