"""Frozen deltas are read as what they always made, and refused ones stay refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.deltas import make_base
from tests.vectors.delta_vectors import FOLDER, make_vectors
from wherry.deliver.delta_ends import DeltaEnds
from wherry.deliver.delta_files import OpenDelta, restore_tar
from wherry.errors import FormatError, TrustError
from wherry.formats.delta import Form, Part
from wherry.formats.delta_decoder import decode_delta

WHOLE = {"derived": "derived.tar", "carried": "carried.tar", "full": "derived.tar"}
REFUSED = sorted(path.name for path in FOLDER.glob("refused-*"))


def apply(path: Path) -> bytes:
    with DeltaEnds() as ends, OpenDelta(path) as delta:
        return b"".join(restore_tar(delta, ends.open_path(FOLDER / "base.tar")))


@pytest.mark.parametrize("name", WHOLE)
def test_a_frozen_delta_makes_its_target(name: str) -> None:
    assert apply(FOLDER / f"{name}.delta") == (FOLDER / WHOLE[name]).read_bytes()


@pytest.mark.parametrize("name", REFUSED)
def test_what_was_refused_stays_refused(name: str) -> None:
    with pytest.raises((FormatError, TrustError)):
        apply(FOLDER / name)


def test_the_frozen_ones_have_all_that_the_format_has() -> None:
    forms, parts, groups = set(), set(), 0
    for name in WHOLE:
        with OpenDelta(FOLDER / f"{name}.delta") as delta:
            body = delta.body_of(delta.file.layers[0])
            forms.add(body.form)
            parts |= {part for part in Part if body.parts[part]}
            groups += len(body.groups)
    assert (forms, parts, groups > 0, len(REFUSED)) == (set(Form), set(Part), True, 7)


def test_what_is_made_today_makes_the_same() -> None:
    made = make_vectors()
    assert sorted(made) == sorted(path.name for path in FOLDER.iterdir())
    assert {name: data for name, data in made.items() if name.endswith(".tar")} == {
        path.name: path.read_bytes() for path in FOLDER.glob("*.tar")
    }
    with make_base(made["base.tar"]) as base:
        for name, target in WHOLE.items():
            data = made[f"{name}.delta"]
            with OpenDelta(FOLDER / f"{name}.delta") as frozen:
                layer = frozen.file.layers[0]
            body = data[layer.offset : -8]
            assert (
                b"".join(decode_delta(lambda at, size, body=body: body[at : at + size], len(body), base, layer.diff_id))
                == made[target]
            )
