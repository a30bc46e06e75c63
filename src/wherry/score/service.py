"""The script as an HTTP service: POST /score, GET /health, /openapi.json, and a page.

| answer | when |
|---|---|
| 200 | the score |
| 413 | the request is larger than it may be |
| 422 | the reading is not what the script takes: what and where |
| 500 | the script failed; the trace is in the log alone, under the id that the answer has |
| 503 | not ready yet, or more asked than can wait |

On SIGTERM nothing new is taken, what is being scored is finished and answered, and the process ends with 0; with 1 when the script
does not come to an end.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from wherry.errors import WherryError
from wherry.model.scoring import ScoreService
from wherry.score.description import render_openapi, render_page
from wherry.score.script import Failure, Outcome, Refusal, Script
from wherry.score.worker import Worker

_PATIENCE = 30  # seconds for what is being scored when the end is asked for
_LATER = {"Retry-After": "1"}


class TooLargeError(Exception):
    """A request that is larger than it may be."""


class Service:
    """The application. It answers at once, and scores when `open` was called with what scores."""

    def __init__(self, settings: ScoreService, title: str, sides: Sequence[Side] = ()) -> None:
        self._settings = settings
        self._sides = sides
        self._title = title
        self._worker: Worker | None = None
        self._document: dict[str, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.app = Starlette(
            routes=[
                Route("/score", self.score, methods=["POST"]),
                Route("/health", self.tell_health),
                Route("/openapi.json", self.tell_openapi),
                Route("/", self.show_page),
            ]
        )

    def open(self, script: Script, worker: Worker) -> None:
        """From here on readings are scored. Called in any thread."""
        self._document = render_openapi(self._title, script)
        self._worker = worker

    def deliver(self, outcomes: Sequence[tuple[Any, Outcome]]) -> None:
        """Wake the loop once for all of a batch."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(_settle, outcomes)

    async def score(self, request: Request) -> Response:
        if self._worker is None:
            return JSONResponse({"error": "not ready yet"}, 503, _LATER)
        try:
            body = await self._read(request)
        except TooLargeError:
            return JSONResponse({"error": f"larger than {self._settings.max_body} bytes"}, 413, {"Connection": "close"})
        except ClientDisconnect:
            return Response(status_code=400)
        self._loop = asyncio.get_running_loop()
        ticket: asyncio.Future[Outcome] = self._loop.create_future()
        if not self._worker.submit(body, self, ticket):
            return JSONResponse({"error": "too much to do"}, 503, _LATER)
        return _answer(await ticket)

    async def _read(self, request: Request) -> bytes:
        """The body, and never more of it in memory than it may have."""
        parts, size = [], 0
        told = request.headers.get("content-length", "")
        if told.isdigit() and int(told) > self._settings.max_body:
            raise TooLargeError
        async for part in request.stream():
            size += len(part)
            if size > self._settings.max_body:
                raise TooLargeError
            parts.append(part)
        return b"".join(parts)

    async def tell_health(self, _request: Request) -> Response:
        if self._worker is None:
            return JSONResponse({"status": "starting"}, 503, _LATER)
        told = await asyncio.to_thread(lambda: [side.tell() for side in self._sides])
        return JSONResponse({"status": "ok", **{name: value for one in told for name, value in one.items()}})

    async def tell_openapi(self, _request: Request) -> Response:
        return JSONResponse(self._document, 200 if self._document else 503)

    async def show_page(self, _request: Request) -> Response:
        if not self._document:
            return HTMLResponse("<p>not ready yet</p>", 503, _LATER)
        return HTMLResponse(render_page(self._title, self._document))


class Side(Protocol):
    """Another way for readings to come in."""

    def open(self, worker: Worker) -> None:
        """Let readings come in: there is something that scores them."""
        ...

    def stop(self) -> None:
        """Let no more of them in. What came is scored yet."""
        ...

    def close(self) -> None:
        """Everything was scored."""
        ...

    def tell(self) -> Mapping[str, Any]:
        """What /health shows of it."""
        ...


def serve(settings: ScoreService, host: str, path: Path, sides: Sequence[Side] = ()) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    service = Service(settings, path.stem, sides)
    config = uvicorn.Config(
        service.app,
        host=host,
        port=settings.port,
        lifespan="off",
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=_PATIENCE,
    )
    server = uvicorn.Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):  # before the server listens, and again once it has ended
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    beginning = _Beginning(settings, path, service, server, sides)
    threading.Thread(target=beginning.begin, name="init", daemon=True).start()
    try:
        server.run()
    except SystemExit:
        print(f"score: cannot listen on {host}:{settings.port}", file=sys.stderr)
        return 1
    beginning.end()
    return 1 if beginning.failed else 0


class _Beginning:
    """Loads the script while the server answers already, so that /health tells of a model that takes its time."""

    def __init__(
        self,
        settings: ScoreService,
        path: Path,
        service: Service,
        server: uvicorn.Server,
        sides: Sequence[Side],
    ) -> None:
        self._settings, self._path, self._service, self._server, self._sides = settings, path, service, server, sides
        self._worker: Worker | None = None
        self.failed = False

    def begin(self) -> None:
        try:
            script = Script(self._path)
            self._worker = Worker(script, self._settings.batch_size, self._settings.batch_wait)
            for side in self._sides:
                side.open(self._worker)
            self._service.open(script, self._worker)
            print("score: ready", file=sys.stderr, flush=True)
        except BaseException as error:  # noqa: BLE001 - a script may raise anything, and nobody is above us
            story = f"error: {error}\n" if isinstance(error, WherryError) else traceback.format_exc()
            print(f"score: the script does not start\n{story}", end="", file=sys.stderr, flush=True)
            self.failed = True
            self._server.should_exit = True

    def end(self) -> None:
        if self._worker is not None:
            for side in self._sides:
                side.stop()
            if not self._worker.close(_PATIENCE):
                print(f"score: the script has not ended within {_PATIENCE} seconds: given up", file=sys.stderr, flush=True)
                self.failed = True
            for side in self._sides:
                side.close()


def _settle(outcomes: Sequence[tuple[asyncio.Future[Outcome], Outcome]]) -> None:
    for ticket, outcome in outcomes:
        with suppress(asyncio.InvalidStateError):  # who asked has gone away
            ticket.set_result(outcome)


def _answer(outcome: Outcome) -> Response:
    if isinstance(outcome, Refusal):
        return JSONResponse({"detail": outcome.detail}, 422)
    if isinstance(outcome, Failure):
        return JSONResponse({"error": "the script failed", "id": outcome.id}, 500)
    return Response(outcome, media_type="application/json")
