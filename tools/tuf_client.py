"""Drives the agent's verification as a client of any TUF repository, by the command line of the public conformance suite.

    tuf_client.py --metadata-dir DIR init ROOT.json
    tuf_client.py --metadata-dir DIR --metadata-url URL refresh
    tuf_client.py --metadata-dir DIR --metadata-url URL --target-name PATH … --target-base-url URL --target-dir OUT download

The rules are those of `wherry.formats.tuf_workflow`, what is believed lies in a `TrustStore`; here are only HTTP, the
order of requests and the walk through delegations, which wherry's channels do not have. Exit code 0 or 1.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from tuf.api.metadata import TargetFile

from wherry.agent.trust import TrustStore
from wherry.errors import TransferError, TrustError, WherryError
from wherry.formats import tuf_workflow as workflow
from wherry.formats.tuf_workflow import Clock, Trusted
from wherry.store.posix import write_atomically

MAX_DELEGATIONS = 32
TIMEOUT = 60

# Gives a file of the repository, at most so many bytes of it; None where it is not there.
Fetch = Callable[[str, int], bytes | None]


class Client:
    """One run: a state that grows step by step, and is kept at each of them."""

    def __init__(self, folder: Path, fetch: Fetch, now: datetime) -> None:
        self._folder, self._fetch, self._clock = folder, fetch, Clock(now=now)
        self._store = TrustStore(folder)
        self._trusted = self._store.read()
        self._loaded: set[tuple[str, str | None]] = set()

    @property
    def hashes_in_names(self) -> bool:
        return bool(self._trusted.root.signed.consistent_snapshot)

    def refresh(self) -> None:
        """Root, timestamp, snapshot, targets, in this order; what is kept already and fits is not fetched."""
        for _ in range(workflow.MAX_ROOTS):
            raw = self._fetch(f"{self._trusted.root.signed.version + 1}.root.json", workflow.MAX_ROOT)
            if raw is None:
                break
            self._keep(workflow.step_root(self._trusted, raw))
        raw = self._require("timestamp.json", workflow.MAX_TIMESTAMP)
        self._keep(workflow.step_timestamp(self._trusted, raw, self._clock))
        self._refresh_snapshot()
        self._load_targets("targets", None)

    def find_target(self, path: str) -> TargetFile:
        """Look for a target: the top first, then the roles that it delegates to, each with all of its own before the next."""
        waiting: list[tuple[str, str | None]] = [("targets", None)]
        seen: set[str] = set()
        while waiting and len(seen) <= MAX_DELEGATIONS:
            role, delegator = waiting.pop(0)
            if role in seen:
                continue
            self._load_targets(role, delegator)
            seen.add(role)
            targets = self._trusted.targets[role].signed
            if path in targets.targets:
                return targets.targets[path]
            below: list[tuple[str, str | None]] = []
            for name, is_terminating in targets.delegations.get_roles_for_target(path) if targets.delegations else ():
                below.append((name, role))
                if is_terminating:
                    waiting.clear()
                    break
            waiting = below + waiting
        raise TrustError("no target of this name", where=path)

    def _refresh_snapshot(self) -> None:
        named = self._trusted.timestamp
        assert named is not None
        meta = named.signed.snapshot_meta
        raw = b""  # not looked at where the one that is kept is current
        if not workflow.has_current_snapshot(self._trusted):
            name = f"{meta.version}.snapshot.json" if self.hashes_in_names else "snapshot.json"
            raw = self._require(name, meta.length or workflow.MAX_SNAPSHOT)
        self._keep(workflow.step_snapshot(self._trusted, raw, self._clock))

    def _load_targets(self, role: str, delegator: str | None) -> None:
        """What was kept serves if it fits; else it is fetched."""
        if (role, delegator) in self._loaded:
            return  # another delegator may ask for other keys
        path = self._folder / f"{quote(role, '')}.json"
        try:
            self._step_targets(path.read_bytes(), role, delegator)
        except (OSError, TrustError):
            snapshot = self._trusted.snapshot
            meta = snapshot.signed.meta.get(f"{role}.json") if snapshot else None
            if meta is None:
                raise TrustError("the snapshot does not name it", where=f"{role}.json") from None
            name = f"{quote(role, '')}.json"
            raw = self._require(f"{meta.version}.{name}" if self.hashes_in_names else name, meta.length or workflow.MAX_TARGETS)
            self._step_targets(raw, role, delegator)
            write_atomically(path, raw)

    def _step_targets(self, raw: bytes, role: str, delegator: str | None) -> None:
        self._trusted = workflow.step_targets(self._trusted, raw, self._clock, role=role, delegator=delegator)
        self._loaded.add((role, delegator))

    def _require(self, name: str, limit: int) -> bytes:
        raw = self._fetch(name, limit)
        if raw is None:
            raise TransferError("the repository does not have it", where=name)
        return raw

    def _keep(self, trusted: Trusted) -> None:
        self._trusted = trusted
        self._store.write(trusted)


def fetch_over_http(base: str) -> Fetch:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def fetch(name: str, limit: int) -> bytes | None:
        url = f"{base.rstrip('/')}/{name}"
        try:
            with opener.open(url, timeout=TIMEOUT) as answer:
                data: bytes = answer.read(limit + 1)
        except urllib.error.HTTPError as error:
            if error.code in (403, 404):
                return None
            raise TransferError(f"HTTP {error.code}", where=url) from error
        except OSError as error:
            raise TransferError(str(error), where=url) from error
        if len(data) > limit:
            raise TrustError(f"more than {limit} bytes", where=url)
        return data

    return fetch


def download_target(client: Client, path: str, fetch: Fetch, folder: Path) -> None:
    """Fetch a target unless it is there already; nothing unverified gets its name."""
    target = client.find_target(path)
    place = folder / quote(path, "")
    if place.is_file() and place.stat().st_size == target.length and _is_right(place.read_bytes(), target):
        return
    above, slash, name = path.rpartition("/")
    named = f"{above}{slash}{next(iter(target.hashes.values()))}.{name}" if client.hashes_in_names else path
    data = fetch(quote(named), target.length)
    if data is None or not _is_right(data, target):
        raise TrustError("missing, or not what was signed", where=path)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(place, data)


def _is_right(data: bytes, target: TargetFile) -> bool:
    if len(data) != target.length or not set(target.hashes) <= {"sha256", "sha384", "sha512"}:
        return False
    return all(hashlib.new(name, data).hexdigest() == value for name, value in target.hashes.items())


def _fail(message: str) -> None:
    print(message, file=sys.stderr)
    sys.exit(1)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="a TUF client over the agent's verification")
    parser.error = _fail  # type: ignore[method-assign, assignment]
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url", default="")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-base-url", default="")
    parser.add_argument("--target-dir", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    given = parser.parse_args(words)
    try:
        if given.command == "init":
            TrustStore(given.metadata_dir).begin(given.root.read_bytes())
            return 0
        client = Client(given.metadata_dir, fetch_over_http(given.metadata_url), datetime.now(UTC))
        client.refresh()
        for path in given.target_name if given.command == "download" else ():
            download_target(client, path, fetch_over_http(given.target_base_url), given.target_dir)
    except (WherryError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
