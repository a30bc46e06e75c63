"""The program's words, its exit codes, and what it does not load."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.simulators.tuf_repository import TufRepository
from wherry.agent.front import run_agent
from wherry.agent.unit import render_unit

DOCS = Path(__file__).parents[3] / "docs"
# What a device has no room for, and what only children of the supervisor may load.
HEAVY = {"typer", "rich", "uv", "lief", "obstore", "urllib3", "msgspec", "asyncio", "tuf", "securesystemslib", "cryptography"}
HEAVY |= {"ssl", "http", "backports.zstd", "compression.zstd", "zlib_ng"}


@pytest.fixture
def agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    (tmp_path / "agent.toml").write_text('engine = "bubblewrap"\nstate = "state"\n')

    def run(*words: str) -> tuple[int, str, str]:
        code = run_agent(["--config", str(tmp_path / "agent.toml"), *words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_a_device_that_has_nothing(agent: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = agent("status", "--json")
    status = json.loads(out)
    assert code == 0
    assert (status["version"], status["current"], status["former"], status["pending"], status["refused"]) == (
        1,
        None,
        None,
        None,
        [],
    )
    assert "on: nothing yet" in agent("status")[1]
    code, _, err = agent("rollback")
    assert (code, "no former image" in err) == (17, True)
    code, out, _ = agent("doctor")
    assert code == 17
    assert "root.json is missing" in out
    assert json.loads(agent("ledger", "--json")[1])["wire"] == 0
    assert "0 bytes at the socket" in agent("ledger")[1]


def test_a_place_where_nothing_can_be_written(agent: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """What is to be done is said in the device's own words."""
    (tmp_path / "agent.toml").write_text('engine = "bubblewrap"\nstate = "file/state"\n')
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "parcel").write_bytes(b"any")
    code, _, err = agent("apply", str(tmp_path / "parcel"))
    assert (code, "agent.toml" in err) == (13, True), err


def test_errors_have_their_codes(agent: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "no-parcel").write_bytes(b"nothing of ours")
    assert agent("apply", str(tmp_path / "no-parcel"))[0] == 17  # no root
    (tmp_path / "root.json").write_bytes(b"{}")
    assert agent("apply", str(tmp_path / "no-parcel"))[0] == 15
    (tmp_path / "root.json").write_bytes(TufRepository().roots[0])
    assert agent("apply", str(tmp_path / "no-parcel"))[0] == 12
    assert agent("apply", str(tmp_path / "missing"))[0] == 13
    assert agent("once")[0] == 17  # no channel
    assert run_agent(["--config", str(tmp_path / "none.toml"), "status"]) == 17
    with pytest.raises(SystemExit) as caught:
        agent("fly")
    assert caught.value.code == 2


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(f'engine = "bubblewrap"\nstate = "{tmp_path}/state"\n')
    code = "from wherry.agent.front import main; main()"
    words = [sys.executable, "-c", code, "--config", str(tmp_path / "agent.toml"), "status"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_every_command_is_in_the_reference(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_agent(["--help"])
    commands = re.findall(r"^    (\w+) +\w", capsys.readouterr().out, re.MULTILINE)
    shown = re.findall(r"^\| `(\w+)", (DOCS / "reference/agent.md").read_text(), re.MULTILINE)
    assert commands
    assert sorted(commands) == sorted(set(shown) & set(commands))
    assert len(commands) == 10


def test_a_unit(agent: Callable[..., tuple[int, str, str]]) -> None:
    assert "ExecStart=" in agent("unit")[1]
    unit = render_unit(Path("/opt/my tools/wherry-agent"), Path("/etc/wherry/agent.toml"))
    assert 'ExecStart="/opt/my tools/wherry-agent" --config /etc/wherry/agent.toml run' in unit


def test_the_supervisor_is_light(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(f'engine = "bubblewrap"\nstate = "{tmp_path}/state"\n')
    words = ["--config", str(tmp_path / "agent.toml"), "status"]
    code = (
        f"import json, sys; from wherry.agent.front import run_agent; run_agent({words!r}); print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert not HEAVY & set(json.loads(done.stdout.splitlines()[-1]))
