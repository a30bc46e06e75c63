"""The server: on loopback alone, until it is told to end."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from wherry.errors import UsageError
from wherry.ui.app import make_app
from wherry.ui.desk import Desk
from wherry.ui.guard import Secrets

USUAL_PORT = 8910
_GRACE = 2  # seconds for answers that are under way at the end


def serve_pages(desk: Desk, port: int | None, opened: Callable[[str, str], None]) -> None:
    """Serve until a signal ends it. `opened` is told two addresses, to print and to start a browser with, once they are served."""
    known = Secrets()
    listener = _listen(port)
    with listener:
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = _Server(make_app(desk, known), lambda: opened(origin + known.entrance, origin + known.entrance_once))
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, app: ASGIApp, started: Callable[[], None]) -> None:
        settings = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=_GRACE,
        )
        super().__init__(settings)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()


def _listen(port: int | None) -> socket.socket:
    """On the port that was asked for; else the usual one if it is free; else any."""
    for wanted in (port,) if port else (USUAL_PORT, 0):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
            listener.listen()
        except OSError:
            listener.close()
        else:
            return listener
    raise UsageError(f"port {port} is taken", where="--port", hint="another one, or leave it away")
