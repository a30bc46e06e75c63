"""When a container counts as well."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.simulators.devices import FakeClock, make_model_image
from tests.simulators.engine import SimulatedEngine
from wherry.agent.health import Verdict, watch_container
from wherry.agent.settings import ContainerSettings
from wherry.engines.device import IMAGE_LABEL
from wherry.engines.port import EngineImage, PublishedPort, RunSpec
from wherry.formats.oci_json import parse_config
from wherry.model.release import Health

IMAGE = make_model_image(b"model")


@pytest.fixture
def engine(tmp_path: Path) -> SimulatedEngine:
    engine = SimulatedEngine(tmp_path)
    image = EngineImage(config=parse_config(IMAGE.config), name="app:1")
    (tmp_path / "images/app:1").write_bytes(IMAGE.config)
    engine.start(RunSpec(image=image, name="app", labels=((IMAGE_LABEL, str(image.image_id)),)))
    return engine


def watch(engine: SimulatedEngine, health: Health | None, clock: FakeClock | None = None, *ports: PublishedPort) -> Verdict:
    return watch_container(engine, ContainerSettings(ports=ports), health, clock or FakeClock())


@pytest.mark.parametrize("health", [Health(command=("/check",)), Health(log="well"), None])
def test_it_has_to_stay_well(engine: SimulatedEngine, health: Health | None) -> None:
    clock = FakeClock()
    assert watch(engine, health, clock).well
    assert clock.passed >= 30


@pytest.mark.parametrize("health", [Health(command=("/check",), within=10), Health(log="well", within=10)])
def test_it_has_to_become_well_in_time(engine: SimulatedEngine, health: Health) -> None:
    engine.sick.add(IMAGE.image_id)
    clock = FakeClock()
    assert not watch(engine, health, clock).well
    assert 10 <= clock.passed < 15


def test_what_became_well_may_not_become_sick(engine: SimulatedEngine) -> None:
    clock = FakeClock()
    engine._before = lambda _what: engine.sick.add(IMAGE.image_id) if clock.passed > 5 else None  # type: ignore[method-assign]
    verdict = watch(engine, Health(command=("/check",), within=120), clock)
    assert (verdict.well, verdict.reason) == (False, "the health command ended with 1")
    assert clock.passed < 10


def test_a_container_that_ended_is_not_waited_for(engine: SimulatedEngine) -> None:
    engine.lose_power()
    clock = FakeClock()
    assert watch(engine, Health(command=("/check",)), clock).reason == "the container has ended"
    assert clock.passed == 0


@contextmanager
def server(answer: bytes) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.recv(1000)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "well"),
    [(b"HTTP/1.1 204 No Content\r\n\r\n", True), (b"HTTP/1.0 500 Oh\r\n\r\n", False), (b"SSH-2.0\r\n", False), (b"", False)],
)
def test_http(engine: SimulatedEngine, answer: bytes, well: bool) -> None:
    with server(answer) as port:
        published = PublishedPort(container_port=8080, host_port=port)
        assert watch(engine, Health(http="8080/ready", within=2, seconds=2), None, published).well is well


def test_nobody_listens(engine: SimulatedEngine) -> None:
    assert "does not answer" in watch(engine, Health(http="1/ready", within=1, seconds=0)).reason
