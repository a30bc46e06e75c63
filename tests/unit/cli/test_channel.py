"""`wherry channel`: what its commands print, make and refuse."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import typer

from wherry.cli import channel as command
from wherry.cli import key_options
from wherry.errors import StoreError, TrustError, UsageError

PASSPHRASE = "correct horse battery"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHERRY_PASSPHRASE", PASSPHRASE)
    monkeypatch.delenv("WHERRY_KEYS", raising=False)
    return tmp_path


def run(*arguments: str) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    app(["channel", *arguments], standalone_mode=False)


def read_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    run(*arguments, "--json")
    return json.loads(capsys.readouterr().out)


def role_of(document: Any, role: str) -> Any:
    return next(each for each in document["roles"] if each["role"] == role)


def test_a_new_channel(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    run("keys", "init", "fleet", "--keys", "keys", "--targets", "3/2", "--timestamp-days", "7")
    printed = capsys.readouterr()
    assert printed.out == "fleet/metadata/1.root.json\n"
    assert (here / printed.out.strip()).read_bytes() == (here / "keys/root.json").read_bytes()
    status = read_json(capsys, "status", "fleet", "--keys", "keys")
    assert (len(role_of(status, "root")["keys"]), role_of(status, "root")["threshold"]) == (2, 1)
    assert (len(role_of(status, "targets")["keys"]), role_of(status, "targets")["threshold"]) == (3, 2)
    assert (status["release"], status["platforms"]) == (None, [])
    run("check", "fleet")
    run("refresh", "fleet", "--keys", "keys")
    run("gc", "fleet", "--keep", "2w")
    run("status", "fleet")
    assert "targets    -       -" in capsys.readouterr().out


def test_a_channel_is_begun_once() -> None:
    run("keys", "init", "fleet", "--keys", "keys")
    with pytest.raises(UsageError, match="has keys already"):
        run("keys", "init", "fleet", "--keys", "others")
    with pytest.raises(UsageError, match="everybody reads"):
        run("keys", "init", "other", "--keys", "other/keys")
    with pytest.raises(UsageError, match="another channel's"):
        run("keys", "init", "other", "--keys", "keys")
    run("refresh", "fleet", "--keys", "keys")


def test_keys_by_the_environment(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    with pytest.raises(UsageError, match="no folder with keys"):
        run("keys", "init", "fleet")
    monkeypatch.setenv("WHERRY_KEYS", f"{here / 'mine'}:{here / 'stick'}")
    run("keys", "init", "fleet")
    assert sorted(path.name for path in here.iterdir()) == ["fleet", "mine"]


def test_other_keys(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    run("keys", "init", "fleet", "--keys", "keys")
    first = read_json(capsys, "status", "fleet")
    run("keys", "rotate", "fleet", "timestamp", "--keys", "keys")
    run("keys", "rotate", "fleet", "targets", "--keys", "keys", "--count", "2/2", "--days", "90")
    run("keys", "revoke", "fleet", role_of(first, "root")["keys"][0][:8], "--keys", "keys")
    last = read_json(capsys, "status", "fleet", "--keys", "keys")
    assert role_of(last, "root")["number"] == 4
    assert not set(role_of(first, "timestamp")["keys"]) & set(role_of(last, "timestamp")["keys"])
    assert len(role_of(last, "targets")["keys"]) == 2
    assert len(set(role_of(first, "root")["keys"]) & set(role_of(last, "root")["keys"])) == 1
    assert len(list((here / "keys/retired").iterdir())) == 3


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["keys", "init", "new", "--keys", "k", "--root", "2/3"], UsageError),
        (["keys", "init", "new", "--keys", "k", "--root", "many"], UsageError),
        (["keys", "rotate", "fleet", "captain", "--keys", "keys"], UsageError),
        (["keys", "revoke", "fleet", "zz", "--keys", "keys"], UsageError),
        (["keys", "rotate", "fleet", "root", "--keys", "nowhere"], StoreError),
        (["status", "nowhere"], StoreError),
        (["gc", "fleet", "--keep", "soon"], UsageError),
    ],
)
def test_what_is_refused_makes_nothing(here: Path, words: list[str], error: type[Exception]) -> None:
    run("keys", "init", "fleet", "--keys", "keys")
    before = sorted(here.rglob("*.*"))
    with pytest.raises(error):
        run(*words)
    assert sorted(here.rglob("*.*")) == before


def test_a_wrong_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    run("keys", "init", "fleet", "--keys", "keys")
    monkeypatch.setenv("WHERRY_PASSPHRASE", "wrong horse battery")
    with pytest.raises(UsageError, match="passphrase is wrong"):
        run("keys", "rotate", "fleet", "timestamp", "--keys", "keys")
    monkeypatch.delenv("WHERRY_PASSPHRASE")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(UsageError, match="nobody is here"):
        run("keys", "rotate", "fleet", "timestamp", "--keys", "keys")


def test_a_person_gives_a_new_passphrase_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHERRY_PASSPHRASE")
    answers = iter([PASSPHRASE, PASSPHRASE, PASSPHRASE, "another one", ""])
    monkeypatch.setattr(key_options, "_prompt", lambda _text: next(answers))
    assert key_options.ask_new_passphrase("root") == PASSPHRASE
    with pytest.raises(UsageError, match="differ"):
        key_options.ask_new_passphrase("root")
    assert key_options.ask_new_passphrase("targets") == ""


def test_a_check_that_finds_something(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run("keys", "init", "fleet", "--keys", "keys")
    monkeypatch.setattr("wherry.deliver.channel_check.check_channel", lambda *_: ("full: missing",))
    capsys.readouterr()
    with pytest.raises(TrustError, match="1 of its parts"):
        run("check", "fleet")
    assert capsys.readouterr().out == "full: missing\n"
