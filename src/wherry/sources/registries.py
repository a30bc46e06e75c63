"""How this machine reaches registries: its environment's proxies and certificates, its kept logins, its patience.

One `RegistryAccess` serves a whole command: connections and tokens are shared by everything that talks to the same
repository.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wherry.model.reference import Reference
from wherry.sources.credentials import keep_credentials
from wherry.store.registry import RegistryStore
from wherry.store.registry_auth import Credentials
from wherry.store.registry_http import Patience, Transport
from wherry.store.registry_session import RegistrySession
from wherry.store.registry_upload import UploadRules
from wherry.store.sightings import Sightings


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAccess:
    """`plain_http` allows http to any host (loopback needs no leave); `stop`, once set, ends all transfers."""

    transport: Transport
    credentials: Credentials
    cache: Path | None = None
    rules: UploadRules = field(default_factory=UploadRules)
    stop: threading.Event = field(default_factory=threading.Event)
    _open: dict[tuple[str, str, bool], RegistryStore] = field(default_factory=dict, repr=False)

    @property
    def sightings(self) -> Sightings:
        return Sightings(self.cache)

    def open(self, reference: Reference, *, push: bool = False) -> RegistryStore:
        """The repository of a reference as a store. No request is made yet."""
        key = (reference.registry, reference.repository, push)
        if key not in self._open:
            session = RegistrySession(*key[:2], self.transport, self.credentials, self.stop)
            self._open[key] = RegistryStore(session, reference.repository, push=push, rules=self.rules)
        return self._open[key]

    def close(self) -> None:
        self.transport.close()


def access_registries(
    env: Mapping[str, str], *, cache: Path | None = None, plain_http: bool = False, patience: Patience | None = None
) -> RegistryAccess:
    """Access as this environment has it. `cache` is where sightings and parts of interrupted pulls are kept."""
    transport = Transport(env, patience=patience or Patience(), plain_http=plain_http)
    return RegistryAccess(transport=transport, credentials=keep_credentials(env), cache=cache)
