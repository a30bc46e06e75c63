"""The cases of a benchmark, one after the other: each is announced, measured, kept and printed before the next one begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import pytest

from bench.harness import NotMeasured, tell
from bench.results import Figure, Results, Target, not_run, print_case


def measure_cases(
    bench: str,
    cases: Sequence[str],
    titles: Mapping[str, str],
    targets: Mapping[str, tuple[Target, ...]],
    results: Results,
    measure: Callable[[str], Iterable[Figure]],
) -> None:
    """`measure` gives a case's figures. What cannot be measured here is kept as such, with the reason."""
    for case in cases:
        tell(f"{case}: {titles[case]}")
        try:
            figures = list(measure(case))
        except (NotMeasured, pytest.skip.Exception) as error:
            figures = [not_run(case, "wherry", str(error))]
        results.replace_case(bench, case, figures)
        print_case(case, titles[case], figures, targets.get(case, ()))
