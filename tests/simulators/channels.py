"""Channels with keys, made quickly: without passphrases unless a test wants them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from tests.simulators.tuf_repository import NOW
from wherry.deliver.channel import write_roots
from wherry.deliver.keys import ROLES, Keys
from wherry.deliver.metadata import PERIODS, RolePlan, sign_first_root

PASSPHRASE = "correct horse battery"


def plan_roles(**counts: tuple[int, int]) -> dict[str, RolePlan]:
    """One key for each role, or (count, threshold) as given."""
    numbers = {role: counts.get(role, (1, 1)) for role in ROLES}
    return {role: RolePlan(count=count, threshold=least, days=PERIODS[role]) for role, (count, least) in numbers.items()}


def open_keys(*folders: Path, passphrase: str = PASSPHRASE) -> Keys:
    return Keys(folders, lambda _path: passphrase)


def make_channel(
    folder: Path,
    keys: Path,
    *,
    now: datetime = NOW,
    plans: Mapping[str, RolePlan] | None = None,
    passphrases: Mapping[str, str] | None = None,
) -> Keys:
    """A channel in `folder` that has a root and no release yet; its keys in `keys`."""
    opened = open_keys(keys)
    root = sign_first_root(plans or plan_roles(), opened, passphrases or {}, now)
    write_roots(folder, (root,))
    opened.pin_root(root)
    return opened
