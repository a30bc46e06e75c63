"""Jobs in an environment on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.run.backend_contract import BackendContract, stands_still
from wherry.errors import JobError
from wherry.model.job import Job, JobState, Limits
from wherry.run.backends.local import LocalBackend
from wherry.run.environments import EnvironmentRecord
from wherry.run.port import Backend


def make_environment(prefix: Path) -> EnvironmentRecord:
    """What is enough of one: its program, and what it says of itself."""
    (prefix / "bin").mkdir(parents=True, exist_ok=True)
    if not (prefix / "bin/python").exists():
        (prefix / "bin/python").symlink_to(sys.executable)
    return EnvironmentRecord(
        name="anomaly",
        place=str(prefix),
        project=str(prefix.parent),
        platform="linux/amd64",
        lock="sha256:" + "0" * 64,
        python="3.11.2",
        locked_python="3.11.2",
        executable=sys.executable,
        variables={"MODE": "declared"},
    )


class TestLocal(BackendContract):
    project_is_read_only = False  # they are this machine's own files

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Callable[[], Backend]:
        prefix = tmp_path / "env"
        return lambda: LocalBackend(os.environ, lambda: (prefix, make_environment(prefix)))

    def test_what_it_says_of_the_environment(self, backend: Callable[[], Backend]) -> None:
        prepared = backend().up()
        assert (prepared.lock, prepared.python, prepared.image) == ("sha256:" + "0" * 64, "3.11.2", None)

    def test_the_environment_s_python_and_variables(
        self, backend: Callable[[], Backend], job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", "/elsewhere")
        here, one = backend(), job("command -v python; echo $MODE $VIRTUAL_ENV ${PYTHONPATH-none}")
        self.run(here, one)
        assert self.told(here, one) == f"{tmp_path}/env/bin/python\ndeclared {tmp_path}/env none\n"

    def test_limits_hold_for_its_processes(self, backend: Callable[[], Backend], job: Callable[..., Job]) -> None:
        code = "import os; print(len(os.sched_getaffinity(0))); bytearray(500 << 20)"
        here, one = backend(), job("", command=("python", "-c", code), limits=Limits(cpus=0.5, memory=300 << 20))
        assert self.run(here, one).exit_code == 1
        assert self.told(here, one) == "1\n"
        assert "MemoryError" in here.logs(one, 0).stderr.read_text()

    def test_a_gpu_that_is_not_there(self, backend: Callable[[], Backend], job: Callable[..., Job]) -> None:
        if Path("/proc/driver/nvidia/gpus").is_dir():
            pytest.skip("this machine has a GPU")
        one = job("true", limits=Limits(gpus="1"))
        with pytest.raises(JobError, match="no GPU"):
            backend().submit(one, (0,))
        assert backend().poll(one) == {}

    def test_processes_that_stay_behind_are_ended(
        self, backend: Callable[[], Backend], job: Callable[..., Job], root: Path
    ) -> None:
        end = self.run(backend(), job("(while :; do echo >> beat; sleep 0.05; done) & while ! test -e beat; do sleep 0.05; done"))
        assert end.state is JobState.SUCCEEDED
        assert stands_still(root / "beat")
