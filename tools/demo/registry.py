"""Debian's docker-registry, private and on loopback, without TLS or with it; ended by its process."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.simulators.certificates import Certificates

_CONFIG = """
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {folder}/data}}
http:
  addr: "127.0.0.1:{port}"
"""
_TLS = """\
  tls:
    certificate: {certificates.chain}
    key: {certificates.key}
"""
_PATIENCE = 60.0


class NotRun(Exception):
    """Something is missing here, and the text says what."""


def require(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise NotRun(f"not installed: {', '.join(missing)}")


@contextmanager
def run_registry(folder: Path, port: int, certificates: Certificates | None = None) -> Iterator[None]:
    """With `certificates` it speaks TLS; what it has lies in `folder` and outlives it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yml"
    config.write_text((_CONFIG + (_TLS if certificates else "")).format(folder=folder, port=port, certificates=certificates))
    with (folder / "log").open("wb") as log:
        words = ["docker-registry", "serve", str(config)]
        process = subprocess.Popen(words, stdout=log, stderr=log, env={"OTEL_TRACES_EXPORTER": "none"})
    try:
        _wait(port, process, folder / "log")
        yield
    finally:
        process.terminate()
        process.wait(20)


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise NotRun(f"docker-registry does not answer: {log.read_text(errors='replace')[-300:]}")
