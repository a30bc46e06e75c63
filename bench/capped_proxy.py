"""A proxy on loopback that lets each connection take so many bytes a second: what one connection to a far store is worth.

Run as a process of its own: ``python -m bench.capped_proxy TARGET_PORT BYTES_A_SECOND``; its port is the line that it prints. Bytes
go from socket to socket in the kernel, so that it takes little of the processors that it shares with those who are measured.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from contextlib import suppress

_STEP = 1 << 17


def main() -> None:
    target, rate = int(sys.argv[1]), float(sys.argv[2])
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_join_ends, args=(client, target, rate), daemon=True).start()


def _join_ends(client: socket.socket, target: int, rate: float) -> None:
    with client, socket.create_connection(("127.0.0.1", target)) as server:
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        upward = threading.Thread(target=_carry, args=(client, server, None), daemon=True)
        upward.start()
        _carry(server, client, rate)
        upward.join()


def _carry(source: socket.socket, sink: socket.socket, rate: float | None) -> None:
    """Until one of them hangs up; never more than `rate` bytes in any second."""
    inner, outer = os.pipe()
    free = time.monotonic()
    try:
        while moved := os.splice(source.fileno(), outer, _STEP):
            left = moved
            while left:
                left -= os.splice(inner, sink.fileno(), left)
            if rate is not None:
                now = time.monotonic()
                free = max(free, now - 0.02) + moved / rate
                if free > now:
                    time.sleep(free - now)
    except OSError:
        pass
    finally:
        os.close(inner)
        os.close(outer)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    main()
