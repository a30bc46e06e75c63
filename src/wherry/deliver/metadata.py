"""Signing a channel's documents: what of them has to be signed anew, by which keys, and until when it holds.

Pure but for the keys, which are read from their folders: nothing is written here. Documents are compact, and equal for
equal input: ed25519, canonical JSON, no more signatures than the threshold asks for, no hashes where numbers do. How
many days a role's documents hold stands in the root, signed. Refused: a clock that is a day or more behind what is
signed already, for devices would refuse what it signs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata as TufMetadata
from tuf.api.metadata import MetaFile, Role, Root, Snapshot, TargetFile, Targets, Timestamp

from wherry.deliver.channel import Channel, read_channel
from wherry.deliver.keys import ROLES, Keys, check_passphrase
from wherry.errors import TrustError, UsageError
from wherry.formats.release_json import parse_release_target, render_release_custom
from wherry.formats.tuf_workflow import (
    DAYS,
    Clock,
    Document,
    is_vouched_for,
    step_snapshot,
    step_targets,
    step_timestamp,
    trust_root,
)
from wherry.model.release import Metadata, ReleaseTarget

PERIODS: Mapping[str, int] = {"root": 365, "targets": 365, "snapshot": 365, "timestamp": 14}
SPEC_VERSION = "1.0.31"
_DATED = ("root", "timestamp")  # the documents that tell devices the time
_SKEW = timedelta(days=1)
_P = TypeVar("_P", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePlan:
    """`count` keys of a role, of which `threshold` sign; its documents hold `days`."""

    count: int
    threshold: int
    days: int

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= self.count <= 32:
            raise UsageError(f"{self.count} keys of which {self.threshold} sign are not possible", hint="such as 3/2")
        if not 1 <= self.days <= 36_500:
            raise UsageError(f"documents cannot hold {self.days} days")


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """`renewed` are the roles that were signed; `postponed` those that expire soon, and whose keys are not here."""

    roots: tuple[bytes, ...]
    metadata: Metadata | None
    renewed: tuple[str, ...]
    postponed: tuple[str, ...] = ()


def sign_first_root(plans: Mapping[str, RolePlan], keys: Keys, passphrases: Mapping[str, str], now: datetime) -> bytes:
    """Make the keys of all roles, and the root of a new channel."""
    for passphrase in passphrases.values():
        check_passphrase(passphrase)
    root = Root(version=1, spec_version=SPEC_VERSION, roles={role: Role([], plans[role].threshold) for role in ROLES})
    for role in ROLES:
        root.roles[role].unrecognized_fields[DAYS] = plans[role].days
        for _ in range(plans[role].count):
            root.add_key(keys.make(role, passphrases.get(role, "")).public_key, role)
    return _sign_root(root, None, keys, now)


def sign_release(folder: Path, targets: Sequence[ReleaseTarget], keys: Keys, now: datetime) -> Metadata:
    """Sign a release for the channel in `folder`; it says of all platforms what it says, nothing of a former release stays."""
    channel = read_channel(folder, keys.read_pinned_root())
    named = {str(target.platform): _render_target(target) for target in targets}
    if len(named) != len(targets) or not named:
        raise UsageError("a release has one image for each of its platforms")
    payload = _succeed(channel.targets, Targets)
    payload.targets = named
    metadata = _sign_metadata(channel, {"targets", "snapshot", "timestamp"}, keys, now, payload)
    _prove(metadata, now)
    return metadata


def read_release(channel: Channel) -> tuple[ReleaseTarget, ...]:
    """What the channel's targets say now; nothing before the first release."""
    if channel.targets is None:
        return ()
    targets = channel.targets.signed.targets.values()
    read = (parse_release_target(each.path, each.length, each.hashes.get("sha256", ""), each.custom) for each in targets)
    return tuple(sorted(read, key=lambda target: target.platform))


def refresh_timestamp(folder: Path, keys: Keys, now: datetime) -> Renewal:
    """Sign the timestamp anew, and what else expires within a third of its days, as far as its keys are here."""
    channel = read_channel(folder, keys.read_pinned_root())
    root, raws = channel.root, _raws(channel)
    soon = _find_due(channel, now)
    postponed = {role for role in soon if not keys.has_signers(root.roles[role].keyids, root.roles[role].threshold)}
    renewed = soon - postponed
    if "root" in renewed:
        raws = (*raws, _sign_root(_succeed(channel.roots[-1], Root), root, keys, now))
        channel = _with_root(channel, raws[-1])
    metadata = None
    if channel.targets is not None:
        renewed |= {"timestamp"} | ({"snapshot"} if "targets" in renewed else set())
        metadata = _sign_metadata(channel, renewed - {"root"}, keys, now)
    return Renewal(roots=raws, metadata=metadata, renewed=_ordered(renewed), postponed=_ordered(postponed))


def rotate_keys(
    folder: Path, role: str, keys: Keys, passphrase: str, now: datetime, *, plan: RolePlan | None = None
) -> tuple[Renewal, tuple[str, ...]]:
    """Give a role new keys, and sign with them what it signs. Also gives the ids of the keys that no role has any longer."""
    channel = _open_for_change(folder, keys)
    root = _succeed(channel.roots[-1], Root)
    former = tuple(root.roles[role].keyids)
    for keyid in former:
        root.revoke_key(keyid, role)
    if plan is not None:
        root.roles[role].threshold = plan.threshold
        root.roles[role].unrecognized_fields[DAYS] = plan.days
    for _ in range(plan.count if plan else len(former)):
        root.add_key(keys.make(role, passphrase).public_key, role)
    return _change_root(channel, root, keys, now, {role}), former


def find_role(channel: Channel, text: str) -> tuple[str, str]:
    """The role and the whole id of a key that is named by the beginning of its id."""
    found = [(role, keyid) for role in ROLES for keyid in channel.root.roles[role].keyids if keyid.startswith(text)]
    if len(found) != 1 or not text:
        have = ", ".join(f"{role} {keyid}" for role in ROLES for keyid in channel.root.roles[role].keyids)
        raise UsageError(f"{'no key' if not found else 'more than one key'} begins with {text!r}", hint=f"the channel has {have}")
    return found[0]


def revoke_key(folder: Path, keyid: str, keys: Keys, passphrase: str, now: datetime) -> tuple[Renewal, str]:
    """Take one key out of its role and put a new one in its place. Also gives the id of the one that was taken out."""
    channel = _open_for_change(folder, keys)
    role, revoked = find_role(channel, keyid)
    root = _succeed(channel.roots[-1], Root)
    root.revoke_key(revoked, role)
    root.add_key(keys.make(role, passphrase).public_key, role)
    return _change_root(channel, root, keys, now, {role}), revoked


def plan_role(root: Root, role: str) -> RolePlan:
    """The numbers of a role as they are."""
    has = root.roles[role]
    return RolePlan(count=len(has.keyids), threshold=has.threshold, days=_days_of(root, role))


def _open_for_change(folder: Path, keys: Keys) -> Channel:
    """No new key is made before it is certain that a root can be signed."""
    channel = read_channel(folder, keys.read_pinned_root())
    role = channel.root.roles["root"]
    keys.find_signers("root", role.keyids, role.threshold)
    return channel


def _prove(metadata: Metadata, now: datetime) -> None:
    """What is signed is what a device believes: an expired root is told here, not on the road."""
    clock = Clock(now=now)
    trusted = step_timestamp(trust_root(metadata.roots[-1]), metadata.timestamp, clock)
    step_targets(step_snapshot(trusted, metadata.snapshot, clock), metadata.targets, clock)


def _change_root(channel: Channel, root: Root, keys: Keys, now: datetime, roles: set[str]) -> Renewal:
    """Sign a root by the former and its own keys, and all that its changed roles sign."""
    raw = _sign_root(root, channel.root, keys, now)
    after = _with_root(channel, raw)
    if channel.targets is None:
        return Renewal(roots=_raws(after), metadata=None, renewed=("root",))
    changed = roles - {"root"}
    if "targets" in changed:
        changed |= {"snapshot"}
    changed |= {"timestamp"}
    return Renewal(roots=_raws(after), metadata=_sign_metadata(after, changed, keys, now), renewed=_ordered(changed | {"root"}))


def _sign_root(root: Root, former: Root | None, keys: Keys, now: datetime) -> bytes:
    _date(root, "root", root, now)
    signers: dict[str, CryptoSigner] = {}
    for vouching in filter(None, (former, root)):
        role = vouching.roles["root"]
        signers |= {signer.public_key.keyid: signer for signer in keys.find_signers("root", role.keyids, role.threshold)}
    return _sign(root, signers.values())


def _sign_metadata(channel: Channel, roles: set[str], keys: Keys, now: datetime, targets: Targets | None = None) -> Metadata:
    """Sign the documents of `roles`; the others stay, byte by byte."""
    raw: dict[str, bytes] = {}
    targets = targets or _succeed(channel.targets, Targets)
    snapshot = _succeed(channel.snapshot, Snapshot)
    timestamp = _succeed(channel.timestamp, Timestamp)
    numbers = _number_of(channel.targets, targets, "targets" in roles), _number_of(channel.snapshot, snapshot, "snapshot" in roles)
    snapshot.meta = {"targets.json": MetaFile(numbers[0])}
    timestamp.snapshot_meta = MetaFile(numbers[1])
    for role, payload, former in (
        ("targets", targets, channel.targets),
        ("snapshot", snapshot, channel.snapshot),
        ("timestamp", timestamp, channel.timestamp),
    ):
        if role in roles:
            raw[role] = _sign_payload(payload, role, channel.root, keys, now, former)
        elif former is not None:
            raw[role] = former.raw
    return Metadata(roots=_raws(channel), timestamp=raw["timestamp"], snapshot=raw["snapshot"], targets=raw["targets"])


def _sign_payload(payload: Any, role: str, root: Root, keys: Keys, now: datetime, former: Document[Any] | None) -> bytes:
    _date(payload, role, root, now)
    if role == "timestamp" and former is not None and is_vouched_for(root, former):
        _keep_time(payload, former)
    return _sign(payload, keys.find_signers(role, root.roles[role].keyids, root.roles[role].threshold))


def _sign(payload: Any, signers: Iterable[CryptoSigner]) -> bytes:
    metadata: TufMetadata[Any] = TufMetadata(payload)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def _date(payload: Any, role: str, root: Root, now: datetime) -> None:
    """Say until when it holds and, where devices tell the time by it, since when."""
    days = _days_of(root, role)
    if role in _DATED:
        payload.unrecognized_fields[DAYS] = days
    payload.expires = now.replace(microsecond=0) + timedelta(days=days)


def _keep_time(timestamp: Timestamp, former: Document[Timestamp]) -> None:
    """A timestamp never says an earlier time than its predecessor: clocks that differ a little are made up for."""
    days = timedelta(days=timestamp.unrecognized_fields[DAYS])
    before, issued = former.issued, timestamp.expires - days
    if before is None or before <= issued:
        return
    if before - issued >= _SKEW:
        raise TrustError(
            f"the last one was signed on {before:%Y-%m-%d %H:%M} UTC, and this machine says that it is {issued:%Y-%m-%d %H:%M}",
            where="timestamp.json",
            hint="set this machine's clock; if it is right, the last one was wrong: wherry channel keys rotate",
        )
    timestamp.expires = before + days


def _find_due(channel: Channel, now: datetime) -> set[str]:
    """The roles whose documents expire within a third of their days, or that the newest root no longer vouches for."""
    documents: dict[str, Document[Any] | None] = {
        "root": channel.roots[-1],
        "targets": channel.targets,
        "snapshot": channel.snapshot,
    }
    due = set()
    for role, document in documents.items():
        if document is None:
            continue
        if (
            not is_vouched_for(channel.root, document)
            or document.signed.expires - now < timedelta(days=_days_of(channel.root, role)) / 3
        ):
            due.add(role)
    return due


def _days_of(root: Root, role: str) -> int:
    days = root.roles[role].unrecognized_fields.get(DAYS)
    return days if isinstance(days, int) else PERIODS[role]


def _succeed(document: Document[_P] | None, kind: type[_P]) -> _P:
    """The payload that follows on a document: a copy with the next number."""
    if document is None:
        return kind(version=1, spec_version=SPEC_VERSION)
    payload = copy.deepcopy(document.signed)
    payload.version += 1
    return payload


def _number_of(former: Document[Any] | None, payload: Any, is_signed: bool) -> int:
    return int(payload.version if is_signed or former is None else former.signed.version)


def _render_target(target: ReleaseTarget) -> TargetFile:
    custom = {"custom": render_release_custom(target)}
    return TargetFile(target.size, {"sha256": target.manifest.hex}, str(target.platform), custom)


def _with_root(channel: Channel, raw: bytes) -> Channel:
    root = trust_root(raw).root
    return Channel(roots=(*channel.roots, root), timestamp=channel.timestamp, snapshot=channel.snapshot, targets=channel.targets)


def _raws(channel: Channel) -> tuple[bytes, ...]:
    return tuple(root.raw for root in channel.roots)


def _ordered(roles: set[str]) -> tuple[str, ...]:
    return tuple(role for role in ROLES if role in roles)
