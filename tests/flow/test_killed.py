"""Agent and operator killed with SIGKILL right before they give a file its name: nothing of theirs runs any more to clean up."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from tests.simulators.channels import open_keys
from tests.simulators.devices import Device, as_source, make_model_image
from tests.simulators.devices import Operator as DeviceOperator
from tests.simulators.releases import Operator
from tests.simulators.tuf_repository import NOW
from wherry.agent.update import Outcome
from wherry.deliver.channel import read_channel
from wherry.deliver.channel_check import check_channel
from wherry.sources.registries import access_registries
from wherry.store.disk import DiskStore

WEIGHTS = random.Random(4).randbytes(4000)


def kill_before_rename(number: int, below: Path, work: Callable[[], object]) -> bool:
    """Do `work` in a process that is killed right before its rename of that number to a place below a folder; whether it was."""
    child = os.fork()
    if child == 0:
        rename, left = os.replace, iter(range(number))

        def replace(source: str | Path, target: str | Path) -> None:
            if str(target).startswith(f"{below}/") and next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(source, target)

        os.replace = os.rename = replace  # type: ignore[assignment]
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_an_agent(tmp_path: Path) -> None:
    operator = DeviceOperator()
    one, two = make_model_image(WEIGHTS), make_model_image(WEIGHTS[:100] + b"trained" + WEIGHTS[100:])
    operator.release(1, one)
    first = operator.cut(one, None)
    operator.release(2, two)
    second = operator.cut(two, one)
    Device.simulated(tmp_path, operator).agent().apply(as_source(first))
    for number in range(60):
        folder = tmp_path.with_name(f"{tmp_path.name}-{number}")
        shutil.copytree(tmp_path, folder)
        device = Device.simulated(folder, operator)
        killed = kill_before_rename(number, folder / "state", lambda device=device: device.agent().apply(as_source(second)))  # type: ignore[misc]
        device = Device.simulated(folder, operator)
        device.agent().recover()
        assert device.running in (one.image_id, two.image_id), number
        if device.running == one.image_id:
            assert device.agent().apply(as_source(second)) is Outcome.UPDATED, number
        assert (device.running, device.agent().read_state().pending) == (two.image_id, None), number
        assert not list((folder / "state").rglob("*.part")), number
        if not killed:
            assert number > 4
            return
    raise AssertionError("it never came to an end")


def test_an_operator(tmp_path: Path) -> None:
    operator = Operator(tmp_path / "one")
    for number in (1, 2):
        operator.build([{"lib/data": WEIGHTS}, {"app/model": b"%d" % number * 300}], f"app:{number}")
    operator.release("app:1")
    for number in range(60):
        folder = tmp_path / f"killed-{number}"
        shutil.copytree(tmp_path / "one", folder)
        other = Operator.__new__(Operator)
        other.channel, other.store = folder / "channel", DiskStore(folder / "store")
        other.keys, other.access = open_keys(folder / "keys"), access_registries({}, cache=None)
        killed = kill_before_rename(number, folder / "channel", lambda other=other: other.release("app:2"))  # type: ignore[misc]
        assert read_channel(other.channel).metadata is not None
        other.release("app:2")
        assert check_channel(other.channel, NOW) == (), number
        if not killed:
            assert number > 4
            return
    raise AssertionError("it never came to an end")
