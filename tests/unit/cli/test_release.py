"""`wherry release` as an operator types it: what it will cost, what it refuses, what then lies in the channel."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.simulators.releases import AMD64, Files, Operator
from wherry.cli.release import register
from wherry.deliver.channel import read_channel
from wherry.deliver.metadata import read_release
from wherry.errors import BudgetError, FormatError, StoreError, TrustError, UsageError
from wherry.store.archive import save_image

BIG = {"lib/data": random.Random(1).randbytes(90_000)}


def model(number: int) -> Files:
    return {"app/model": random.Random(number).randbytes(300)}


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    monkeypatch.setenv("WHERRY_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("WHERRY_KEYS", str(tmp_path / "keys"))
    monkeypatch.chdir(tmp_path)
    operator = Operator(tmp_path)
    operator.build([BIG, model(1)], "app:1")
    operator.build([BIG, model(2)], "app:2")
    return operator


def release(*words: str) -> str:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    done = CliRunner().invoke(app, ["release", *words, "--channel", "channel"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def release_json(*words: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(release(*words, "--json"))
    return document


def read_files(operator: Operator) -> dict[str, bytes]:
    files = (path for path in operator.channel.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(operator.channel)): path.read_bytes() for path in files}


def test_what_it_will_cost_is_what_it_costs(operator: Operator) -> None:
    release("app:1")
    before = read_files(operator)
    planned = release_json("app:2", "--dry-run", "--devices", "100000")
    assert (planned["dry_run"], planned["release"]) == (True, 2)
    assert read_files(operator) == before
    done = release_json("app:2")
    (update,) = done["updates"]
    assert update["parcel"] == operator.parcel("app:1").stat().st_size
    assert abs(planned["updates"][0]["parcel"] - update["parcel"]) <= 16
    assert update["documents"] + sum(layer["size"] for layer in update["layers"]) == update["parcel"]
    assert update["parcel"] < update["socket_estimated"] < update["wire_estimated"] < update["pull_estimated"]
    assert update["pull_estimated"] < 90_000 < update["single_layer_pull_estimated"]
    cost = planned["updates"][0]["cost"]
    assert cost["update"]["devices"] == 100_000
    assert float(cost["update"]["amount"]) < float(cost["pull"]["amount"]) < float(cost["single_layer"]["amount"])
    assert [poll["parcel"] for poll in done["polls"]] == [operator.parcel("app:2").stat().st_size]
    assert [full["parcel"] for full in done["full"]] == [operator.parcel(None).stat().st_size]


def test_people_see_bases_causes_and_money(operator: Operator) -> None:
    assert "no device can have a former release" in release("app:1")
    shown = release("app:2", "--dry-run", "--devices", "1000", "--price-per-gb", "25")
    for words in ("linux/amd64", "from release 1", "app/model", "signatures, manifest and config", "docker pull of it"):
        assert words in shown
    assert "USD for 1,000 devices (25 per GB)" in shown


def test_a_dry_run_needs_no_keys(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHERRY_KEYS")
    assert release_json("app:1", "--dry-run")["updates"] == []
    with pytest.raises(UsageError, match="no folder with keys"):
        release("app:1")


def test_too_large_an_update_is_refused_and_nothing_done(operator: Operator) -> None:
    release("app:1", "--max-update", "1KB")
    before = read_files(operator)
    operator.build([BIG, {"app/model": random.Random(3).randbytes(60_000)}], "app:3")
    with pytest.raises(BudgetError, match=r"from release 1 has 60,\d\d\d bytes, 50,000 are allowed; 60,\d\d\d of them") as caught:
        release("app:3", "--max-update", "50KB")
    assert caught.value.exit_code == 19
    assert read_files(operator) == before
    release("app:3", "--max-update", "70 KB")


def test_devices_that_would_take_the_full_parcel_count_too(operator: Operator) -> None:
    release("app:1")
    (image,) = operator.find("app:1").images
    operator.store.path(image.manifest.layers[1].digest).unlink()
    with pytest.raises(BudgetError, match="1 of 2 layers of release 1 are gone"):
        release("app:2", "--max-update", "50KB")
    assert "1 of 2 layers of release 1 are gone" in release_json("app:2")["passed_over"][0]


@pytest.mark.parametrize(
    "words",
    [
        ("--max-update", "much"),
        ("--health", "ping:1"),
        ("--health", "http:"),
        ("--health", "http:web/ready"),
        ("--health", "http:99999/ready"),
        ("--health", "http:80/with spaces"),
        ("--health", "command: "),
        ("--health", "command:say 'it"),
        ("--health", "well"),
        ("--from", "last:two"),
    ],
)
def test_wrong_words_are_refused(operator: Operator, words: tuple[str, str]) -> None:
    with pytest.raises(UsageError):
        release("app:1", *words)


def test_health_checks_are_signed(operator: Operator) -> None:
    release("app:1", "--health", "command:python -c 'import app'", "--health-within", "60", "--health-for", "5")
    (target,) = read_release(read_channel(operator.channel))
    assert target.health is not None
    assert target.health.command == ("python", "-c", "import app")
    assert (target.health.within, target.health.seconds) == (60, 5)
    with pytest.raises(UsageError, match="1 second to a day"):
        release("app:1", "--health", "log:ready", "--health-within", "0")


def test_an_archive_of_any_builder(operator: Operator, tmp_path: Path) -> None:
    other = Operator(tmp_path / "other")
    for number in (1, 2):
        other.build([BIG, model(number)], f"theirs:{number}")
        with (tmp_path / f"{number}.tar").open("wb") as file:
            save_image(other.store, other.store.resolve(f"theirs:{number}"), file.write, name=f"theirs:{number}")
    release(str(tmp_path / "1.tar"))
    (update,) = release_json(str(tmp_path / "2.tar"))["updates"]
    assert update["parcel"] < 900
    (tmp_path / "none.tar").write_bytes(b"no archive")
    with pytest.raises(FormatError):
        release(str(tmp_path / "none.tar"))


def test_a_channel_without_keys_is_none(operator: Operator, tmp_path: Path) -> None:
    (operator.channel / "metadata/1.root.json").unlink()
    with pytest.raises(StoreError, match="no root"):
        release("app:1", "--dry-run")


def test_only_the_platform_asked_for(operator: Operator) -> None:
    with pytest.raises(StoreError, match="no image for linux/arm64: it has linux/amd64"):
        release("app:1", "--platform", "linux/arm64")
    release("app:1", "--platform", str(AMD64))


def test_keys_of_another_channel_do_not_sign(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Operator(tmp_path / "other")
    monkeypatch.setenv("WHERRY_KEYS", str(tmp_path / "other/keys"))
    before = read_files(operator)
    with pytest.raises(TrustError, match="not the one that these keys were made for"):
        release("app:1")
    assert read_files(operator) == before
