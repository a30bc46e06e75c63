"""Which login or token a conda channel wants, from where conda's programs keep them: read only, and never shown.

In this order: what stands in an address; the file of rattler's programs (``RATTLER_AUTH_FILE``,
``~/.rattler/credentials.json``: by host, ``*.host`` for all below it); tokens of anaconda-client for its own servers, unless
conda is told not to add them; netrc. A token goes into the path, ``/t/TOKEN/``, as the servers want it; a bearer
token or a password goes into a header, to its own host alone. A file that is damaged is as good as none: the channel may not
want a login at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from wherry.formats.urls import strip_channel_credentials, strip_credentials
from wherry.sources.index_credentials import CredentialBook

_LARGEST = 1 << 20


class ChannelLogins:
    """What is kept on this machine. Its `repr` shows nothing of it."""

    def __init__(self, environment: Mapping[str, str], *, adds_tokens: bool = True) -> None:
        self._book = CredentialBook((), environment)
        self._kept = _read_rattler(environment)
        self._tokens = dict(_read_anaconda(environment)) if adds_tokens else {}

    def find(self, url: str) -> tuple[str, str] | str | None:
        """User name and password for a URL, or a bearer token."""
        entry = self._entry(url)
        basic = entry.get("BasicHTTP") or entry.get("BasicHttp")
        if isinstance(basic, dict) and "@" not in urlsplit(url).netloc:
            return str(basic.get("username", "")), str(basic.get("password", ""))
        bearer = entry.get("BearerToken") or _table(entry.get("OAuth")).get("access_token")
        if isinstance(bearer, str) and bearer:
            return bearer
        return self._book.find(url)

    def learn(self, url: str) -> bool:  # noqa: ARG002 - all is known from the start
        return False

    def add_token(self, address: str) -> str:
        """The address of a channel with the token that is kept for it; as it is where there is none, or one already."""
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or strip_channel_credentials(address) != strip_credentials(address):
            return address
        token = self._entry(address).get("CondaToken") or self._tokens.get((parts.hostname or "").lower())
        if not isinstance(token, str) or not token:
            return address
        return urlunsplit((parts.scheme, parts.netloc, f"/t/{token}{parts.path}", "", ""))

    def _entry(self, url: str) -> dict[str, Any]:
        host = (urlsplit(url).hostname or "").lower()
        netloc = urlsplit(url).netloc.rpartition("@")[2].lower()
        below = host.split(".")
        keys = [netloc, host, *(f"*.{'.'.join(below[start:])}" for start in range(len(below) - 1))]
        return next((found for key in keys if (found := _table(self._kept.get(key)))), {})


def _read_rattler(environment: Mapping[str, str]) -> dict[str, Any]:
    home = environment.get("HOME")
    named = environment.get("RATTLER_AUTH_FILE") or (f"{home}/.rattler/credentials.json" if home else None)
    if named is None:
        return {}
    try:
        with Path(named).open("rb") as file:
            return _table(json.loads(file.read(_LARGEST)))
    except (OSError, ValueError, RecursionError):
        return {}


def _read_anaconda(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Host → token. anaconda-client logs in at ``api.HOST``, and the channels are at ``conda.HOST``."""
    home, data = environment.get("HOME"), environment.get("BINSTAR_CONFIG_DIR")
    folders = [f"{data}/data"] if data else [f"{home}/.continuum/anaconda-client/tokens", f"{home}/.local/share/binstar"]
    for folder in folders if home or data else ():
        for path in sorted(Path(folder).glob("*.token")):
            try:
                token = path.read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError):
                continue
            host = urlsplit(unquote(path.stem)).hostname or ""
            if token and host:
                yield (f"conda.{host.removeprefix('api.')}" if host.startswith("api.") else host), token


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
