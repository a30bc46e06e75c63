"""Debian's docker-registry (distribution 2.8), private and on loopback, open to all or with a login."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import require_tool

USER, PASSWORD = "captain", "aye-aye"
_HTPASSWD = f"{USER}:$2b$05$5jCpsU7jTx66Q/qvhl.i0.jCqjxCK0Q2BdQCztCB1GCUNcTIK1V8.\n"  # bcrypt of PASSWORD
_CONFIG = """
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {folder}/data}}
  delete: {{enabled: true}}
http: {{addr: "{host}"}}
"""
_AUTH = """
auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}
"""


@dataclass(frozen=True, kw_only=True)
class RealRegistry:
    """`host` is its part of a reference; references to it need no flag for wherry, `--tls-verify=false` for skopeo."""

    host: str
    data: Path


@contextmanager
def run_registry(folder: Path, *, login: bool = False) -> Iterator[RealRegistry]:
    """A registry that keeps its data below `folder`; with `login` it wants USER and PASSWORD."""
    require_tool("docker-registry")
    host = f"127.0.0.1:{_free_port()}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "htpasswd").write_text(_HTPASSWD)
    config = folder / "config.yml"
    config.write_text((_CONFIG + (_AUTH if login else "")).format(folder=folder, host=host))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stdout=log, stderr=log, env={"OTEL_TRACES_EXPORTER": "none"}
        )
        try:
            _wait(host, process, folder / "log")
            yield RealRegistry(host=host, data=folder / "data")
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="session")
def real_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with run_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="session")
def guarded_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with run_registry(tmp_path_factory.mktemp("registry"), login=True) as registry:
        yield registry


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait(host: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"http://{host}/v2/", timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"docker-registry does not answer: {log.read_text()[-2000:]}")
