"""What a device may come to believe: TUF's client workflow (TUF 1.0, section 5) as steps between frozen states.

Opens nothing and writes nothing: bytes in, a new state or a `TrustError` out, and the former state still holds.
python-tuf parses documents and checks signatures; the order, the rules and the clock are here:

- A root is believed when enough keys of the former *and* of its own list signed it, and it is the next by number.
- What a new root no longer vouches for is forgotten. So keys that were taken away end a fast-forward attack.
- No timestamp, no snapshot and no document named by it ever goes back by number; nothing named ever vanishes.
- Snapshot and targets are those that the timestamp and the snapshot name: no mixing.
- Two names of one key count once.
- A signed document with ``x-wherry-days`` says when it was signed: that long before it expires. The clock is never
  earlier than what timestamp and root say. A timestamp that says an earlier time than its predecessor is refused.
- Root and targets must not have expired. Timestamp and snapshot neither, or at most `Clock.max_age` ago.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Generic, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Signed, Snapshot, Targets, Timestamp

from wherry.errors import TrustError

# More than a channel of ours comes near to; parsing as much takes a few MB of memory.
MAX_ROOT = 64 << 10
MAX_TIMESTAMP = 16 << 10
MAX_SNAPSHOT = 64 << 10
MAX_TARGETS = 512 << 10
_LIMITS = {"root": MAX_ROOT, "timestamp": MAX_TIMESTAMP, "snapshot": MAX_SNAPSHOT, "targets": MAX_TARGETS}
MAX_ROOTS = 256  # followed at once
DAYS = "x-wherry-days"

_S = TypeVar("_S", Root, Timestamp, Snapshot, Targets)
_NOTHING = timedelta(0)
_NO_ROLES: Mapping[str, Document[Targets]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """`now` is aware; `max_age` is how long ago timestamp and snapshot may have expired."""

    now: datetime
    max_age: timedelta = _NOTHING


@dataclass(frozen=True, slots=True)
class Document(Generic[_S]):
    """A signed document: its bytes, and what they say."""

    raw: bytes
    metadata: Metadata[_S]

    @property
    def signed(self) -> _S:
        return self.metadata.signed

    @property
    def issued(self) -> datetime | None:
        """When it was signed, as far as it says so."""
        days = self.signed.unrecognized_fields.get(DAYS)
        if not isinstance(days, int) or isinstance(days, bool) or not 0 < days <= 36_500:
            return None
        try:
            return self.signed.expires - timedelta(days=days)
        except OverflowError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """What is believed. `snapshot` may be that of a former timestamp, kept against rollbacks; `targets` are by role
    name, and all fit the snapshot."""

    root: Document[Root]
    timestamp: Document[Timestamp] | None = None
    snapshot: Document[Snapshot] | None = None
    targets: Mapping[str, Document[Targets]] = field(default_factory=lambda: _NO_ROLES)

    @property
    def floor(self) -> datetime | None:
        """The newest signed time that was seen: it cannot be earlier than that."""
        documents = (self.root, self.timestamp)
        return max((document.issued for document in documents if document and document.issued), default=None)

    def tell_time(self, clock: Clock) -> datetime:
        """`clock.now`, or the newest signed time if that is later."""
        return max(clock.now, self.floor or clock.now)

    def measure_age(self, clock: Clock) -> timedelta:
        """How long ago the timestamp expired; zero while it holds."""
        return max(self.tell_time(clock) - self.timestamp.signed.expires, _NOTHING) if self.timestamp else _NOTHING


def read_signed(raw: bytes, kind: type[_S], root: Root) -> Document[_S]:
    """A document that `root` vouches for; it may have expired, and may be of any number."""
    document = _parse(raw, kind, _LIMITS[kind.type], f"{kind.type}.json")
    _check_signatures(root, document, kind.type, f"{kind.type}.json")
    return document


def is_vouched_for(root: Root, document: Document[_S] | None) -> bool:
    """Whether enough of the keys signed it that `root` names now."""
    if document is None:
        return False
    try:
        _check_signatures(root, document, document.signed.type, "")
    except TrustError:
        return False
    return True


def trust_root(raw: bytes) -> Trusted:
    """Begin with a root that came by a trusted way. It has to be signed by its own keys, and may have expired."""
    root = _parse(raw, Root, MAX_ROOT, "root.json")
    _check_signatures(root.signed, root, "root", "root.json")
    return Trusted(root=root)


def recall_trust(root: bytes, timestamp: bytes | None, snapshot: bytes | None) -> Trusted:
    """What a device believed when it kept these. A damaged timestamp or snapshot counts as none."""
    believed = trust_root(root)
    kept_timestamp = _recall(timestamp, Timestamp, believed.root.signed)
    kept_snapshot = _recall(snapshot, Snapshot, believed.root.signed)
    return replace(believed, timestamp=kept_timestamp, snapshot=kept_snapshot)


def read_root_version(raw: bytes) -> int:
    """The number that a root gives itself; nothing of it is believed."""
    return _parse(raw, Root, MAX_ROOT, "root.json").signed.version


def step_root(trusted: Trusted, raw: bytes) -> Trusted:
    """Follow to the next root."""
    where = f"{trusted.root.signed.version + 1}.root.json"
    new = _parse(raw, Root, MAX_ROOT, where)
    if new.signed.version != trusted.root.signed.version + 1:
        raise TrustError(f"this is root {new.signed.version}", where=where)
    _check_signatures(trusted.root.signed, new, "root", where)
    _check_signatures(new.signed, new, "root", where)
    return Trusted(
        root=new,
        timestamp=trusted.timestamp if is_vouched_for(new.signed, trusted.timestamp) else None,
        snapshot=trusted.snapshot if is_vouched_for(new.signed, trusted.snapshot) else None,
    )


def step_timestamp(trusted: Trusted, raw: bytes, clock: Clock) -> Trusted:
    """Take a timestamp; one of the same number changes nothing. Ends with one that holds, under a root that holds."""
    _refuse_expired(trusted.root.signed, trusted.tell_time(clock), _NOTHING, "root.json")
    where = "timestamp.json"
    new = _parse(raw, Timestamp, MAX_TIMESTAMP, where)
    _check_signatures(trusted.root.signed, new, "timestamp", where)
    former = trusted.timestamp
    if former is not None and new.signed.version == former.signed.version:
        new = former
    elif former is not None:
        _refuse_older_timestamp(former, new, where)
    after = replace(trusted, timestamp=new, targets=_NO_ROLES)
    _refuse_expired(new.signed, after.tell_time(clock), clock.max_age, where)
    return after


def has_current_snapshot(trusted: Trusted) -> bool:
    """Whether the snapshot that is believed is the one that the timestamp names."""
    if trusted.timestamp is None or trusted.snapshot is None:
        return False
    return trusted.snapshot.signed.version == trusted.timestamp.signed.snapshot_meta.version


def step_snapshot(trusted: Trusted, raw: bytes, clock: Clock) -> Trusted:
    """Take the snapshot that the timestamp names; one of the same number as the believed one changes nothing."""
    where = "snapshot.json"
    if trusted.timestamp is None:
        raise TrustError("no timestamp is believed yet", where=where)
    named = trusted.timestamp.signed.snapshot_meta
    if trusted.snapshot is not None and has_current_snapshot(trusted):
        new = trusted.snapshot
    else:
        with _explain(where):
            named.verify_length_and_hashes(raw)
        new = _parse(raw, Snapshot, MAX_SNAPSHOT, where)
        _check_signatures(trusted.root.signed, new, "snapshot", where)
        if new.signed.version != named.version:
            raise TrustError(f"this is snapshot {new.signed.version}, the timestamp names {named.version}", where=where)
        if trusted.snapshot is not None:
            _refuse_older_snapshot(trusted.snapshot.signed, new.signed, where)
    _refuse_expired(new.signed, trusted.tell_time(clock), clock.max_age, where)
    return replace(trusted, snapshot=new, targets=_NO_ROLES)


def step_targets(trusted: Trusted, raw: bytes, clock: Clock, *, role: str = "targets", delegator: str | None = None) -> Trusted:
    """Take the targets of a role that the snapshot names. `delegator` is the role that delegates; None is the root."""
    where = f"{role[:80]}.json"
    if trusted.snapshot is None or not has_current_snapshot(trusted):
        raise TrustError("no snapshot is believed yet", where=where)
    named = trusted.snapshot.signed.meta.get(f"{role}.json")
    if named is None:
        raise TrustError("the snapshot does not name it", where=where)
    with _explain(where):
        named.verify_length_and_hashes(raw)
    new = _parse(raw, Targets, MAX_TARGETS, where)
    above = trusted.root.signed if delegator is None else trusted.targets[delegator].signed
    _check_signatures(above, new, role, where)
    if new.signed.version != named.version:
        raise TrustError(f"these are targets {new.signed.version}, the snapshot names {named.version}", where=where)
    _refuse_expired(new.signed, trusted.tell_time(clock), _NOTHING, where)
    return replace(trusted, targets=MappingProxyType({**trusted.targets, role: new}))


def _refuse_older_timestamp(former: Document[Timestamp], new: Document[Timestamp], where: str) -> None:
    for name, before, after in (
        ("timestamp", former.signed.version, new.signed.version),
        ("snapshot", former.signed.snapshot_meta.version, new.signed.snapshot_meta.version),
    ):
        if after < before:
            raise TrustError(f"goes back to {name} {after}, after {before} was seen", where=where, hint=_OLDER)
    if former.issued and (new.issued is None or new.issued < former.issued):
        raise TrustError(f"says an earlier time than the one before it, {former.issued:%Y-%m-%d %H:%M} UTC", where=where)


def _refuse_older_snapshot(former: Snapshot, new: Snapshot, where: str) -> None:
    for name, before in former.meta.items():
        after = new.meta.get(name)
        if after is None:
            raise TrustError(f"no longer names {name[:80]}", where=where)
        if after.version < before.version:
            raise TrustError(f"goes back to {name[:80]} {after.version}, after {before.version} was seen", where=where, hint=_OLDER)


_OLDER = "an old copy of the channel or of a parcel; take it anew"


def _refuse_expired(signed: Signed, moment: datetime, tolerance: timedelta, where: str) -> None:
    late = moment - signed.expires
    if late >= tolerance:
        allowed = f"; at most {tolerance.days} days of that are allowed" if tolerance else ""
        hint = "look at this device's clock; else the operator runs wherry channel refresh"
        raise TrustError(f"expired on {signed.expires:%Y-%m-%d %H:%M} UTC{allowed}", where=where, hint=hint)


def _recall(raw: bytes | None, kind: type[_S], root: Root) -> Document[_S] | None:
    try:
        return None if raw is None else read_signed(raw, kind, root)
    except TrustError:
        return None


def _parse(raw: bytes, kind: type[_S], limit: int, where: str) -> Document[_S]:
    if len(raw) > limit:
        raise TrustError(f"{len(raw)} bytes, at most {limit} are read", where=where)
    with _explain(where):
        metadata = Metadata[_S].from_bytes(raw)
    if not isinstance(metadata.signed, kind):
        raise TrustError(f"this is {metadata.signed.type}, expected {kind.type}", where=where)
    return Document(raw, metadata)


def _check_signatures(above: Root | Targets, document: Document[_S], role: str, where: str) -> None:
    """As many different keys as `above` asks for must have signed."""
    with _explain(where):
        result = above.get_verification_result(role, document.metadata.signed_bytes, document.metadata.signatures)
        keys = {repr((key.keytype, key.keyval)) for key in result.signed.values()}
    if len(keys) < result.threshold:
        raise TrustError(f"signed by {len(keys)} of {result.threshold} keys that {role} needs", where=where)


@contextmanager
def _explain(where: str) -> Iterator[None]:
    """Foreign documents can be wrong in more ways than python-tuf names."""
    try:
        yield
    except (RepositoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        cause = error.__cause__ or error
        raise TrustError(f"not a document of TUF: {str(cause)[:200]}", where=where) from error
