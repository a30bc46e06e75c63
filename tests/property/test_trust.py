"""Laws of trust: whatever is altered in a document is refused or means nothing; whatever an operator does, devices follow, and
whatever an attacker replays, they never go back."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Metadata as TufMetadata

from tests.simulators.channels import make_channel
from tests.simulators.tuf_repository import AMD64, NOW, TufRepository, make_target
from wherry.agent.trust import TrustStore
from wherry.deliver.channel import read_channel, write_metadata
from wherry.deliver.metadata import refresh_timestamp, rotate_keys, sign_release
from wherry.errors import FormatError, TrustError
from wherry.formats.release_json import parse_release_target
from wherry.formats.tuf_workflow import Clock, Trusted, step_root, step_snapshot, step_targets, step_timestamp, trust_root
from wherry.model.release import Metadata

REPOSITORY = TufRepository()
REPOSITORY.next_root()
DOCUMENTS = REPOSITORY.freeze()
ROLES = ("root", "timestamp", "snapshot", "targets")
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5) | st.just("9999-12-31T23:59:59Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def altered(draw: st.DrawFn, raw: bytes) -> bytes:
    """A document with another value, or none, somewhere in it."""
    document = json.loads(raw)
    place, key = document, draw(st.sampled_from(sorted(document)))
    while isinstance(place[key], dict | list) and place[key] and draw(st.booleans() | st.just(True)):
        place = place[key]
        key = draw(st.sampled_from(sorted(place))) if isinstance(place, dict) else draw(st.integers(0, len(place) - 1))
    if isinstance(place, dict) and draw(st.booleans()):
        del place[key]
    else:
        place[key] = draw(values)
    return json.dumps(document).encode()


def believe(metadata: Metadata) -> Trusted:
    clock = Clock(now=NOW)
    trusted = step_timestamp(step_root(trust_root(metadata.roots[0]), metadata.roots[1]), metadata.timestamp, clock)
    return step_targets(step_snapshot(trusted, metadata.snapshot, clock), metadata.targets, clock)


@settings(max_examples=250, deadline=None)
@given(st.data(), st.sampled_from(ROLES))
def test_an_altered_document_is_refused_or_means_nothing(data: st.DataObject, role: str) -> None:
    raw = DOCUMENTS.roots[1] if role == "root" else getattr(DOCUMENTS, role)
    other = data.draw(altered(raw))
    given = replace(DOCUMENTS, roots=(DOCUMENTS.roots[0], other)) if role == "root" else replace(DOCUMENTS, **{role: other})
    try:
        believe(given)
    except TrustError:
        return
    assert TufMetadata.from_bytes(other).signed == TufMetadata.from_bytes(raw).signed


@settings(max_examples=200, deadline=None)
@given(values)
def test_a_signed_release_of_any_form_is_read_or_refused(value: Any) -> None:
    for custom in (value, {"release": 1, "layers": value}, {"release": 1, "layers": [], "health": value}):
        try:
            parse_release_target("linux/amd64", 1, "0" * 64, custom)
        except FormatError:
            continue


steps = st.lists(
    st.sampled_from(["release", "refresh", "root", "targets", "snapshot", "timestamp", "take", "replay"]), min_size=3, max_size=12
)


@settings(max_examples=20, deadline=None)
@given(steps)
def test_devices_follow_and_never_go_back(course: list[str]) -> None:
    """What is replayed is a state that the device has passed; each of them is refused, or the one that it is in."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        keys = make_channel(folder / "channel", folder / "keys")
        device = TrustStore(folder / "device")
        device.begin((folder / "channel/metadata/1.root.json").read_bytes())
        now, release, believed = NOW, 0, 0
        passed: list[Metadata] = []
        for step in ["release", *course]:
            now += timedelta(hours=1)
            if step == "release":
                release += 1
                write_metadata(folder / "channel", sign_release(folder / "channel", [make_target(release)], keys, now))
            elif step == "refresh":
                write_metadata(folder / "channel", _of(refresh_timestamp(folder / "channel", keys, now).metadata))
            elif step == "take":
                passed.append(_of(read_channel(folder / "channel").metadata))
                verified = device.verify_metadata(passed[-1], AMD64, now=now)
                device.accept(verified)
                assert verified.target.release == release
                believed = release
            elif step == "replay":
                for former in passed[:-1]:
                    try:
                        assert device.verify_metadata(former, AMD64, now=now).target.release == believed
                    except TrustError:
                        continue
            else:
                write_metadata(folder / "channel", _of(rotate_keys(folder / "channel", step, keys, "", now)[0].metadata))


def _of(metadata: Metadata | None) -> Metadata:
    assert metadata is not None
    return metadata
