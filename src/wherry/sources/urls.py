"""URLs and the credentials in them: taken out before anything is written or shown, put back for the host they belong to."""

from __future__ import annotations

import netrc
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

Origin = tuple[str, str, int | None]


def strip_credentials(url: str) -> str:
    """Without user, password, query and fragment: what may be kept in the cache or shown."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(a malformed URL)"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def origin_of(url: str) -> Origin:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return (parts.scheme, (parts.hostname or "").lower(), port)


def credentials_in(url: str) -> tuple[str, str] | None:
    parts = urlsplit(url)
    if parts.username is None and parts.password is None:
        return None
    return (unquote(parts.username or ""), unquote(parts.password or ""))


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
        if credentials_in(url) is not None:
            return credentials_in(url)
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
            found = credentials_in(url)
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
