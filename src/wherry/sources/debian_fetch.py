"""Fetches single files of a Debian archive, as apt on this machine would: through its proxies, with its logins.

How files come, are bounded, resumed and verified is `transport`'s. Credentials come from the address or from apt's
auth.conf and never stand in an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from wherry.formats.urls import login_in, strip_login
from wherry.model.digest import Digest
from wherry.model.progress import Progress, be_silent
from wherry.sources.apt import AptLogin
from wherry.sources.transport import MissingError, Transport


class Fetcher:
    """`proxies` are by scheme; `env` has the certificates."""

    def __init__(
        self,
        proxies: Mapping[str, str],
        logins: Sequence[AptLogin] = (),
        env: Mapping[str, str] | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        kept = {name: value for name, value in (env or {}).items() if name.startswith("SSL_CERT_")}
        settings = kept | {f"{scheme}_proxy": proxy for scheme, proxy in proxies.items()}
        self._transport = Transport(settings, _AptLogins(logins), pause=pause)

    def read(self, url: str, limit: int) -> bytes | None:
        """The file's bytes; None where there is no such file; one that is refused is an error."""
        try:
            return self._transport.get_page(url, limit=limit, decode=False).data
        except MissingError as error:
            if not error.gone:
                raise
            return None

    def fetch(self, url: str, target: Path, *, size: int, sha256: Digest, progress: Progress = be_silent) -> bool:
        """Fetch to `target`, which appears whole or not at all; False where there is no such file."""
        try:
            self._transport.download(url, target, sha256, size, progress)
        except MissingError as error:
            if not error.gone:
                raise
            return False
        return True

    def close(self) -> None:
        self._transport.close()


class _AptLogins:
    """The entry of auth.conf whose machine, perhaps with a path, begins a URL."""

    def __init__(self, entries: Sequence[AptLogin]) -> None:
        self._entries = entries

    def find(self, url: str) -> tuple[str, str] | None:
        given = login_in(url)
        if given is not None:
            return given
        parts = urlsplit(strip_login(url))
        address = f"{parts.netloc}{parts.path}"
        for entry in self._entries:
            scheme, _, machine = entry.machine.rpartition("://")
            follows = address[len(machine) : len(machine) + 1]
            if scheme in ("", parts.scheme) and address.startswith(machine) and follows in ("", "/", ":"):
                return entry.login, entry.password
        return None

    def learn(self, url: str) -> bool:  # noqa: ARG002 - all is known from the start
        return False
