"""Version numbers, taken by many at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.simulators.registry import Behaviour, RegistrySimulator
from wherry.formats.oci_json import render_index
from wherry.model.digest import Digest
from wherry.model.oci import INDEX
from wherry.publish.versions import assign_version, read_versions
from wherry.store.registry import RegistryStore
from wherry.store.registry_auth import anonymous
from wherry.store.registry_http import Patience, Transport
from wherry.store.registry_session import RegistrySession

QUICK = Patience(connect=2, stall=5, attempts=3, first_wait=0.005, longest_wait=0.1)


@pytest.fixture
def registry() -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        yield simulator


def connect(registry: RegistrySimulator) -> RegistryStore:
    session = RegistrySession(registry.host, "team/model", Transport({}, patience=QUICK), anonymous)
    return RegistryStore(session, "team/model", push=True)


def image(number: int) -> bytes:
    return render_index([], {"number": str(number)})


def release(registry: RegistrySimulator, number: int) -> str:
    store = connect(registry)
    store.put_manifest(image(number), INDEX)
    return assign_version(store, image(number), INDEX)


@pytest.mark.parametrize("behaviour", [Behaviour(), Behaviour(conditional_tags=True), Behaviour(immutable_tags=True)])
def test_one_after_the_other(registry: RegistrySimulator, behaviour: Behaviour) -> None:
    registry.behaviour = behaviour
    assert [release(registry, number) for number in range(3)] == ["1", "2", "3"]
    assert set(registry.repository("team/model").tags) == {"1", "2", "3"}


def test_the_same_image_keeps_its_number(registry: RegistrySimulator) -> None:
    assert [release(registry, number) for number in (1, 1, 2, 2, 1)] == ["1", "1", "2", "2", "3"]


def test_other_tags_do_not_count(registry: RegistrySimulator) -> None:
    for tag in ("latest", "v9", "007", "1.5", "_claim.99.abc", "41"):
        registry.add_manifest("team/model", image(0), INDEX, tag)
    assert release(registry, 1) == "42"
    assert read_versions(["latest", "007", "3", "0", "9" * 40]) == [3, 0]


def test_no_tag_that_has_a_meaning_is_written_twice(registry: RegistrySimulator) -> None:
    for number in range(3):
        release(registry, number)
    written = [one.path.rpartition("/")[2] for one in registry.seen if one.method == "PUT" and "/manifests/" in one.path]
    assert sorted(tag for tag in written if tag.isdigit()) == ["1", "2", "3"]


@pytest.mark.parametrize("behaviour", [Behaviour(conditional_tags=True), Behaviour(immutable_tags=True)])
def test_where_the_registry_keeps_order_no_number_is_skipped(registry: RegistrySimulator, behaviour: Behaviour) -> None:
    registry.behaviour = behaviour
    registry.add_manifest("team/model", image(0), INDEX, "_claim.1.0000000000000000")
    assert release(registry, 1) == "1"


def test_a_claim_left_behind_costs_at_most_its_number(registry: RegistrySimulator) -> None:
    registry.add_manifest("team/model", image(0), INDEX, "_claim.1.0000000000000000")
    assert release(registry, 1) == "2"


def test_a_registry_that_deletes_nothing(registry: RegistrySimulator) -> None:
    registry.behaviour.deletes = False
    assert [release(registry, number) for number in range(3)] == ["1", "2", "3"]


@pytest.mark.parametrize("pushers", [2, 5])
@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(),
        Behaviour(slow_tags=0.01),
        Behaviour(page=2),
        Behaviour(deletes=False),
        Behaviour(conditional_tags=True),
        Behaviour(immutable_tags=True),
    ],
    ids=["plain", "slow", "pages", "keeps", "conditional", "immutable"],
)
def test_racing_pushers_never_share_a_number(registry: RegistrySimulator, behaviour: Behaviour, pushers: int) -> None:
    registry.behaviour = behaviour
    got: dict[int, str] = {}
    start = threading.Barrier(pushers)

    def run(number: int) -> None:
        start.wait()
        got[number] = release(registry, number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(pushers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == pushers
    assert len(set(got.values())) == pushers
    tags = registry.repository("team/model").tags
    for number, tag in got.items():
        assert tags[tag] == str(Digest.of(image(number)))
