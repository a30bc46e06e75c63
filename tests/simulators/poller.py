"""A program that polls a channel as a device does, for use in a namespace:

python -m tests.simulators.poller CHANNEL ROOT.pem FOLDER TIMES NAME [KNOWN]

Each time is a session of its own with a full handshake. Prints what its ledger says, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from wherry.agent.ledger import Ledger, Rules
from wherry.agent.link import Link
from wherry.agent.metered_socket import Tls
from wherry.agent.partial_file import PartialFile


def main(channel: str, root: str, folder: str, times: str, name: str, known: str = "") -> None:
    ledger = Ledger(Path(folder) / "ledger", Rules(), time.time)
    news = set()
    for _ in range(int(times)):
        partial = PartialFile(Path(folder) / "parcel")
        with ledger.open_session("poll") as session, Link(channel, session, Tls(Path(root))) as link:
            news.add(link.fetch(name, partial, known=known, limit=10**9).news.name)
        partial.discard()
    month = ledger.read_month()
    print(json.dumps({"sent": month.sent, "received": month.received, "wire": month.wire, "news": sorted(news)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
