"""A program sealed off by a real bubblewrap: what it sees, how it ends, and what is said where there can be no sandbox."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import require_tool
from wherry.engines.sealed import TAIL, SealedEnd, SealedFolder, run_sealed
from wherry.errors import EngineError

pytestmark = pytest.mark.engine


def run(script: str, *folders: SealedFolder, timeout: float = 30, **env: str) -> SealedEnd:
    require_tool("bwrap")
    command = ("/bin/sh", "-c", script)
    return run_sealed(
        Path("/"), command, folders, workdir="/tmp", variables={"A": "1"}, env={**os.environ, **env}, timeout=timeout, room=1 << 30
    )


def test_only_what_is_placed_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    shown = SealedFolder(source=tmp_path / "in", target="/work/in")
    given = SealedFolder(source=tmp_path / "out", target="/work/out", writable=True)
    end = run("echo x >/work/out/made; echo x >/work/in/made; echo x >/usr/made; echo $A $HOME >&2; exit 3", shown, given)
    assert (end.code, end.in_time) == (3, True)
    assert end.output.endswith("\n1\n"), "no variable but those given"
    assert [path.name for path in tmp_path.rglob("made")] == ["made"]
    assert (tmp_path / "out" / "made").exists()


def test_the_end_of_much_output_is_kept() -> None:
    end = run("i=0; while [ $i -lt 9000 ]; do echo 'a line of output'; i=$((i+1)); done; echo last")
    assert end.output.endswith("last\n")
    assert len(end.output) <= TAIL


def test_a_program_without_end_is_ended_with_its_children() -> None:
    end = run("sleep 600 & sleep 600", timeout=1)
    assert not end.in_time
    assert end.code != 0


def test_where_there_can_be_no_sandbox(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="bubblewrap is not installed"):
        run("true", PATH=str(tmp_path))
    refusing = tmp_path / "bwrap"
    refusing.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1\n")
    refusing.chmod(0o755)
    with pytest.raises(EngineError, match="the sandbox does not start: No permissions") as caught:
        run("true", PATH=f"{tmp_path}:/bin")
    assert "user namespaces" in str(caught.value)
