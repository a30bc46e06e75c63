"""What Slurm's programs are asked, word by word, and how what they print is read, odd rows among it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from wherry.model.job import Job, Limits
from wherry.run.backends.slurm_words import (
    find_partition,
    is_out,
    parse_queue,
    render_defaults,
    render_request,
    render_script,
    render_share,
    split_rows,
)
from wherry.run.tasks import task_folder


def make_job(folder: str, **more: object) -> Job:
    labels = (("wherry-sweep", "depth-1"), ("wherry-owner", "me@here"))
    values = {"id": "depth-1.ab", "root": "/p", "command": ("worker", "a b"), "worker": True, "labels": labels}
    return Job(**{**values, "folder": folder, **more})  # type: ignore[arg-type]


def test_what_is_asked_for() -> None:
    words = render_request(make_job("/a folder/100%"), (0, 2, 7))
    assert "--array=0,2,7" in words
    assert "--job-name=depth-1.ab" in words
    assert "--comment=wherry-sweep=depth-1,wherry-owner=me@here" in words
    assert "--chdir=/a folder/100%" in words
    (output,) = [word for word in words if word.startswith("--output=")]
    assert output.startswith("--output=/a folder/100%%/"), "a % of a folder's own is no pattern of Slurm's"
    assert output.endswith("/%a/stdout")


@pytest.mark.parametrize(
    ("limits", "slots", "words"),
    [
        (Limits(), 16, ("--cpus-per-task=16",)),
        (Limits(cpus=0.5), 3, ("--cpus-per-task=2",)),
        (Limits(memory=1 << 30), 2, ("--cpus-per-task=2", "--mem=2048M")),
        (Limits(gpus="2"), 1, ("--cpus-per-task=1", "--gres=gpu:2")),
        (Limits(gpus="all"), 1, ("--cpus-per-task=1", "--exclusive")),
    ],
)
def test_what_a_worker_takes_of_its_node(limits: Limits, slots: int, words: tuple[str, ...]) -> None:
    assert render_share(limits, slots) == words


def test_what_words_of_the_user_s_may_change() -> None:
    (export,) = render_defaults(make_job("/f"))
    assert {"PATH", "HOME", "WHERRY_STORE"} <= set(export.removeprefix("--export=").split(","))
    assert "ALL" not in export
    limit, _ = render_defaults(make_job("/f", limits=Limits(seconds=100)))
    assert limit == "--time=3", "later than the worker's own end"


@pytest.mark.parametrize(
    ("words", "partition"),
    [
        ((), None),
        (("--account=lab", "--time", "1:00"), None),
        (("--partition=gpu",), "gpu"),
        (("--partition", "gpu"), "gpu"),
        (("-p", "gpu,big"), "gpu,big"),
        (("-pgpu",), "gpu"),
        (("-p", "cpu", "--gres=gpu:1", "--partition=gpu"), "gpu"),
        (("--partition",), None),
    ],
)
def test_the_partition_in_its_spellings(words: tuple[str, ...], partition: str | None) -> None:
    assert find_partition(words) == partition


def test_rows_of_the_queue() -> None:
    text = "7|0|RUNNING|None\n7|12|PENDING|a reason | with bars\n8|N/A|PENDING|Priority\nno row\n"
    assert [(row.array, row.index, row.state, row.reason) for row in parse_queue(text)] == [
        ("7", 0, "RUNNING", "None"),
        ("7", 12, "PENDING", "a reason | with bars"),
    ]


def test_what_people_wrote_may_break_rows() -> None:
    assert list(split_rows("7|mine|a|b\nsecond line of a comment\n8|other|(null)\n", 3)) == [
        ["7", "mine", "a|b"],
        ["8", "other", "(null)"],
    ]


@pytest.mark.parametrize("state", ["down", "drain", "drng", "idle*", "mix*", "fail", "maint", "inval"])
def test_nodes_that_cannot_be_had(state: str) -> None:
    assert is_out(state)


@pytest.mark.parametrize("state", ["idle", "mix", "alloc", "idle~", "comp", "resv"])
def test_nodes_that_can(state: str) -> None:
    assert not is_out(state)


@pytest.mark.parametrize(("command", "code"), [(("sh", "-c", 'echo "$MINE"; exit 3'), "3"), (("sh", "-c", "kill -9 $$"), "137")])
def test_the_script_says_how_the_worker_ended(tmp_path: Path, command: tuple[str, ...], code: str) -> None:
    folder = tmp_path / "it's a 100% folder $HOME"
    job = make_job(str(folder), command=command, env=(("MINE", "it's mine"),), limits=Limits(seconds=60))
    place = task_folder(job.folder, 4)
    place.mkdir(parents=True)
    done = subprocess.run(
        ["sh", "-c", render_script(job)], env={"PATH": "/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "4"}, capture_output=True, timeout=60
    )
    assert (place / "exit-code").read_text() == f"{code}\n"
    assert str(done.returncode) == code
    assert done.stdout in (b"it's mine\n", b"")
