"""Documents of a sweep's state: what is written is read again, what is damaged or of another format is refused."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.errors import FormatError
from wherry.formats.sweep_json import parse_document, parse_journal, render_document, render_journal
from wherry.model.job import DataFolder, JobState, Limits, Output
from wherry.model.sweep import Axis, Beat, Draw, Lease, Parameters, Round, Running, Sweep, SweepSpec, TaskDone

SWEEP = Sweep(
    name="depth",
    command=("train.py", "{lr}", "{n}", "{kind}"),
    parameters=Parameters(
        axes=(Axis(name="lr", values=(0.1, "a", 3, True)),),
        columns=("n",),
        rows=((1,), ("x",)),
        draws=(Draw(name="kind", values=("a", "b")), Draw(name="w", low=0.5, log=True)),
        count=3,
        seed=9,
    ),
    limits=Limits(cpus=1.5, memory=1 << 30, gpus="all", seconds=60.0),
    env=(("A", "b"),),
    data=(DataFolder(path="data", writable=True),),
    price=0.25,
)
SPEC = SweepSpec(
    id="depth-1",
    sweep=SWEEP,
    target="t",
    backend="local",
    root="/p",
    owner="me@here",
    created=1.5,
    variables={"A": "é"},
    lock="sha256:0",
)
DONE = TaskDone(
    task=7,
    attempt=2,
    state=JobState.TIMED_OUT,
    exit_code=124,
    worker="w",
    metrics={"loss": 0.5},
    told={"a": "b"},
    outputs=(Output(path="a b/ü", size=3, sha256="00"),),
)
BEAT = Beat(worker="w", number=3, slots=2, spent=1.5, running=(Running(task=1, attempt=0, seconds=0.5),), trouble="full")
LEASE = Lease(task=7, attempt=2, worker="w", failures=1, lost=1)
ROUND = Round(sweep="depth-1", id="r", backend="slurm", target="big", owner="me", begun=1.0, expires=2.0, workers=3, price=None)


@pytest.mark.parametrize("value", [SPEC, DONE, BEAT, LEASE, ROUND], ids=lambda value: type(value).__name__)
def test_what_is_written_is_read_again(value: Any) -> None:
    written = render_document(value)
    assert written.startswith(b'{"format":1,')
    assert parse_document(written, type(value), "key") == value
    for length in range(0, len(written) - 2, 3):
        with pytest.raises(FormatError, match="key"):
            parse_document(written[:length], type(value), "key")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"format":2,"task":7,"attempt":0,"worker":"w"}', "format 2 is unknown"),
        (b'{"task":7,"attempt":0,"worker":"w"}', "format"),
        (b'{"format":1,"task":"7","worker":"w"}', "damaged"),
        (b'{"format":1,"worker":"w"}', "damaged"),
        (b"[" * 100_000, "damaged"),
        (b"\xff", "damaged"),
    ],
)
def test_refused(data: bytes, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        parse_document(data, Lease, "key")


@pytest.mark.parametrize("wrong", [b'"task":-1,"state":"failed"', b'"task":1,"state":"running"', b'"task":1,"state":"cancelled"'])
def test_what_is_no_end_is_refused(wrong: bytes) -> None:
    with pytest.raises(FormatError, match="has not ended"):
        parse_document(b'{"format":1,"attempt":0,"worker":"w",%s}' % wrong, TaskDone, "key")


def test_unknown_members_are_passed_over() -> None:
    assert parse_document(b'{"format":1,"task":7,"worker":"w","new":[1]}', Lease, "key") == Lease(task=7, worker="w")


def test_a_journal() -> None:
    assert parse_journal(render_journal([DONE, DONE]), "key") == (DONE, DONE)
    with pytest.raises(FormatError):
        parse_journal(render_journal([DONE]) + b'{"format":1', "key")
