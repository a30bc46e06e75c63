"""What an update would weigh is what it weighs when it is released."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.simulators.releases import Operator
from tests.simulators.tuf_repository import NOW
from wherry.cli.diff import register
from wherry.deliver.update_weight import weigh_update
from wherry.errors import StoreError
from wherry.store.images import StoredImage

BIG = {"lib/data": random.Random(1).randbytes(50_000)}


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    operator = Operator(tmp_path)
    for number in (1, 2):
        operator.build([BIG, {"app/model": random.Random(number).randbytes(300)}], f"app:{number}")
    return operator


def images(operator: Operator) -> tuple[StoredImage, StoredImage]:
    return operator.find("app:1").images[0], operator.find("app:2").images[0]


def test_it_weighs_what_a_release_of_it_does(operator: Operator) -> None:
    base, target = (image.manifest.digest for image in images(operator))
    weighed = weigh_update(operator.store, base, target, NOW)
    operator.release("app:1")
    (released,) = operator.order("app:2").costs.updates
    assert abs(weighed.size - released.size) <= 24
    assert weighed.parts == released.parts
    assert weigh_update(operator.store, target, target, NOW).size < 320


def test_layers_that_are_not_here(operator: Operator) -> None:
    base, target = images(operator)
    operator.store.path(base.manifest.layers[1].digest).unlink()
    with pytest.raises(StoreError, match="1 layers are not here"):
        weigh_update(operator.store, base.manifest.digest, target.manifest.digest, NOW)


def test_a_difference_says_it_when_asked(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERRY_STORE", str(tmp_path / "store"))
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    words = ["diff", "app:1", "app:2", "--update"]
    shown = CliRunner().invoke(app, words, catch_exceptions=False).stdout
    assert "as an update of a device" in shown
    (platform,) = json.loads(CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False).stdout)["platforms"]
    assert 300 < platform["update"]["parcel"] < 900 < platform["update"]["socket_estimated"] < platform["update"]["wire_estimated"]
    assert platform["update"]["wire_estimated"] < platform["pull"]["total"]
