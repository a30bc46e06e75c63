"""What tests of trust do with a store: believe a release, or refuse it without a trace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.simulators.tuf_repository import AMD64, NOW
from wherry.agent.trust import TrustStore, VerifiedRelease
from wherry.errors import TrustError
from wherry.model.release import Metadata

DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def take(store: TrustStore, metadata: Metadata, now: datetime = NOW, max_age: timedelta = timedelta(0)) -> VerifiedRelease:
    verified = store.verify_metadata(metadata, AMD64, now=now, max_age=max_age)
    store.accept(verified)
    return verified


def refuse(store: TrustStore, metadata: Metadata, reason: str, now: datetime = NOW, max_age: timedelta = timedelta(0)) -> None:
    """A refusal leaves no trace."""
    before = store.read()
    with pytest.raises(TrustError, match=reason):
        store.verify_metadata(metadata, AMD64, now=now, max_age=max_age)
    after = store.read()
    assert (after.root.raw, after.timestamp and after.timestamp.raw) == (before.root.raw, before.timestamp and before.timestamp.raw)
