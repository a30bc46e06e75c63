"""Certificates, made once, as making keys takes long; and a repository with a store that begins with its root."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulators.certificates import Certificates, make_certificates
from tests.simulators.tuf_repository import TufRepository
from wherry.agent.trust import TrustStore


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def repository() -> TufRepository:
    return TufRepository()


@pytest.fixture
def store(tmp_path: Path, repository: TufRepository) -> TrustStore:
    store = TrustStore(tmp_path / "trust")
    store.begin(repository.roots[0])
    return store
