"""Puts documents that were signed anew into a channel: into its metadata, and into its parcels, which devices read.

A parcel is whole by itself, with all documents, and is replaced as a whole. A stop on the way leaves parcels of the former
and of the new state, each of them good; a refresh puts everything right. No number is given to two documents.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from wherry.deliver.channel import hold_channel, write_metadata, write_roots
from wherry.deliver.keys import Keys
from wherry.deliver.metadata import Renewal, RolePlan, refresh_timestamp, revoke_key, rotate_keys
from wherry.deliver.parcels import renew_parcels
from wherry.store.posix import explain_os_errors


def found_channel(folder: Path, root: bytes, keys: Keys) -> None:
    """Begin a channel with its first root."""
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with hold_channel(folder):
        write_roots(folder, (root,))
        keys.pin_root(root)


def refresh_channel(folder: Path, keys: Keys, now: datetime) -> Renewal:
    """Sign the timestamp anew and what else is due, so that devices go on believing the newest release."""
    keys.refuse_inside(folder)
    with hold_channel(folder):
        renewal = refresh_timestamp(folder, keys, now)
        _publish(folder, renewal, keys)
    return renewal


def rotate_role(folder: Path, role: str, keys: Keys, passphrase: str, now: datetime, plan: RolePlan | None = None) -> Renewal:
    """Give a role new keys and let devices know; the former ones are put aside."""
    keys.refuse_inside(folder)
    with hold_channel(folder):
        renewal, former = rotate_keys(folder, role, keys, passphrase, now, plan=plan)
        _publish(folder, renewal, keys)
        keys.retire(former)
    return renewal


def replace_key(folder: Path, keyid: str, keys: Keys, passphrase: str, now: datetime) -> Renewal:
    """Take out one key that is lost or stolen, put a new one in its place, and let devices know."""
    keys.refuse_inside(folder)
    with hold_channel(folder):
        renewal, revoked = revoke_key(folder, keyid, keys, passphrase, now)
        _publish(folder, renewal, keys)
        keys.retire((revoked,))
    return renewal


def _publish(folder: Path, renewal: Renewal, keys: Keys) -> None:
    if renewal.metadata is not None:
        write_metadata(folder, renewal.metadata)
        renew_parcels(folder, renewal.metadata)
    elif renewal.renewed:
        write_roots(folder, renewal.roots)
    if "root" in renewal.renewed:
        keys.pin_root(renewal.roots[-1])
