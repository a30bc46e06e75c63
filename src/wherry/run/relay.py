"""Carries bytes between this machine's loopback and sockets in a folder that a container shares, in a thread of its own.

So nothing has to be published and the container needs no network: ZeroMQ and HTTP say over a socket of a folder just what they
say over TCP. Connections that come before the container listens wait for it. `alive` tells the container that we are here.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from wherry.errors import EngineError

_PIECE = 1 << 16
_TICK = 0.05  # seconds between two looks whether the container listens
# A port of loopback, or the path of a socket.
Entrance = int | str


@contextmanager
def relay_sockets(alive: Path, ways: Mapping[Entrance, Path]) -> Iterator[None]:
    """Listen at each entrance until the end of the block, and carry what comes to the socket that it leads to."""
    loop = asyncio.new_event_loop()
    ready: list[asyncio.Server] = []
    try:
        ready = loop.run_until_complete(_listen(alive, ways))
    except OSError as error:
        loop.close()
        raise EngineError(f"cannot listen: {error.strerror}", where="loopback") from error
    thread = threading.Thread(target=loop.run_forever, daemon=True, name="relay")
    thread.start()
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(_close(ready), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _listen(alive: Path, ways: Mapping[Entrance, Path]) -> list[asyncio.Server]:
    servers = [await asyncio.start_unix_server(_hold, alive)]
    for entrance, way in ways.items():
        if isinstance(entrance, int):
            servers.append(await asyncio.start_server(_lead_to(way), "127.0.0.1", entrance))
        else:
            servers.append(await asyncio.start_unix_server(_lead_to(way), entrance))
    return servers


async def _close(servers: list[asyncio.Server]) -> None:
    for server in servers:
        server.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.closing(writer), contextlib.suppress(asyncio.CancelledError):
        await reader.read()


def _lead_to(way: Path) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """What asyncio calls for each connection."""

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.CancelledError):
            inner_reader, inner_writer = await _reach(way)
            with contextlib.closing(inner_writer):
                await asyncio.gather(_carry(reader, inner_writer), _carry(inner_reader, writer))

    return lead


async def _reach(way: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_unix_connection(way)
        except OSError:
            await asyncio.sleep(_TICK)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()
