"""Work in a process of its own: its value, its error, its end."""

from __future__ import annotations

import os
import signal

import pytest

from wherry.agent.processes import run_apart
from wherry.errors import DeviceError, TrustError


def test_a_value_comes_back() -> None:
    assert run_apart(lambda: {"a": [1, None]}) == {"a": [1, None]}
    assert run_apart(lambda: os.getpid()) != os.getpid()


def test_an_error_comes_back_as_what_it_is() -> None:
    def fail() -> None:
        raise TrustError("wrong", where="here", hint="stop")

    with pytest.raises(TrustError) as caught:
        run_apart(fail)
    assert (caught.value.what, caught.value.where, caught.value.hint) == ("wrong", "here", "stop")


def test_an_error_that_is_none_of_ours_by_name() -> None:
    class Strange(DeviceError):
        pass

    def fail() -> None:
        raise Strange("odd")

    with pytest.raises(DeviceError, match="odd"):
        run_apart(fail)


def test_a_process_that_dies(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DeviceError, match="ended with 137"):
        run_apart(lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(DeviceError, match="ended with 1"):
        run_apart(lambda: 1 / 0)
    assert "ZeroDivisionError" in capfd.readouterr().err
