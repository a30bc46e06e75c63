"""Objects in S3, by obstore itself against a bucket on loopback: the contract, and answers that say "not now"."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulators.s3 import Bucket, run_bucket
from tests.unit.run.sweeps import Crew, make_state
from tests.unit.store.objects_contract import ObjectStoreContract
from wherry.errors import TransferError
from wherry.store.objects import ObjectStore
from wherry.store.objects_open import open_objects
from wherry.store.objects_patient import PatientObjects
from wherry.store.objects_remote import RemoteObjects

pytest.importorskip("obstore")


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Bucket, dict[str, str]]]:
    with run_bucket() as found:
        yield found


@pytest.fixture
def env(place: tuple[Bucket, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    for name, value in place[1].items():
        monkeypatch.setenv(name, value)
    place[0].weather = lambda _method, _key, _after: None
    yield place[1]
    place[0].weather = lambda _method, _key, _after: None


@pytest.fixture
def bucket(place: tuple[Bucket, dict[str, str]], env: dict[str, str]) -> Bucket:
    return place[0]


class TestS3(ObjectStoreContract):
    @pytest.fixture
    def store(self, env: dict[str, str]) -> ObjectStore:
        return RemoteObjects(f"s3://sweeps/{os.urandom(4).hex()}", env)


@pytest.mark.parametrize("status", [0, 409, 429, 500, 503])
def test_not_now(status: int, bucket: Bucket, env: dict[str, str]) -> None:
    bucket.weather = lambda method, _key, after: status if method == "PUT" and not after else None
    store = RemoteObjects("s3://sweeps/now", env)
    with pytest.raises(TransferError) as caught:
        store.put_if_absent("a", b"x")
    assert "someones" not in str(caught.value)
    assert "Debug source" not in str(caught.value)


@pytest.mark.parametrize("status", [0, 503])
def test_an_answer_that_was_lost(status: int, bucket: Bucket, env: dict[str, str]) -> None:
    left = iter([status])
    bucket.weather = lambda method, key, after: next(left, None) if method == "PUT" and after else None
    store = PatientObjects(RemoteObjects("s3://sweeps/lost", env), lambda _text: None, sleep=lambda _seconds: None)
    assert store.put_if_absent(f"a-{status}", b"mine")
    assert not store.put_if_absent(f"a-{status}", b"another's")


def test_a_sweep_in_bad_weather(bucket: Bucket, env: dict[str, str], tmp_path: Path) -> None:
    dice = random.Random(3)
    bucket.weather = lambda _method, _key, _after: dice.choice((0, 429, 503)) if dice.random() < 0.05 else None
    patient = PatientObjects(RemoteObjects("s3://sweeps/weather", env), lambda _text: None, sleep=lambda _seconds: None)
    script = f'echo out; echo {{i}} > "$WHERRY_OUTPUTS/m"; echo {{i}} >> {tmp_path}/ran'
    crew = Crew(make_state(tmp_path, script, 12, patient), tmp_path / "scratch")
    crew.work()
    assert crew.errors == []
    assert sorted(map(int, (tmp_path / "ran").read_text().split())) == list(range(12))
    assert [crew.text(task, "outputs/m") for task in range(12)] == [f"{task}\n" for task in range(12)]


def test_no_secret_is_kept_of_a_sweep(bucket: Bucket, env: dict[str, str], tmp_path: Path) -> None:
    store = open_objects("s3://sweeps/secrets", env)
    crew = Crew(make_state(tmp_path, "env | grep -v AWS_; exit 1", 2, store), tmp_path / "scratch")
    crew.work()
    kept = [data for key, data in bucket.objects.items() if key.startswith("secrets/")]
    assert len(kept) >= 6
    assert not any(env["AWS_SECRET_ACCESS_KEY"].encode() in data for data in kept)
