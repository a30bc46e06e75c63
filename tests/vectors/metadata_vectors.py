"""Signed documents, frozen: a channel's life in three states, and what a device makes of them (docs/spec/channel.md).

`python -m tests.vectors.metadata_vectors` writes `metadata/` beside this file: documents, and `cases.json`. A case begins
with the root `begin`, takes the sets of `before`, and is then given `set` at the time `now`; `release` is the number that
it believes after that, or null if it has to refuse. A set names its roots, timestamp, snapshot and targets; `max_age` is
in days.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.simulators.channels import plan_roles
from tests.simulators.tuf_repository import NOW, make_target
from wherry.deliver.channel import write_metadata, write_roots
from wherry.deliver.keys import Keys
from wherry.deliver.metadata import refresh_timestamp, rotate_keys, sign_first_root, sign_release
from wherry.model.release import Health, Metadata

FOLDER = Path(__file__).parent / "metadata"
DAY = timedelta(days=1)
Set = dict[str, Any]


def make_vectors() -> dict[str, bytes]:
    """File name → bytes."""
    with tempfile.TemporaryDirectory() as folder:
        states = _live(Path(folder))
    files: dict[str, bytes] = {}
    sets = {name: _store(files, name, state) for name, state in states.items()}
    cases = json.dumps(list(_cases(sets)), indent=1, sort_keys=True) + "\n"
    return files | {"cases.json": cases.encode()}


def _live(folder: Path) -> Mapping[str, Metadata]:
    """Two releases, then another key for timestamp; and one that the retired key signed."""
    channel, numbers = folder / "channel", itertools.count()
    keys = Keys(
        [folder / "keys"],
        lambda _path: "",
        lambda: Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"key %d" % next(numbers)).digest()),
    )
    write_roots(channel, (sign_first_root(plan_roles(root=(2, 1), targets=(3, 2)), keys, {}, NOW),))
    first = sign_release(channel, [make_target(1)], keys, NOW)
    write_metadata(channel, first)
    well = Health(http="8080/health", within=60, seconds=20)
    second = sign_release(channel, [replace(make_target(2), health=well)], keys, NOW + DAY)
    write_metadata(channel, second)
    forged = refresh_timestamp(channel, keys, NOW + 3 * DAY).metadata
    third = rotate_keys(channel, "timestamp", keys, "", NOW + 2 * DAY)[0].metadata
    assert forged is not None
    assert third is not None
    return {"first": first, "second": second, "third": third, "retired": replace(third, timestamp=forged.timestamp)}


def _store(files: dict[str, bytes], name: str, state: Metadata) -> Set:
    """Name the documents by what they are, each once."""
    documents = {f"{number}.root.json": raw for number, raw in enumerate(state.roots, 1)}
    documents |= {f"{kind}-{name}.json": getattr(state, kind) for kind in ("timestamp", "snapshot", "targets")}
    named = {}
    for given, raw in documents.items():
        known = next((known for known, other in files.items() if other == raw), given)
        files.setdefault(known, raw)
        named[given] = known
    return {
        "roots": [named[f"{number}.root.json"] for number in range(1, len(state.roots) + 1)],
        **{kind: named[f"{kind}-{name}.json"] for kind in ("timestamp", "snapshot", "targets")},
    }


def _cases(sets: Mapping[str, Set]) -> Any:
    first, second, third, retired = (sets[name] for name in ("first", "second", "third", "retired"))

    def case(name: str, given: Set, release: int | None, *before: Set, days: float = 2, age: int = 0, now: str = "") -> Set:
        time = now or (NOW + days * DAY).isoformat()
        return {
            "name": name,
            "begin": "1.root.json",
            "before": list(before),
            "set": given,
            "now": time,
            "max_age": age,
            "release": release,
        }

    yield case("the first release", first, 1, days=0)
    yield case("the next release", second, 2, first)
    yield case("the same again", second, 2, second)
    yield case("new keys", third, 2, first)
    yield case("a clock at 1970", first, 1, now="1970-01-01T00:00:00+00:00")
    yield case("a stick, expired for six days, seven are allowed", first, 1, days=20, age=7)
    yield case("rollback", first, None, second)
    yield case("rollback after new keys", second, None, third)
    yield case("freeze", second, None, second, days=15)
    yield case("a stick, expired for eight days, seven are allowed", first, None, days=22, age=7)
    yield case("targets of another release", {**second, "targets": first["targets"]}, None)
    yield case("snapshot of another release", {**second, "snapshot": first["snapshot"]}, None)
    yield case("a root is missing", {**third, "roots": ["1.root.json"]}, None)
    yield case("signed by a retired key", retired, None, days=3)
    yield case("one document for another", {**first, "timestamp": first["snapshot"]}, None)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, data in make_vectors().items():
        (FOLDER / name).write_bytes(data)
