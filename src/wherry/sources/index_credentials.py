"""Which user and password a Python index wants: out of the URLs that are configured, then netrc; for their own host only."""

from __future__ import annotations

import netrc
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from wherry.formats.urls import Origin, login_in, origin_of


class CredentialBook:
    """Which user and password belong to an origin: from the URLs that are configured, then from netrc.

    `ask` gives more URLs, at a price; it is called once, when a server refuses what is known so far.
    """

    def __init__(self, urls: Iterable[str], environment: Mapping[str, str], ask: Callable[[], Iterable[str]] | None = None) -> None:
        self._known: dict[Origin, tuple[str, str]] = {}
        self._ask = ask
        self._add(urls)
        self._netrc = _read_netrc(environment)

    def find(self, url: str) -> tuple[str, str] | None:
        origin = origin_of(url)
        if login_in(url) is not None:
            return login_in(url)
        if origin in self._known:
            return self._known[origin]
        if self._netrc is None or origin[0] != "https":
            return None
        found = self._netrc.hosts.get(origin[1])
        return (found[0], found[2] or "") if found else None

    def learn(self, url: str) -> bool:
        """Look further for a URL that was refused; whether there is something new to try."""
        former = self.find(url)
        ask, self._ask = self._ask, None
        if ask is not None:
            self._add(ask())
        return self.find(url) != former

    def _add(self, urls: Iterable[str]) -> None:
        for url in urls:
            found = login_in(url)
            if found is not None:
                self._known.setdefault(origin_of(url), found)


def _read_netrc(environment: Mapping[str, str]) -> netrc.netrc | None:
    path = environment.get("NETRC") or (str(Path(environment["HOME"]) / ".netrc") if environment.get("HOME") else None)
    if path is None:
        return None
    try:
        return netrc.netrc(path)
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return None
