"""Looks whether a channel has news for this device, and brings them: the link, the ledger and a file that survives, together.

Order of a poll: what was begun; the parcel from the image that the device runs; where there is none, the full one. What was dealt
with (`settle`) is known by its validator and not fetched again, whether it was applied, refused or said nothing new; what was not
settled is there still after a restart, and asks the network nothing. Below the agent's state: `link/parcel`, `link/known.json`,
`ledger/`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from wherry.agent.exchange import Exchanges, Patience, check_address
from wherry.agent.ledger import Ledger, Rules
from wherry.agent.link import Link, News
from wherry.agent.metered_socket import Tls
from wherry.agent.parcel_source import ParcelSource
from wherry.agent.partial_file import PartialFile
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.model.release import locate_parcel
from wherry.store.posix import explain_os_errors, write_atomically

MAX_PARCEL = 8 << 30  # bytes, and half of what is free on the disk: lengths are a stranger's word until the whole is believed
_MAX_KNOWN = 16  # addresses whose validators are remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A channel on a web server; `certificates` instead of the system's."""

    url: str
    platform: Platform
    certificates: Path | None = None


class Poller:
    """Polls one channel. `state` is the agent's folder; `now` must not fall below the newest signed time."""

    def __init__(
        self, channel: Channel, state: Path, rules: Rules, now: Callable[[], float], patience: Patience | None = None
    ) -> None:
        self._channel, self._folder, self._patience = channel, state / "link", patience or Patience()
        self.ledger = Ledger(state / "ledger", rules, now)
        self._tls = Tls(channel.certificates)

    @contextmanager
    def poll(self, base: Digest | None) -> Iterator[ParcelSource | None]:
        """A parcel for the device that runs the image of manifest `base`, or for one that has nothing; None: nothing new.

        Raises what the link raises; `BudgetError` and `OutsideWindow` before anything is begun. Outside of a window a
        parcel that is here already is given all the same.
        """
        partial = PartialFile(self._folder / "parcel")
        try:
            where = self._bring(partial, base)
            yield ParcelSource(read=partial.read, size=partial.done, where=where) if where else None
        finally:
            partial.close()

    def ask(self, base: Digest | None) -> tuple[int, str]:
        """The status that the channel's server answers, and its clock (a Date of HTTP): one request for one byte, in the ledger."""
        address = f"{self._channel.url.rstrip('/')}/{locate_parcel(self._channel.platform, base)}"
        check_address(address)
        with self.ledger.open_session("doctor") as session, closing(Exchanges(session, self._tls, self._patience)) as exchanges:
            answer = exchanges.get(address, {"Range": "bytes=0-0"})
            exchanges.finish(answer)
            return answer.status, answer.header("Date")

    def settle(self, *, has_image: bool = True) -> None:
        """The parcel that `poll` gave was dealt with: forget it, and do not fetch it again, unless the image that the device has
        now is lost."""
        partial = PartialFile(self._folder / "parcel")
        content = partial.content
        if content is not None and content.validator:
            known = {address: entry for address, entry in self._read_known().items() if address != content.address}
            kept = [*known.items(), (content.address, (content.validator, has_image))][-_MAX_KNOWN:]
            with explain_os_errors(self._folder):
                write_atomically(self._folder / "known.json", json.dumps(dict(kept)).encode())
        partial.discard()

    def _bring(self, partial: PartialFile, base: Digest | None) -> str:
        """Where the parcel came from; empty when there is nothing new."""
        names = [locate_parcel(self._channel.platform, one) for one in dict.fromkeys((base, None))]
        addresses = {f"{self._channel.url.rstrip('/')}/{name}": name for name in names}
        begun = partial.content.address if partial.content else ""
        if partial.complete and begun in addresses:
            return begun
        known, limit = self._read_known(), self._choose_limit(partial)
        with (
            self.ledger.open_session("poll") as session,
            Link(self._channel.url, session, self._tls, patience=self._patience) as link,
        ):
            for address in sorted(addresses, key=lambda address: address != begun):
                validator, had_image = known.get(address, ("", False))
                # What left this device with an image is no answer to one that has none any more.
                validator = "" if had_image and base is None else validator
                found = link.fetch(addresses[address], partial, known=validator, limit=limit)
                if found.news is not News.MISSING:
                    return address if found.news is News.COMPLETE else ""
        return ""

    def _choose_limit(self, partial: PartialFile) -> int:
        with explain_os_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._folder).free
        return min(MAX_PARCEL, free // 2 + (partial.content.size if partial.content else 0))

    def _read_known(self) -> Mapping[str, tuple[str, bool]]:
        """By address: the validator of what was dealt with, and whether the device had an image then."""
        try:
            value = json.loads((self._folder / "known.json").read_bytes())
            return {str(address): (str(validator), bool(had_image)) for address, (validator, had_image) in value.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # nothing is lost but a few hundred bytes
