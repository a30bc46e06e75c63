"""What was tampered with on the way from a conda channel gets into no image, and a channel's token into nothing at all.

The whole list of attacks is the bench's (`python -m bench --only conda-channel`); here is one of each kind.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tools.conda_channel.channel import Channel
from tools.conda_channel.evil import write_evil_package
from tools.conda_channel.samples import almanac, fake_python
from tools.conda_channel.server import ChannelServer, serve_channel

from tests.flow.conftest import Seed, Wherry, copy_store, write_project
from wherry.formats.decompress import unpack_layer_chunks

pytest.importorskip("rattler")
pytestmark = pytest.mark.network

SECRET = "tk-5ecret-5ecret"
ARCHIVE = "almanac-2024.1-0.conda"
TOML = 'name = "tides"\nplatforms = ["linux/amd64"]\nbytecode = "none"\n'


@dataclass(frozen=True)
class Place:
    """A project whose channel is served below a token; `said` is all that wherry ever said."""

    wherry: Wherry
    project: Path
    channel: Channel
    server: ChannelServer
    said: list[str]

    def ok(self, *words: str) -> None:
        done = self.wherry.run(*words, cwd=self.project)
        self.said.append(done.stdout + done.stderr)
        assert done.returncode == 0, self.said[-1]

    def refused(self, *words: str, code: int) -> str:
        done = self.wherry.run(*words, cwd=self.project)
        self.said.append(done.stdout + done.stderr)
        assert done.returncode == code, self.said[-1]
        assert "Traceback" not in done.stderr
        return done.stderr

    @property
    def archives(self) -> list[Path]:
        return list((self.wherry.cache / "artefacts").rglob(ARCHIVE))


@pytest.fixture(scope="module")
def seeded(seed: Seed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One sound build, by the login that rattler's programs keep."""
    folder = tmp_path_factory.mktemp("tampered")
    channel = Channel(folder / "served" / "team")
    channel.add(fake_python("linux-64"), almanac())
    channel.write_index()
    copy_store(seed.wherry.store, folder / "store")
    with serve_channel(channel.folder.parent, tokens=[SECRET]) as server:
        login = {server.plain_url.removeprefix("http://"): {"CondaToken": SECRET}}
        (folder / "credentials.json").write_text(json.dumps(login))
        wherry = replace(seed.wherry, store=folder / "store", cache=folder / "cache")
        wherry = wherry.with_env(RATTLER_AUTH_FILE=str(folder / "credentials.json"))
        shutil.copytree(seed.wherry.cache / "debian", folder / "cache" / "debian")
        environment = f"channels:\n  - {server.url}/team\ndependencies:\n  - python=3.11\n  - almanac\n"
        project = write_project(folder / "tides", {"environment.yml": environment, "wherry.toml": TOML})
        (project / "requirements.txt").unlink()
        place = Place(wherry, project, channel, server, [])
        place.ok("build")
        yield place


@pytest.fixture
def place(seeded: Place, tmp_path: Path) -> Place:
    """Its own project, channel's archive, store and cache, as after the lock: no image, and nothing of conda fetched."""
    fresh = shutil.ignore_patterns("*.conda", "*.inspected", "layers", "builds", "roots")
    shutil.copytree(seeded.wherry.cache, tmp_path / "cache", ignore=fresh)
    shutil.copytree(seeded.project, tmp_path / "project")
    seeded.channel.add(almanac())
    wherry = replace(seeded.wherry, store=tmp_path / "store", cache=tmp_path / "cache")
    return replace(seeded, wherry=wherry, project=tmp_path / "project")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.unlink()
    path.write_bytes(data)


def test_a_tampered_archive_is_refused_from_the_channel_from_a_folder_and_from_the_cache(place: Place, tmp_path: Path):
    served = place.channel.folder / "noarch" / ARCHIVE
    (tmp_path / "finds").mkdir()
    shutil.copy(served, tmp_path / "finds")
    flip(served)
    assert "instead of sha256:" in place.refused("build", code=15)
    assert place.archives == []
    flip(tmp_path / "finds" / ARCHIVE)
    assert "instead of sha256:" in place.refused("build", "--find", str(tmp_path / "finds"), code=15)
    flip(served)  # sound again
    place.ok("build")
    shutil.rmtree(place.wherry.store)
    (cached,) = place.archives
    flip(cached)
    assert "altered in the cache" in place.refused("build", code=15)


def test_a_package_that_is_evil_inside_is_refused_and_wherry_lives(place: Place, seeded: Place):
    copy_store(seeded.wherry.store, place.wherry.store)
    write_evil_package(place.channel.folder / "noarch", "absolute path")
    place.channel.write_index()
    file = place.project / "environment.yml"
    file.write_text(file.read_text() + "  - evil\n")
    place.ok("lock")
    assert "a path that leaves the prefix: '/etc/evil'" in place.refused("build", code=12)


def test_the_token_of_a_channel_is_nowhere(seeded: Place):
    assert any(f"/t/{SECRET}/" in path for path, _ in seeded.server.seen)
    seeded.refused("lock", "--platform", "linux/s390x", code=11)
    assert not any(SECRET in said for said in seeded.said)
    (seeded.project / "environment.yml").unlink()  # where its author wrote it
    looked = 0
    for root in (seeded.wherry.store, seeded.wherry.cache, seeded.project):
        for path in (path for path in root.rglob("*") if path.is_file()):
            with path.open("rb") as file:
                chunks = unpack_layer_chunks(iter(lambda file=file: file.read(1 << 20), b""), 1 << 32)  # type: ignore[misc]
                assert SECRET.encode() not in b"".join(chunks), path
            looked += SECRET not in str(path)
    assert looked > 20
