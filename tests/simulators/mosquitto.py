"""A real mosquitto on loopback, as an edge hub listens: TLS on port 8883; and a subscriber of a few lines (MQTT 3.1.1)."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import require_tool
from tests.simulators.certificates import make_certificates

TLS_PORT = 8883  # the device SDK knows no other
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Mosquitto:
    """`host` is a loopback address of its own; `root` the folder with the authority's certificate, ``root.pem``."""

    host: str
    plain_port: int
    root: Path


@contextmanager
def run_mosquitto(folder: Path, users: Mapping[str, str] | None = None) -> Iterator[Mosquitto]:
    """With `users`, names and passwords, nobody else is let in."""
    require_tool("mosquitto")
    number = os.getpid()
    host = f"127.{20 + number % 200}.{1 + number // 200 % 250}.{next(_NUMBERS)}"
    certificates = make_certificates(folder / "certificates", names=(f"IP:{host}",))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    shown = folder / "shown"
    shown.mkdir()
    (shown / "root.pem").write_bytes(certificates.root.read_bytes())
    settings = (
        f"listener {port} 127.0.0.1",
        f"listener {TLS_PORT} {host}",
        f"certfile {certificates.chain}",
        f"keyfile {certificates.key}",
        *_let_in(folder, users),
        "user root",
    )
    (folder / "mosquitto.conf").write_text("\n".join(settings) + "\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["mosquitto", "-c", folder / "mosquitto.conf"], stdout=log, stderr=log)
    try:
        _await_listener(process, port, folder / "log")
        yield Mosquitto(host=host, plain_port=port, root=shown)
    finally:
        process.terminate()
        process.wait(30)


def _let_in(folder: Path, users: Mapping[str, str] | None) -> tuple[str, ...]:
    if users is None:
        return ("allow_anonymous true",)
    (folder / "users").write_text("".join(f"{name}:{password}\n" for name, password in users.items()))
    (folder / "users").chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-U", folder / "users"], check=True, capture_output=True)
    return ("allow_anonymous false", f"password_file {folder / 'users'}")


def _await_listener(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"mosquitto does not listen: {log.read_text()}")


class Subscriber:
    """Hears everything. `take` waits for the next message: its topic and its content."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 60)
        self._stream = self._socket.makefile("rb")
        self._send(0x10, _text("MQTT") + bytes((4, 2)) + struct.pack(">H", 0) + _text("listener"))
        assert self._receive()[0] == 0x20
        self._send(0x82, struct.pack(">H", 1) + _text("#") + bytes((0,)))
        assert self._receive()[0] == 0x90

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._socket.close()

    def take(self) -> tuple[str, bytes]:
        kind, body = self._receive()
        assert kind & 0xF0 == 0x30
        (length,) = struct.unpack_from(">H", body)
        return body[2 : 2 + length].decode(), body[2 + length :]

    def _send(self, kind: int, body: bytes) -> None:
        self._socket.sendall(bytes((kind, len(body))) + body)

    def _receive(self) -> tuple[int, bytes]:
        kind, length, shift = self._stream.read(1)[0], 0, 0
        while True:
            (byte,) = self._stream.read(1)
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return kind, self._stream.read(length)


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()
