"""What a device believes, kept in a folder: `root.json`, `timestamp.json`, `snapshot.json`, `targets.json`.

The rules are in `wherry.formats.tuf_workflow`; here they are put in order and their outcome is kept. To verify writes
nothing, to accept writes each file as a whole, in the order in which they vouch for one another: after a power cut
between two of them the device believes a little less new things, never wrong ones. Refused: whatever the rules refuse,
a release without this device's platform, and any beginning without a root.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from wherry.errors import DeviceError, TrustError
from wherry.formats import tuf_workflow
from wherry.formats.release_json import parse_release_target
from wherry.formats.tuf_workflow import MAX_ROOTS, Clock, Trusted
from wherry.model.platform import Platform
from wherry.model.release import Metadata, ReleaseTarget
from wherry.store.posix import explain_os_errors, write_atomically

_MISSING = "the channel's 1.root.json, brought by a way that you trust"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedRelease:
    """A release that may be believed, and what is believed with it. `expired_for` is how long ago its timestamp
    expired: zero, or what `max_age` allowed, which belongs into the device's log."""

    target: ReleaseTarget
    trusted: Trusted
    expired_for: timedelta


class TrustStore:
    """One device's trust in one channel. Whoever uses it holds the device's lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, root: bytes) -> None:
        """Trust this root. What it does not vouch for counts no longer; what it does goes on protecting from rollbacks."""
        tuf_workflow.trust_root(root)
        with explain_os_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path("root"), root)

    def read(self) -> Trusted:
        """What is believed now."""
        root = self._read("root", tuf_workflow.MAX_ROOT)
        if root is None:
            raise DeviceError("this device trusts no channel yet", where=str(self._path("root")), hint=_MISSING)
        timestamp = self._read("timestamp", tuf_workflow.MAX_TIMESTAMP)
        return tuf_workflow.recall_trust(root, timestamp, self._read("snapshot", tuf_workflow.MAX_SNAPSHOT))

    def write(self, trusted: Trusted) -> None:
        """Keep what is believed now; files that are so already are left alone."""
        kept = (("root", trusted.root), ("timestamp", trusted.timestamp), ("snapshot", trusted.snapshot))
        for role, document in (*kept, ("targets", trusted.targets.get("targets"))):
            if document is not None and self._read(role, len(document.raw)) != document.raw:
                with explain_os_errors(self._folder):
                    write_atomically(self._path(role), document.raw)

    def verify_metadata(
        self, metadata: Metadata, platform: Platform, *, now: datetime, max_age: timedelta = timedelta(0)
    ) -> VerifiedRelease:
        """Hold documents against what is believed; nothing is written. `now` is aware of its zone."""
        clock = Clock(now=now, max_age=max_age)
        trusted = follow_roots(self.read(), metadata.roots)
        trusted = tuf_workflow.step_timestamp(trusted, metadata.timestamp, clock)
        trusted = tuf_workflow.step_snapshot(trusted, metadata.snapshot, clock)
        trusted = tuf_workflow.step_targets(trusted, metadata.targets, clock)
        return VerifiedRelease(target=find_target(trusted, platform), trusted=trusted, expired_for=trusted.measure_age(clock))

    def accept(self, verified: VerifiedRelease) -> None:
        """From now on, nothing older than this."""
        self.write(verified.trusted)

    def _path(self, role: str) -> Path:
        return self._folder / f"{role}.json"

    def _read(self, role: str, limit: int) -> bytes | None:
        """A file's bytes, one more than `limit` at most: enough to see that it is too long."""
        with explain_os_errors(self._folder):
            try:
                with self._path(role).open("rb") as file:
                    return file.read(limit + 1)
            except FileNotFoundError:
                return None


def follow_roots(trusted: Trusted, roots: tuple[bytes, ...]) -> Trusted:
    """Go from the believed root to the last of `roots`; those that are not newer are passed over."""
    if len(roots) > MAX_ROOTS:
        raise TrustError(f"{len(roots)} roots, at most {MAX_ROOTS} are followed", where="root.json")
    for raw in roots:
        if tuf_workflow.read_root_version(raw) > trusted.root.signed.version:
            trusted = tuf_workflow.step_root(trusted, raw)
    return trusted


def find_target(trusted: Trusted, platform: Platform) -> ReleaseTarget:
    """The release for one platform, out of targets that are believed."""
    targets = trusted.targets["targets"].signed.targets
    target = targets.get(str(platform))
    if target is None:
        has = ", ".join(sorted(targets)[:8])
        raise DeviceError(f"nothing is released for {platform}", where="targets.json", hint=f"it has {has}" if has else None)
    return parse_release_target(target.path, target.length, target.hashes.get("sha256", ""), target.custom)
