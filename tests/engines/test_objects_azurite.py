"""Objects in Azure's storage, as its emulator has it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.engines.azurite import Azurite, run_azurite
from tests.unit.store.objects_contract import ObjectStoreContract
from wherry.errors import StoreError, UsageError
from wherry.store.objects import ObjectStore
from wherry.store.objects_open import open_objects
from wherry.store.objects_remote import RemoteObjects

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def azurite() -> Iterator[Azurite]:
    with run_azurite() as running:
        yield running


@pytest.fixture
def env(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in azurite.env.items():
        monkeypatch.setenv(name, value)
    return azurite.env


class TestAzurite(ObjectStoreContract):
    @pytest.fixture
    def store(self, azurite: Azurite, env: dict[str, str]) -> ObjectStore:
        return RemoteObjects(f"az://{azurite.container}/{os.urandom(4).hex()}", env)


def test_its_address_opens_it_again(azurite: Azurite, env: dict[str, str]) -> None:
    open_objects(f"az://{azurite.container}/p/", env).put("a", b"x")
    held = open_objects(f"az://{azurite.container}", env).get("p/a")
    assert held is not None
    assert held.data == b"x"


def test_a_container_that_is_not_there(env: dict[str, str]) -> None:
    with pytest.raises(StoreError, match="not there"):
        RemoteObjects("az://nowhere/p", env).put("a", b"x")


def test_a_key_that_is_wrong_is_not_told(azurite: Azurite, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0LWtleQ==")
    with pytest.raises(StoreError, match="no access") as caught:
        RemoteObjects(f"az://{azurite.container}/p", env).put("a", b"x")
    assert "c2VjcmV0" not in str(caught.value)


def test_a_credential_in_an_address_is_refused() -> None:
    with pytest.raises(UsageError, match="credential") as caught:
        open_objects("az://me:secret@sweeps/p?sig=abc", {})
    assert "secret" not in str(caught.value)
    assert "abc" not in str(caught.value)
