"""Bytecode is made before the exchange, once for each set of layers with Python files, and kept from the application."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulators.devices import Device, Operator, TinyImage, as_source, make_image
from tests.simulators.engine import SimulatedEngine
from wherry.agent.update import Outcome
from wherry.engines.port import RunSpec
from wherry.errors import EngineError
from wherry.formats.tar import file_entry
from wherry.model.oci import History
from wherry.model.python_cache import name_cache

BY = [History(created_by="wherry layer code code"), History(created_by="wherry layer model app/model")]


def make(model: bytes, code: bytes, key: str = "") -> TinyImage:
    """As wherry builds it; with the `key` of another one: as somebody does who builds on that."""
    layers = [file_entry("app/main.py", code)], [file_entry("app/model", model)]
    key = key or name_cache(make_image(*layers).diff_ids[:1])
    env = ["PATH=/bin", f"PYTHONPYCACHEPREFIX=/var/cache/python/{key}"]
    return make_image(*layers, env=env, entrypoint=["/app"], history=BY)


ONE, TWO, THREE = make(b"1", b"print(1)"), make(b"2", b"print(1)"), make(b"3", b"print(3)")
KEYS = tuple(name_cache(image.diff_ids[:1]) for image in (ONE, THREE))


@pytest.fixture
def parcels(operator: Operator) -> list[bytes]:
    made, before = [], None
    for number, image in enumerate((ONE, TWO, THREE), 1):
        operator.release(number, image)
        made.append(operator.cut(image, before))
        before = image
    return made


@pytest.fixture
def operator() -> Operator:
    return Operator()


def test_it_is_made_once_and_mounted(tmp_path: Path, operator: Operator, parcels: list[bytes]) -> None:
    device = Device.simulated(tmp_path, operator)
    engine = device.engine
    assert isinstance(engine, SimulatedEngine)
    ran: list[str] = []
    engine._before = ran.append  # type: ignore[method-assign]
    cache = tmp_path / "state/bytecode"
    device.agent().apply(as_source(parcels[0]))
    assert (ran.count("run"), (cache / KEYS[0] / "made").read_text()) == (1, "bytecode")
    assert ran.index("run") < ran.index("start")
    assert engine.read_note("app")["mounts"] == [str(cache / KEYS[0])]
    device.agent().apply(as_source(parcels[1]))
    assert ran.count("run") == 1  # the same layers hold Python files
    device.agent().apply(as_source(parcels[2]))
    assert ran.count("run") == 2
    assert sorted(path.name for path in cache.iterdir()) == sorted(KEYS)  # the former one's stays for a rollback
    assert device.agent().roll_back() is Outcome.UPDATED
    assert ran.count("run") == 2


def test_what_was_cut_off_or_planted_does_not_count(tmp_path: Path, operator: Operator, parcels: list[bytes]) -> None:
    device = Device.simulated(tmp_path, operator)
    cache = tmp_path / "state/bytecode"
    (cache / f"{KEYS[0]}.1-abc").mkdir(parents=True)
    (cache / f"{KEYS[0]}.1-abc/made").write_text("half")
    device.agent().apply(as_source(parcels[0]))
    assert [path.name for path in cache.iterdir()] == [KEYS[0]]
    assert (cache / KEYS[0] / "made").read_text() == "bytecode"


def test_a_python_that_does_not_run_changes_nothing(tmp_path: Path, operator: Operator, parcels: list[bytes]) -> None:
    device = Device.simulated(tmp_path, operator)
    device.agent().apply(as_source(parcels[0]))
    device.agent().apply(as_source(parcels[1]))
    assert isinstance(device.engine, SimulatedEngine)
    device.engine.run = lambda _spec: 1  # type: ignore[method-assign]
    with pytest.raises(EngineError, match="bytecode"):
        device.agent().apply(as_source(parcels[2]))
    assert device.running == TWO.image_id
    assert device.agent().read_state().pending is None


@pytest.mark.parametrize(("prefix", "python"), [("", "/opt/env/bin/python"), ("/opt/conda", "/opt/conda/bin/python")])
def test_the_images_own_python_makes_it(
    tmp_path: Path, operator: Operator, monkeypatch: pytest.MonkeyPatch, prefix: str, python: str
) -> None:
    env = ["PATH=/bin", f"PYTHONPYCACHEPREFIX=/var/cache/python/{KEYS[0]}", *([f"CONDA_PREFIX={prefix}"] if prefix else [])]
    image = make_image([file_entry("app/main.py", b"print()")], env=env, entrypoint=["/app"])
    operator.release(1, image)
    device = Device.simulated(tmp_path, operator)
    specs: list[RunSpec] = []
    run = device.engine.run
    monkeypatch.setattr(device.engine, "run", lambda spec: specs.append(spec) or run(spec))
    device.agent().apply(as_source(operator.cut(image, None)))
    assert [spec.command[0] for spec in specs] == [python]


def test_an_image_that_names_anothers_cache_gets_its_own(tmp_path: Path, operator: Operator, parcels: list[bytes]) -> None:
    """Its files differ, and the bytecode of the other one would run in their place."""
    device = Device.simulated(tmp_path, operator)
    device.agent().apply(as_source(parcels[0]))
    planted = make(b"1", b"print(4)", KEYS[0])
    operator.release(4, planted)
    device.agent().apply(as_source(operator.cut(planted, ONE)))
    cache = tmp_path / "state/bytecode"
    own = f"{KEYS[0]}-{planted.image_id.hex[:16]}"
    assert sorted(path.name for path in cache.iterdir()) == [KEYS[0], own]
    assert isinstance(device.engine, SimulatedEngine)
    assert device.engine.read_note("app")["mounts"] == [str(cache / own)]
