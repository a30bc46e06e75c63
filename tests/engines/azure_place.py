"""An Azure on loopback, once a session: the simulated Batch behind prism, Azurite, and what nodes run.

Containers are processes of this machine, in the folder that stands for their image; what an image has in it is tested elsewhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.engines.azure_services import run_batch
from tests.engines.azurite import Azurite, run_azurite
from tests.simulators.azure_batch import ACCOUNT, KEY, AzureBatch
from wherry.run.backends import azure_batch

# A docker that runs what it is given here: all that is looked at is what it is asked for.
DOCKER = """#!/bin/sh
echo "$*" >> "$(dirname "$0")/asked"
[ "$1" = run ] || exit 0
while [ "${1#*@sha256:}" = "$1" ]; do shift; done
shift
exec "$@"
"""


@dataclass(frozen=True, kw_only=True)
class AzurePlace:
    """`programs` is what nodes have besides their system's; `folders` where the containers of an image begin, by its name."""

    service: AzureBatch
    storage: Azurite
    programs: Path
    folders: dict[str, Path] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """What a user has in the shell."""
        return {**self.storage.env, "AZURE_BATCH_ACCOUNT": ACCOUNT, "AZURE_BATCH_ACCESS_KEY": KEY}


@pytest.fixture(scope="session")
def azure_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzurePlace]:
    programs, folders = tmp_path_factory.mktemp("bin"), dict[str, Path]()
    (programs / "docker").write_text(DOCKER)
    (programs / "docker").chmod(0o755)

    def start(image: str, _options: str, argv: Sequence[str]) -> Sequence[str]:
        folder = folders.get(image.partition("@")[0])
        return ("env", "-C", str(folder), *argv) if folder else argv

    path = f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin"
    with run_azurite() as storage, run_batch(tmp_path_factory.mktemp("batch"), start, {"PATH": path}) as service:
        yield AzurePlace(service=service, storage=storage, programs=programs, folders=folders)


@pytest.fixture
def azure_env(azure_place: AzurePlace, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Those variables, for what runs in this process; and the service as it was in the beginning."""
    for name, value in azure_place.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(azure_batch, "_PAUSE", 0.05)
    account = azure_place.service.account
    monkeypatch.setattr(account, "behaviour", type(account.behaviour)())
    return dict(os.environ)
