"""A link that counts bytes and breaks: it stands between a client and any server, and knows nothing of what they say.

    with LinkSimulator(web.address) as link:
        link.weather.cut_after = 40_000        # each connection ends after so many bytes from the server
        ...
        assert link.down < 50_000              # bytes from the server, TLS included; `up` are those of the client
        assert link.connections == 2

What it does to the bytes it does at the socket: headers of packets are counted at the interface of a namespace (`namespace.py`).
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: what was not sent is thrown away, the other end is told by a RST


@dataclass
class Weather:
    """What the link does to each connection; counts are of bytes from the server. 0: never."""

    cut_after: int = 0
    cuts: int = 1_000_000  # how often `cut_after` strikes
    stall_after: int = 0  # then nothing comes any more, and nothing ends
    stalls: int = 1_000_000
    corrupt_at: int = 0  # this byte comes with one bit flipped
    corruptions: int = 1_000_000
    rate: int = 0  # bytes a second
    down: bool = False  # nobody gets through


class LinkSimulator:
    """Listens on loopback and passes everything on to `target`. Counts go on over connections; `reset_counts` begins anew."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.weather = Weather()
        self.up = self.down = self.connections = 0
        self._target = target
        self._guard = threading.Lock()
        self._quiet = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def total(self) -> int:
        return self.up + self.down

    def reset_counts(self) -> None:
        self.up = self.down = self.connections = 0

    def __enter__(self) -> LinkSimulator:
        self._threads[0].start()
        return self

    def __exit__(self, *error: object) -> None:
        self._quiet.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()
        for thread in self._threads:
            thread.join()

    def cut_all(self) -> None:
        """End every connection now."""
        with self._guard:
            ends = tuple(self._open)
        for end in ends:
            _shut(end)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.weather.down:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
                continue
            self.connections += 1
            thread = threading.Thread(target=self._join_ends, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _join_ends(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._guard:
                self._open |= {client, server}
            upward = threading.Thread(target=self._carry_up, args=(client, server), daemon=True)
            upward.start()
            try:
                self._carry_down(server, client)
            except OSError:
                pass
            finally:
                _shut(client, server)
                upward.join()
                with self._guard:
                    self._open -= {client, server}

    def _carry_up(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while data := client.recv(1 << 16):
                with self._guard:  # connections are carried side by side
                    self.up += len(data)
                server.sendall(data)
        except OSError:
            pass
        finally:
            _shut(server)

    def _carry_down(self, server: socket.socket, client: socket.socket) -> None:
        done = 0
        while data := server.recv(self._step()):
            weather = self.weather
            if 0 < weather.corrupt_at <= done + len(data) and weather.corrupt_at > done and weather.corruptions > 0:
                weather.corruptions -= 1
                place = weather.corrupt_at - done - 1
                data = data[:place] + bytes((data[place] ^ 0x10,)) + data[place + 1 :]
            ends = [end for end in (weather.cut_after * (weather.cuts > 0), weather.stall_after * (weather.stalls > 0)) if end]
            last = min(ends, default=0)
            if last and done + len(data) >= last:
                data = data[: max(0, last - done)]
            client.sendall(data)
            done += len(data)
            with self._guard:
                self.down += len(data)
            if last and done >= last:
                self._break(server, weather, cut=last == weather.cut_after and weather.cuts > 0)
                return
            if weather.rate:
                time.sleep(len(data) / weather.rate)
        client.shutdown(socket.SHUT_WR)

    @staticmethod
    def _break(server: socket.socket, weather: Weather, *, cut: bool) -> None:
        if cut:
            weather.cuts -= 1
            return
        weather.stalls -= 1
        while server.recv(1 << 16):  # what comes is lost, until somebody hangs up
            pass

    def _step(self) -> int:
        return max(64, min(1 << 16, self.weather.rate // 20)) if self.weather.rate else 1 << 16


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
