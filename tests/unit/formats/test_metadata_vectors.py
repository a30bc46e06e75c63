"""Frozen documents are signed to the byte as they were, and believed or refused as they were."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.vectors.metadata_vectors import FOLDER, make_vectors
from wherry.agent.trust import TrustStore
from wherry.errors import TrustError
from wherry.model.platform import Platform
from wherry.model.release import Metadata

AMD64 = Platform("linux", "amd64")
CASES = json.loads((FOLDER / "cases.json").read_bytes())


def read_set(names: Any) -> Metadata:
    roots = tuple((FOLDER / name).read_bytes() for name in names["roots"])
    return Metadata(roots=roots, **{kind: (FOLDER / names[kind]).read_bytes() for kind in ("timestamp", "snapshot", "targets")})


def test_equal_keys_and_times_give_equal_documents() -> None:
    assert make_vectors() == {path.name: path.read_bytes() for path in FOLDER.iterdir()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_was_believed_is_believed(case: Any, tmp_path: Path) -> None:
    store = TrustStore(tmp_path)
    store.begin((FOLDER / case["begin"]).read_bytes())
    now, max_age = datetime.fromisoformat(case["now"]), timedelta(days=case["max_age"])
    for names in case["before"]:
        store.accept(store.verify_metadata(read_set(names), AMD64, now=now, max_age=timedelta(days=30)))
    if case["release"] is None:
        with pytest.raises(TrustError):
            store.verify_metadata(read_set(case["set"]), AMD64, now=now, max_age=max_age)
    else:
        verified = store.verify_metadata(read_set(case["set"]), AMD64, now=now, max_age=max_age)
        assert verified.target.release == case["release"]
