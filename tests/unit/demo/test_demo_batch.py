"""The example of a sweep: what it declares is what its programs understand."""

from __future__ import annotations

from tools.demo_batch import ROOT, environment

from wherry.declare.sweeps import read_sweeps

EXAMPLE = ROOT / "examples/sweep"


def test_its_parameters_are_those_of_the_program() -> None:
    sweep = read_sweeps(EXAMPLE)["forest"]
    program = (EXAMPLE / "train.py").read_text("utf-8")
    assert len(sweep.parameters) == 12
    assert sweep.command_of(11) == ("train.py", "--trees", "100", "--samples", "256", "--seed", "2")
    assert all(f'"--{name}"' in program for name in sweep.parameters.names)


def test_it_writes_nowhere_else() -> None:
    places = [value for name, value in environment().items() if name in ("WHERRY_STORE", "WHERRY_CACHE", "WHERRY_JOBS")]
    assert all(value.startswith(str(ROOT / ".demo-batch")) for value in places)
    assert len(places) == 3
