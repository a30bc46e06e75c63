"""A registry in this process, on loopback, with switches for everything that registries do wrong.

    with RegistrySimulator() as registry:
        reference = f"{registry.host}/team/model:1"       # 127.0.0.1:PORT
        registry.behaviour.bearer = True                  # switches may be turned at any time
        registry.add_blob("team/base", b"...")            # put things there without a client
        registry.fail(503, method="PUT", path="/blobs/")  # the next matching request
        ...
        assert registry.count("PUT", "/manifests/") == 2
        assert registry.bytes_in < 10_000                 # bodies received; bytes_out: bodies sent

Speaks OCI distribution-spec 1.1: blobs (monolithic, chunked, mounted, with Range), manifests, tags with pages,
referrers on request. It verifies digests as a real one does, and refuses manifests whose blobs it lacks. State is plain
dictionaries: look into `repositories` or change them. All methods may be called while clients are at work.
"""

from __future__ import annotations

import ssl
import threading

from tests.simulators.registry_server import RegistryHandler, RegistryServer
from tests.simulators.registry_state import IDENTITY, PASSWORD, USER, Behaviour, RegistryState, Repository, Seen, basic_header

__all__ = ["IDENTITY", "PASSWORD", "USER", "Behaviour", "RegistrySimulator", "Repository", "Seen", "basic_header"]


class RegistrySimulator(RegistryState):
    """The registry; use as a context manager, or `start` and `stop`. It also serves as an http proxy in front of itself."""

    def __init__(self, behaviour: Behaviour | None = None, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(behaviour)
        self._server = RegistryServer(("127.0.0.1", 0), RegistryHandler)
        self._server.state = self
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "https" if tls else "http"
        self._server.url = self.url
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def start(self) -> RegistrySimulator:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.quiet.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> RegistrySimulator:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT``, the registry's part of a reference."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.host}"
