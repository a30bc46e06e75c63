"""The pages about declarations say what the code does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from wherry.declare.grammar import _Document, parse_written
from wherry.model.stamp import MODEL_SUFFIXES

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("page", ["reference/wherry-toml.md", "how-to/declare-an-environment.md"])
def test_every_example_is_a_declaration(page: str) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        parse_written(tomllib.loads(block), "wherry.toml")


def test_the_table_names_every_key() -> None:
    text = (DOCS / "reference" / "wherry-toml.md").read_text("utf-8")
    keys = {key.partition(".")[0] for key in re.findall(r"^\| `([a-zA-Z.-]+)` \|", text, re.MULTILINE)}
    assert set(_Document.__struct_encode_fields__) <= keys
    assert all(f"`{suffix}`" in text for suffix in MODEL_SUFFIXES)
