"""What of a machine each of several tasks gets for itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.run.sweeps import Crew, make_state
from wherry.errors import JobError
from wherry.model.job import Limits
from wherry.run.sweep_process import ProcessLauncher
from wherry.run.sweep_shares import Share, Shares, count_slots, list_gpus


def test_lent_and_given_back() -> None:
    shares, two = Shares(range(4), ["0", "1", "2"]), Limits(cpus=1.5, gpus="1")
    first, second = shares.take(two), shares.take(two)
    assert (first, second) == (Share(processors=(0, 1), gpus=("0",)), Share(processors=(2, 3), gpus=("1",)))
    assert shares.take(two) == Share(processors=(), gpus=("2",))  # more at once than fit share what is there
    with pytest.raises(JobError, match="0 GPUs are free"):
        shares.take(two)
    shares.give_back(first)
    assert shares.take(two) == Share(processors=(0, 1), gpus=("0",))
    assert shares.take(Limits()) == Share()


def test_all_gpus_are_one_task_s() -> None:
    shares = Shares((), ["0", "1"])
    assert shares.take(Limits(gpus="all")).gpus == ("0", "1")
    with pytest.raises(JobError):
        shares.take(Limits(gpus="all"))


@pytest.mark.parametrize(
    ("limits", "slots"),
    [
        (Limits(), 8),
        (Limits(cpus=3), 2),
        (Limits(cpus=0.5), 16),
        (Limits(cpus=9), 1),
        (Limits(memory=10 << 30), 3),
        (Limits(gpus="2"), 2),
        (Limits(gpus="all"), 1),
    ],
)
def test_how_many_fit(limits: Limits, slots: int) -> None:
    assert count_slots(limits, 8, 32 << 30, 4) == slots


def test_gpus_that_a_scheduler_gave() -> None:
    assert list_gpus({"CUDA_VISIBLE_DEVICES": "3,GPU-8f"}) == ("3", "GPU-8f")
    assert list_gpus({"CUDA_VISIBLE_DEVICES": ""}) == ()


def test_tasks_see_what_they_were_lent(tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor is everybody's")
    script = f"grep Cpus_allowed_list /proc/self/status | cut -f2 >> {tmp_path}/seen; echo $CUDA_VISIBLE_DEVICES >> {tmp_path}/gpus"
    state = make_state(tmp_path, script, 4, limits=Limits(cpus=1, gpus="1"))
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "6,7"}
    before = os.sched_getaffinity(0)
    crew = Crew(state, tmp_path / "scratch", ProcessLauncher(env, None, {}))
    crew.work(slots=2)
    assert crew.errors == []
    usable = {str(number) for number in before}
    assert {*(tmp_path / "seen").read_text().split()} <= usable
    assert {*(tmp_path / "gpus").read_text().split()} <= {"6", "7"}
    assert os.sched_getaffinity(0) == before
