"""The document of `check --json` is what docs/spec/check-report.schema.json says, and that says everything there is in it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import typer
from jsonschema import Draft202012Validator, ValidationError

from tests.simulators.wheels import make_wheel
from tests.unit.check.trees import distribution, system
from tests.unit.cli.test_check import BROKEN, check, store_image
from tests.unit.cli.test_check import app as app
from wherry.cli.check_report import CHECK_SCHEMA
from wherry.errors import CheckError

SCHEMA: dict[str, Any] = json.loads((Path(__file__).parents[3] / "docs/spec/check-report.schema.json").read_text("utf-8"))


def close(node: Any) -> Any:
    """The same schema, which refuses keys that it does not describe."""
    if isinstance(node, list):
        return [close(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    closed = {key: close(inner) for key, inner in node.items()}
    if "properties" in closed and "type" in closed:
        closed.setdefault("unevaluatedProperties", False)
    if closed.get("required", [""])[0] == "rule" and "fix" in closed["required"]:
        closed.pop("unevaluatedProperties")  # a finding, which a silenced one adds to
    return closed


def validate(text: str) -> Any:
    document = json.loads(text)
    Draft202012Validator(close(SCHEMA)).validate(document)
    return document


def test_it_is_a_schema_of_the_version_that_is_written() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema"]["const"] == CHECK_SCHEMA


def test_a_report_with_everything_in_it(app: typer.Typer, tmp_path: Path) -> None:
    project = tmp_path / "tiny"
    project.mkdir()
    (project / "requirements.txt").write_text("six\n")
    silences = ("missing-library", "setuid")
    told = "".join(f'[[check.ignore]]\nrule = "{rule}"\nreason = "so"\n' for rule in silences)
    (project / "wherry.toml").write_text(f'[check]\nsize-budget = "1 kB"\n{told}')
    tests = distribution("heavy", "1", {"heavy/tests/data": os.urandom(60_000)})
    opencv = distribution("opencv-python", "4", {"cv3/cv3.abi3.so": b"\x7fELF"})
    store_image(system(), {**BROKEN, **tests, **opencv})
    document = validate(check(app, project, "--slim", "--json", code=CheckError.exit_code))
    (report,) = document["reports"]
    assert report["silenced"]
    assert {key for finding in report["findings"] for key in finding} == set(SCHEMA["$defs"]["finding"]["properties"])
    assert report["sizes"]["savings"]
    assert document["needless_silences"] == [{"rule": "setuid", "where": None, "reason": "so"}]


def test_reports_of_other_subjects(app: typer.Typer, tmp_path: Path) -> None:
    site = tmp_path / "venv/lib/python3.11/site-packages"
    site.mkdir(parents=True)
    (tmp_path / "venv/pyvenv.cfg").write_text("home = /usr/bin\n")
    document = validate(check(app, tmp_path / "venv", "--slim", "--json"))
    assert document["reports"][0]["sizes"]["stored"] is None
    wheel = make_wheel(tmp_path, "pkg", "1.0", {"pkg.py": b""})
    assert validate(check(app, wheel, "--json"))["reports"][0]["platform"] is None


@pytest.mark.parametrize("broken", [("severity", "grave"), ("rule", "No Rule"), ("where", None)])
def test_the_schema_refuses_what_is_not_so(app: typer.Typer, broken: tuple[str, object]) -> None:
    store_image(system(), BROKEN)
    document = validate(check(app, "tiny", "--json", code=CheckError.exit_code))
    document["reports"][0]["findings"][0][broken[0]] = broken[1]
    with pytest.raises(ValidationError):
        validate(json.dumps(document))
