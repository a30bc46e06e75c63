"""`wherry check --twins`: one table of all places that the project runs in, equal to its lock or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wherry.check.twins import Expected, Twin
from wherry.cli.talk import print_json, print_table, say, show, show_progress
from wherry.errors import UsageError
from wherry.pipeline import Project
from wherry.twins import TwinReport, compare_twins

TWINS_SCHEMA = 1
_SHOWN = 12  # digits of a digest, enough to tell two apart


def tell_twins(subject: str | None, *, offline: bool, as_json: bool) -> bool:
    """Compare and print; whether all that is there is equal."""
    root = Path(subject or ".")
    if not root.is_dir():
        raise UsageError("only a project has twins", where="--twins", hint="its folder, or no SUBJECT at all")
    with show_progress() as progress:
        report = compare_twins(Project(root, progress=progress, say=say), offline=offline)
    if as_json:
        print_json(render_twins(report))
    else:
        _print_twins(report)
    return report.equal


def _print_twins(report: TwinReport) -> None:
    expected = report.expected
    print_table(
        [
            ("TWIN", "PYTHON", "PACKAGES", "FILES", "DIGEST", "GENERATED", "BESIDE", "PLACE"),
            _show_lock(expected),
            *(_show_twin(twin) for twin in report.twins),
        ]
    )
    for twin in report.twins:
        for difference in twin.differences:
            show(f"{twin.name}: {difference}")
    for name, hint in report.absent:
        say(f"no {name} yet: {hint}")
    if report.twins and report.equal:
        say("equal: the same versions, and the same digest of each file that the packages' own lists name")


def _show_lock(expected: Expected) -> tuple[str, ...]:
    numbers = (str(len(some)) for some in (expected.distributions, expected.own))
    return ("wherry.lock", expected.python, *numbers, expected.digest.hex[:_SHOWN], str(len(expected.generated)), "-", "")


def _show_twin(twin: Twin) -> tuple[str, ...]:
    numbers = (str(number) if number else "-" for number in (twin.generated, twin.beside))
    return (twin.name, twin.python, str(twin.packages), str(twin.files), twin.digest.hex[:_SHOWN], *numbers, twin.place)


def render_twins(report: TwinReport) -> dict[str, Any]:
    """As JSON has it: the lock's packages with their digests, and each place."""
    expected = report.expected
    packages = [{"name": one.name, "version": one.version, "sha256": one.sha256.hex} for one in expected.packages]
    return {
        "schema": TWINS_SCHEMA,
        "equal": report.equal,
        "lock": {
            "python": expected.python,
            "packages": packages,
            "files": len(expected.own),
            "digest": str(expected.digest),
            "generated": sorted(expected.generated),
        },
        "twins": [_render_twin(twin) for twin in report.twins],
        "absent": [{"name": name, "make": hint} for name, hint in report.absent],
    }


def _render_twin(twin: Twin) -> dict[str, Any]:
    return {
        "name": twin.name,
        "place": twin.place,
        "python": twin.python,
        "packages": twin.packages,
        "files": twin.files,
        "digest": str(twin.digest),
        "generated": twin.generated,
        "beside": twin.beside,
        "equal": not twin.differences,
        "differences": list(twin.differences),
    }
