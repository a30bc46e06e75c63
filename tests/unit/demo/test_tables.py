"""What an update cost by each way, and how the demo shows it."""

from __future__ import annotations

from typing import Any

import pytest
from tools.demo.fleet import Update
from tools.demo.rivals import Pull, Rivals
from tools.demo.story import describe_release
from tools.demo.tables import print_report


def report(sick: dict[str, Any] | None) -> dict[str, Any]:
    update = Update(code=0, seconds=1.0, moved=10_000, after=0, ledger=10_000, said="updated")
    pull, one_layer = Pull(moved=30_000), Pull(moved=118_000_000)
    rival = Rivals(docker=pull, skopeo=pull, one_layer=one_layer, recipe=Pull(note="not run: no buildah"))
    return {
        "host": "linux/amd64",
        "engine": "bubblewrap",
        "cache": "empty",
        "device": "podman",
        "client": "docker pull",
        "seconds": 180.0,
        "steps": [{"name": "lock", "seconds": 1.5, "moved": None, "single_seconds": None, "single_bytes": None, "note": ""}],
        "estimates": [{"release": 2, "platform": "linux/arm64", "pull": 35_000}],
        "first": {"moved": 87_000_000},
        "updates": [describe_release(2, update, 4_757, rival)],
        "sick": sick,
    }


def test_money_and_ratios_are_those_of_the_bytes_that_were_counted() -> None:
    ways = report(None)["updates"][0]["ways"]
    assert ways["wherry"] == {"moved": 10_000, "times": 1.0, "cost": {"1000": "0.25", "100000": "25.00"}}
    assert ways["one_layer"] == {"moved": 118_000_000, "times": 11_800.0, "cost": {"1000": "2950.00", "100000": "295000.00"}}
    assert ways["recipe"] == {"moved": None, "note": "not run: no buildah"}


def test_what_was_not_run_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(report(None))
    shown = capsys.readouterr().out
    assert "not run: no buildah" in shown
    assert "a sick release taken back: not run" in shown


def test_the_table_shows_each_way(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(report({"release": 4, "reason": "the container has ended", "moved": 9_000, "moved_to_go_back": 0}))
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if "docker pull, one layer" in line)
    assert row.split()[-4:] == ["118,000,000", "11,800.0", "2,950.00", "295,000.00"]
    assert "9,000 bytes to come, 0 bytes to go back" in shown
