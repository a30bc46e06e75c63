"""A device behind a link that can be cut, and a server that can misbehave."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.simulators.certificates import Certificates
from tests.simulators.link import LinkSimulator
from tests.simulators.web import WebSimulator
from wherry.agent.exchange import Patience
from wherry.agent.ledger import Ledger, Rules
from wherry.agent.link import Link, Poll
from wherry.agent.metered_socket import Tls
from wherry.agent.partial_file import BLOCK, PartialFile
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.model.release import locate_parcel

NAME = locate_parcel(Platform("linux", "amd64"), Digest.of(b"base"))
PATH = f"/channel/{NAME}"
SMALL = random.Random(1).randbytes(850)
LARGE = random.Random(2).randbytes(6 * BLOCK + 777)
QUICK = Patience(connect=5, stall=0.5, block=5, attempts=3, first_wait=0.25)
LIMIT = 10**7
CONNECTION = 5_000  # bytes at the socket that a connection costs at most, with one request


@dataclass
class Device:
    """A device behind a link. `slept` are the pauses it made."""

    web: WebSimulator
    link: LinkSimulator
    tls: Tls
    folder: Path
    rules: Rules = field(default_factory=Rules)
    patience: Patience = QUICK
    slept: list[float] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder / "ledger", self.rules, time.time)

    @property
    def channel(self) -> str:
        return f"{self.web.scheme}://127.0.0.1:{self.link.port}/channel"

    def fetch(self, known: str = "", limit: int = LIMIT, name: str = NAME) -> Poll:
        """One session, as of a process of its own."""
        partial = PartialFile(self.folder / "parcel")
        try:
            with self.ledger.open_session("poll") as session:
                link = Link(self.channel, session, self.tls, patience=self.patience, pause=self.slept.append)
                with link:
                    return link.fetch(name, partial, known=known, limit=limit)
        finally:
            partial.close()

    @property
    def got(self) -> bytes:
        partial = PartialFile(self.folder / "parcel")
        try:
            return partial.read(0, LIMIT)
        finally:
            partial.close()

    @property
    def statuses(self) -> list[int]:
        return [seen.status for seen in self.web.seen]


@contextmanager
def make_device(folder: Path, certificates: Certificates | None, body: bytes, **context: Any) -> Iterator[Device]:
    tls = certificates.server_context(**context) if certificates else None
    with WebSimulator({PATH: body}, tls=tls) as web, LinkSimulator(web.address) as link:
        yield Device(web=web, link=link, tls=Tls(certificates.root if certificates else None), folder=folder)
