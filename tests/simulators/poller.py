"""A program that polls a channel as a device does, for use in a namespace:

python -m tests.simulators.poller CHANNEL ROOT.pem FOLDER NAME [--times N] [--known VALIDATOR] [--kept]

Each time is a session of its own with a full handshake; with --kept all are on one connection. Prints what its ledger says, and
the bytes of each time at the socket, as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

from wherry.agent.ledger import Ledger, Rules
from wherry.agent.link import Link
from wherry.agent.metered_socket import Tls
from wherry.agent.partial_file import PartialFile


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("channel", "root", "folder", "name"):
        parser.add_argument(name)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--known", default="")
    parser.add_argument("--kept", action="store_true")
    asked = parser.parse_args()
    ledger = Ledger(Path(asked.folder) / "ledger", Rules(), time.time)
    sessions, fetches = (1, asked.times) if asked.kept else (asked.times, 1)
    counts = [count for _ in range(sessions) for count in poll(asked, ledger, fetches)]
    month = ledger.read_month()
    print(json.dumps({"sent": month.sent, "received": month.received, "wire": month.wire, "times": counts}))


def poll(asked: argparse.Namespace, ledger: Ledger, fetches: int) -> Iterator[tuple[str, int]]:
    """What each fetch of a session brought, and its bytes."""
    partial = PartialFile(Path(asked.folder) / "parcel")
    with ledger.open_session("poll") as session, Link(asked.channel, session, Tls(Path(asked.root))) as link:
        for _ in range(fetches):
            before = session.sent + session.received
            news = link.fetch(asked.name, partial, known=asked.known, limit=10**9).news
            yield news.name, session.sent + session.received - before
            partial.discard()


if __name__ == "__main__":
    main()
