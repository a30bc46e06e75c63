"""The file of figures: a new run of a case replaces that case and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bench.results import Figure, Results, Target, figure, not_run, print_case, ratio


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results.jsonl", commit="abc", host={"cores": 2})


def read(results: Results) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.path.read_text().splitlines()]


def test_a_line_has_what_is_promised(results: Results) -> None:
    results.replace_case("build", "cold", [figure("cold", "wherry", "seconds", [3.0, 1.0, 2.0], "s")])
    (line,) = read(results)
    assert line.pop("when").endswith("Z")
    assert line == {
        "bench": "build",
        "case": "cold",
        "subject": "wherry",
        "metric": "seconds",
        "value": 2.0,
        "unit": "s",
        "n": 3,
        "min": 1.0,
        "max": 3.0,
        "commit": "abc",
        "host": {"cores": 2},
    }


def test_a_new_run_replaces_its_case_alone(results: Results) -> None:
    one = figure("cold", "wherry", "seconds", [1.0], "s")
    results.replace_case("build", "cold", [one, one])
    results.replace_case("build", "help", [figure("help", "wherry", "seconds", [1.0], "s")])
    results.replace_case("run", "cold", [one])
    results.replace_case("build", "cold", [figure("cold", "wherry", "seconds", [2.0], "s")])
    assert [(line["bench"], line["case"], line["value"]) for line in read(results)] == [
        ("build", "help", 1.0),
        ("run", "cold", 1.0),
        ("build", "cold", 2.0),
    ]


def test_a_damaged_line_goes_and_the_others_stay(results: Results) -> None:
    results.replace_case("build", "help", [figure("help", "wherry", "seconds", [1.0], "s")])
    with results.path.open("a") as file:
        file.write('{"bench": "bui\n')
    results.replace_case("build", "cold", [figure("cold", "wherry", "seconds", [1.0], "s")])
    assert [line["case"] for line in read(results)] == ["help", "cold"]


def test_who_was_not_run_says_why(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    missing = not_run("cold", "pyoci", "no [/usr/bin] openssl")
    results.replace_case("build", "cold", [missing])
    (line,) = read(results)
    assert (line["metric"], line["value"], line["reason"]) == ("not run", None, "no [/usr/bin] openssl")
    print_case("cold", "all of it", [missing], ())
    assert "not run: no [/usr/bin] openssl" in " ".join(capsys.readouterr().out.split())


def test_a_ratio_is_of_medians() -> None:
    found = ratio("cold", "ratio_to_buildah", [40.0, 10.0, 20.0], [10.0, 2.0, 5.0])
    assert found == Figure(
        case="cold", subject="wherry", metric="ratio_to_buildah", value=4.0, unit="ratio", n=3, least=4.0, greatest=5.0
    )


def test_targets_are_shown_for_wherry_alone(capsys: pytest.CaptureFixture[str]) -> None:
    figures = [figure("help", name, "seconds", [value], "s") for name, value in (("wherry", 0.2), ("buildah", 9.0))]
    print_case("help", "help", figures, (Target(metric="seconds", limit=0.15),))
    lines = capsys.readouterr().out.splitlines()
    assert "missed" in next(line for line in lines if "wherry" in line)
    assert "≤" not in next(line for line in lines if "buildah" in line)


def test_a_target_is_met_at_its_limit() -> None:
    assert Target(metric="seconds", limit=0.15).is_met(0.15)
    assert Target(metric="ratio", limit=4, at_least=True).is_met(4.0)
    assert not Target(metric="ratio", limit=4, at_least=True).is_met(3.9)
