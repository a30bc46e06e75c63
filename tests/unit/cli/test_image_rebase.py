"""`wherry image rebase` as a person types it: what it names, prints, documents and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.unit.rebasing_images import OWN_ENV, base_files, environment_files, open_store, put_family, put_image
from wherry.cli import image, image_rebase
from wherry.errors import CheckError, UsageError


def run(*arguments: str) -> Any:
    app = typer.Typer()
    app.callback()(lambda: None)
    image.register(app)
    image_rebase.register(app)
    return app(["image", "rebase", *arguments], standalone_mode=False)


def test_it_names_the_result_and_says_what_moves(capsys: pytest.CaptureFixture[str]) -> None:
    store, _ = open_store()
    put_family(store)
    before = store.resolve("app:1")
    run("app:1", "--onto", "new:1", "--from", "old:1", "-t", "app:2", "--dry-run", "--json")
    (planned,) = json.loads(capsys.readouterr().out)["images"]
    assert "app:2" not in store.names()
    run("app:1", "--onto", "new:1", "--from", "old:1", "-t", "app:2")
    out, talk = capsys.readouterr()
    assert out.strip() == str(store.resolve("app:2").digest) == planned["manifest"]
    assert "2 of 3 layers are its own; whoever has the former image lacks " in talk
    assert store.resolve("app:1") == before
    run("app:1", "--onto", "new:1", "--from", "old:1")
    assert store.resolve("app:1").digest == store.resolve("app:2").digest


def test_what_does_not_fit_is_listed_and_nothing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    store, _ = open_store()
    put_family(store, libraries=())
    words = ("app:1", "--onto", "new:1", "--from", "old:1", "-t", "app:2")
    assert run(*words) == CheckError.exit_code
    out = capsys.readouterr().out
    assert "libgomp.so.1 is not there: import sklearn._tree fails" in out
    assert "app:2" not in store.names()
    assert run(*words, "--json") == CheckError.exit_code
    document = json.loads(capsys.readouterr().out)
    assert (document["name"], document["images"][0]["findings"][0]["rule"]) == (None, "missing-library")
    run(*words, "--ignore", "missing-library:libgomp.so.1")
    assert "app:2" in store.names()


def test_new_files_on_the_former_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, _ = open_store()
    layers = [base_files(), environment_files(), {"app/models/a.bin": b"one"}]
    former = put_image(store, "iot:1", layers, env=OWN_ENV, settings={"WorkingDir": "/app"})
    (tmp_path / "models").mkdir()
    (tmp_path / "models/a.bin").write_bytes(b"two")
    run(str(tmp_path), "--from-image", "iot:1", "--take", "models", "-t", "iot:2", "--json")
    document = json.loads(capsys.readouterr().out)
    (planned,) = document["images"]
    assert (document["name"], planned["layers"], len(planned["own_layers"])) == ("iot:2", len(former.manifest.layers) + 1, 1)


@pytest.mark.parametrize(
    "words",
    [
        ("app:1",),
        ("app:1", "--onto", "a", "--from-image", "b", "--take", "x"),
        ("app:1", "--from-image", "b"),
        ("app:1", "--take", "x"),
        ("app:1", "--onto", "a", "--take", "x"),
        ("app:1", "--from-image", "b", "--take", "x", "--from", "c"),
        (".", "--from-image", "b", "--take", "x"),
        ("app@sha256:" + "0" * 64, "--onto", "b"),
    ],
)
def test_half_a_wish_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        run(*words)
