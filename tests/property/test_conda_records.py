"""Laws of who keeps a path: one package does, whatever the order they come in, and strangers have no say."""

from __future__ import annotations

import random

from hypothesis import assume, given
from hypothesis import strategies as st

from wherry.assemble.records import PlannedRecords, RecordContents, plan_records
from wherry.assemble.wheels import NO_WHEELS
from wherry.errors import FormatError
from wherry.model.digest import Digest
from wherry.model.layout import CONDA, EnvironmentLayout
from wherry.model.lock import LockedRecord

LAYOUT = EnvironmentLayout(prefix=CONDA, minor="3.11", is_conda=True)
NAMES = ("alpha", "beta", "gamma", "delta")
PATHS = ("bin/tool", "lib/a.so", "lib/b.so", "share/x", "share/deep/y", "lib/python3.11/site-packages/m.py", "__pycache__/m.pyc")


def make(name: str, requires: frozenset[str], paths: frozenset[str]) -> RecordContents:
    record = LockedRecord(
        name=name,
        version="1",
        build="0",
        subdir="noarch",
        channel="c",
        file=f"{name}-1-0.conda",
        size=1,
        sha256=Digest.of(name.encode()),
        requires=tuple(sorted(requires - {name})),
    )
    return RecordContents(record=record, files={path: Digest.of(f"{name} {path}".encode()).hex for path in paths})


@st.composite
def environments(draw: st.DrawFn) -> list[RecordContents]:
    some = st.frozensets(st.sampled_from(PATHS))
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
    return [make(name, draw(st.frozensets(st.sampled_from(NAMES))), draw(some)) for name in names]


def plan(contents: list[RecordContents]) -> PlannedRecords:
    try:
        return plan_records(contents, NO_WHEELS, LAYOUT)
    except FormatError:
        assume(False)
        raise


@given(environments())
def test_every_path_is_kept_by_exactly_one(contents: list[RecordContents]) -> None:
    planned = plan(contents)
    kept = [path for paths in planned.kept.values() for path in paths]
    wanted = {path for one in contents for path in one.files if not path.endswith(".pyc")}
    assert len(kept) == len(set(kept))
    assert set(kept) == wanted
    for one in contents:
        name = one.record.name
        assert planned.kept[name] | planned.dropped[name] == one.files.keys()
        assert not planned.kept[name] & planned.dropped[name]
        assert name not in planned.yields[name]


@given(environments(), st.randoms())
def test_the_order_they_come_in_does_not_matter(contents: list[RecordContents], noise: random.Random) -> None:
    shuffled = list(contents)
    noise.shuffle(shuffled)
    assert plan(contents) == plan(shuffled)


@given(environments())
def test_who_shares_no_path_has_no_say(contents: list[RecordContents]) -> None:
    planned = plan(contents)
    for one in contents:
        others = [other for other in contents if other is not one]
        if any(one.files.keys() & other.files.keys() for other in others):
            continue
        assert plan(others).kept == {name: paths for name, paths in planned.kept.items() if name != one.record.name}


@given(environments())
def test_a_loser_yields_to_whoever_keeps_its_path(contents: list[RecordContents]) -> None:
    planned = plan(contents)
    owner = {path: name for name, paths in planned.kept.items() for path in paths}
    for one in contents:
        lost = {owner[path] for path in planned.dropped[one.record.name] if path in owner}
        assert planned.yields[one.record.name] == lost
