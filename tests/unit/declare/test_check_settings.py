"""``[check]`` of wherry.toml: sizes, and silences that give a reason."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from wherry.declare.check_settings import parse_check, read_check_settings
from wherry.declare.grammar import parse_written
from wherry.errors import DeclarationError
from wherry.model.check_settings import CheckSettings, Silence, SizeLimits

WHOLE = """
[check]
size-budget = "300 MB"
max-layer = "1 MiB"

[[check.ignore]]
rule = "setuid"
where = "/usr/bin/*"
reason = "the base of our site\\nhas them"
"""
PARSED = CheckSettings(
    limits=SizeLimits(budget=300_000_000, layer=1 << 20),
    silences=(Silence(rule="setuid", reason="the base of our site has them", where="/usr/bin/*"),),
)


def test_the_whole_table() -> None:
    assert parse_written(tomllib.loads(WHOLE), "wherry.toml").check == PARSED
    assert parse_written({}, "wherry.toml").check == CheckSettings()


@pytest.mark.parametrize(("file", "prefix"), [("wherry.toml", "check"), ("pyproject.toml", "tool.wherry.check")])
def test_it_is_read_where_the_project_keeps_it(tmp_path: Path, file: str, prefix: str) -> None:
    (tmp_path / file).write_text(WHOLE.replace("[check", f"[{prefix}"))
    assert read_check_settings(tmp_path) == PARSED


def test_a_folder_without_files_says_nothing(tmp_path: Path) -> None:
    assert read_check_settings(tmp_path) == CheckSettings()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("check = 1", "not a table"),
        ("[check]\nsize_budget = 1", "unknown key 'size_budget'"),
        ('[check]\nsize-budget = "much"', "'much' is no size"),
        ("[check]\nmax-layer = true", "True is no size"),
        ("[check]\nmax-layer = 0", "0 is no size"),
        ('[check]\nignore = "setuid"', "not a list of tables"),
        ('[check]\nignore = ["setuid"]', "not a table"),
        ('[[check.ignore]]\nrule = "setuid"', "no reason is given"),
        ('[[check.ignore]]\nrule = "setuid"\nreason = " "', "is no reason"),
        ('[[check.ignore]]\nreason = "so"', "is no rule"),
        ('[[check.ignore]]\nrule = "setuid"\nreason = "so"\nfile = "x"', "unknown key 'file'"),
        ('[[check.ignore]]\nrule = "setuid"\nreason = "so"\nwhere = 1', "1 is no where"),
    ],
)
def test_mistakes_are_told(text: str, told: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_check(tomllib.loads(text).get("check"), "wherry.toml")
    assert told in caught.value.what
    assert str(caught.value.where).startswith("wherry.toml: check")
