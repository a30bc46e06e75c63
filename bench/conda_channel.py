"""The bench `conda-channel`: whether anything that was tampered with on the way from a conda channel gets into an image.

`tamper` attacks wherry from outside: other bytes in a local and a remote channel, in a folder of finds and in the cache, an
index that lies, packages that are evil inside although every digest is right. An attack is *refused* if the command ends with
one of wherry's own errors and no image is there; anything else is *crashed* or got through. The same is done with a
channel that wants a token, which must be found nowhere afterwards: *leaks* counts the places that have it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.conda_channel.channel import Channel
from tools.conda_channel.evil import evil_packages, make_bomb, write_evil_package
from tools.conda_channel.packages import CondaPackage, write_package
from tools.conda_channel.samples import almanac, fake_python
from tools.conda_channel.server import serve_channel

from bench.cases import measure_cases
from bench.harness import NotMeasured, tell
from bench.results import Figure, Results, Target, figure
from bench.workshop import install_wherry
from wherry.formats.decompress import unpack_layer_chunks

CASES = ("tamper",)
TITLES = {"tamper": "archives, indexes and caches that were tampered with, evil packages, a token in a channel's address"}
TARGETS = {
    "tamper": (
        Target(metric="refused", limit=100, at_least=True),
        Target(metric="crashed", limit=0),
        Target(metric="leaks", limit=0),
    )
}
_SECRET = "tk-5ecret-5ecret"
_TOML = 'name = "tamper"\nbase = "debian:bookworm"\nplatforms = ["linux/amd64"]\nbytecode = "none"\n'
_OURS = range(10, 20)  # exit codes of wherry's own errors
# The same evil archives, one after the other, in one process that must live on: prints how many were refused.
_PROBE = """
import json, sys
from pathlib import Path
from wherry.errors import FormatError
from wherry.formats.conda_package import inspect_conda_package
refused = []
for path in map(Path, json.load(sys.stdin)):
    try:
        with path.open("rb") as stream:
            inspect_conda_package(stream, path.name)
    except FormatError:
        refused.append(str(path))
print(json.dumps(refused))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What was tried, and what became of it: ``refused``, ``crashed`` or ``got through``; `said` is the command's output."""

    name: str
    outcome: str
    said: str = ""


def run(work: Path, source: Path, results: Results, cases: tuple[str, ...]) -> None:
    """Measure the cases with the wherry of `source`; each is printed and kept as soon as it is done."""
    wherry = install_wherry(work, source, "conda")
    measure_cases("conda-channel", cases, TITLES, TARGETS, results, lambda case: _measure(case, work / case, wherry))


def _measure(case: str, work: Path, wherry: Path) -> Iterator[Figure]:
    shutil.rmtree(work, ignore_errors=True)
    attacker = _Attacker(work, wherry)
    attacks = [*attacker.try_all(), *attacker.try_evil_archives()]
    leaks = attacker.look_for_token()
    for attack in attacks:
        if attack.outcome != "refused":
            tell(f"{attack.name}: {attack.outcome}: {attack.said[-300:]}")
    refused = sum(attack.outcome == "refused" for attack in attacks)
    yield figure(case, "wherry", "attacks", [len(attacks)], "")
    yield figure(case, "wherry", "refused", [100 * refused / len(attacks)], "%")
    yield figure(case, "wherry", "crashed", [sum(attack.outcome == "crashed" for attack in attacks)], "")
    yield figure(case, "wherry", "leaks", [len(leaks)], "")


class _Attacker:
    """Each attack has a project and a channel of its own; cache and store of the first sound build are copied for each."""

    def __init__(self, work: Path, wherry: Path) -> None:
        self._work, self._wherry = work, wherry
        self._sound = work / "sound"
        channel = self._make_channel(self._sound)
        self._must("build", folder=self._sound, channel=channel.folder.as_uri())

    def try_all(self) -> Iterator[Attack]:
        """The attacks on the way of an archive, by the whole program."""

        def flip(path: Path) -> None:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 0xFF
            path.write_bytes(data)

        def cut(path: Path) -> None:
            path.write_bytes(path.read_bytes()[:-1])

        def swap(path: Path) -> None:
            write_package(path.parent, CondaPackage(name="almanac", version="2024.1", noarch="generic"))

        changes: dict[str, Callable[[Path], None]] = {"a byte flipped": flip, "a byte missing": cut, "another package": swap}
        for name, change in changes.items():
            yield self._attack_archive(f"local channel, {name}", change)
            yield self._attack_archive(f"remote channel, {name}", change, remote=True)
            yield self._attack_archive(f"folder of finds, {name}", change, find=True)
            yield self._attack_cache(f"cache, {name}", change)
        lies = {"sha256": "0" * 64}, {"size": 7}, {"name": "python"}, {"sha256": "../../../etc/passwd"}
        for number, lie in enumerate(lies):
            yield self._attack_index(f"index that lies, {number}", lie)
        for what in ("absolute path", "path above", "link above", "file through a link", "digest wrong", "entry point leaves"):
            yield self._attack_inside(what)

    def try_evil_archives(self) -> Iterator[Attack]:
        """Every evil package in both forms, in one process that lives on."""
        folder = self._work / "evil"
        paths = {}
        for form in (".conda", ".tar.bz2"):
            for what in evil_packages():
                place = folder / re.sub(r"\W", "-", what)
                paths[str(write_evil_package(place, what, form))] = f"{what}, {form}"  # type: ignore[arg-type]
            paths[str(make_bomb(folder, 1 << 29, form))] = f"bomb, {form}"  # type: ignore[arg-type]
        python = self._wherry.with_name("python")
        done = subprocess.run([python, "-c", _PROBE], input=json.dumps(list(paths)), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            yield Attack(name="evil archives", outcome="crashed", said=done.stderr)
            return
        refused = json.loads(done.stdout)
        yield from (Attack(name=name, outcome="refused" if path in refused else "got through") for path, name in paths.items())

    def look_for_token(self) -> list[str]:
        """Lock and build from a channel that wants a token, then fail: every place that has the token afterwards.

        The author has written the token into the address, and conda's programs keep it, too.
        """
        folder = self._fresh("token")
        channel = self._make_channel(folder)
        with serve_channel(channel.folder.parent, tokens=[_SECRET]) as server:
            address = f"{server.url}/channel"
            (folder / ".rattler").mkdir()
            entry = {server.plain_url.removeprefix("http://"): {"CondaToken": _SECRET}}
            (folder / ".rattler" / "credentials.json").write_text(json.dumps(entry))
            said = [
                self._must("lock", folder=folder, channel=address),
                self._must("build", "--json", folder=folder, channel=address),
            ]
            leaks = self._find_token(folder)
            for path in (folder / "cache").rglob("almanac-*.conda"):
                path.unlink()
            (channel.folder / "noarch" / "almanac-2024.1-0.conda").write_bytes(b"other bytes")
            shutil.rmtree(folder / "store")
            said.append(self._say("build", folder=folder, channel=address)[1])
        said.append(self._say("lock", "--upgrade", folder=folder, channel=address)[1])  # the server is gone
        leaks += self._find_token(folder)
        leaks += [f"said by command {number}" for number, text in enumerate(said) if _SECRET in text]
        for leak in leaks:
            tell(f"the token is in {leak}")
        return leaks

    def _find_token(self, folder: Path) -> list[str]:
        """Files that have the token in their name or, unpacked, in them; the author's own is not counted."""
        found = []
        kept = (path for place in ("cache", "store", "project") for path in (folder / place).rglob("*"))
        for path in (path for path in kept if path.is_file() and path.name != "environment.yml"):
            with path.open("rb") as file:
                chunks = unpack_layer_chunks(iter(lambda file=file: file.read(1 << 20), b""), 1 << 32)  # type: ignore[misc]
                if _SECRET in str(path) or _SECRET.encode() in b"".join(chunks):
                    found.append(str(path))
        return found

    def _attack_archive(self, name: str, change: Callable[[Path], None], *, remote: bool = False, find: bool = False) -> Attack:
        """Lock, then change the archive where it lies."""
        folder = self._fresh(name)
        channel = self._make_channel(folder)
        archive = channel.folder / "noarch" / "almanac-2024.1-0.conda"
        options: tuple[str | Path, ...] = ()
        with serve_channel(channel.folder) as server:
            address = server.url if remote else channel.folder.as_uri()
            self._must("lock", folder=folder, channel=address)
            if find:
                (folder / "finds").mkdir()
                archive = archive.rename(folder / "finds" / archive.name)
                options = ("--find", folder / "finds")
            change(archive)
            return self._judge(name, folder, address, *options)

    def _attack_cache(self, name: str, change: Callable[[Path], None]) -> Attack:
        folder = self._fresh(name)
        channel = self._make_channel(folder)
        self._must("build", folder=folder, channel=channel.folder.as_uri())
        for path in (folder / "cache" / "artefacts").rglob("almanac-*.conda"):
            change(path)
        shutil.rmtree(folder / "store")
        return self._judge(name, folder, channel.folder.as_uri())

    def _attack_index(self, name: str, lie: dict[str, object]) -> Attack:
        folder = self._fresh(name)
        channel = self._make_channel(folder)
        channel.write_index({"almanac-2024.1-0.conda": lie})
        return self._judge(name, folder, channel.folder.as_uri())

    def _attack_inside(self, what: str) -> Attack:
        folder = self._fresh(f"inside, {what}")
        channel = self._make_channel(folder)
        write_evil_package(channel.folder / "noarch", what)
        channel.write_index()
        return self._judge(f"inside, {what}", folder, channel.folder.as_uri(), package="evil")

    def _judge(self, name: str, folder: Path, channel: str, *options: str | Path, package: str = "almanac") -> Attack:
        code, said = self._say("build", *options, folder=folder, channel=channel, package=package)
        images = folder / "store" / "index.json"
        made = images.exists() and "tamper" in images.read_text()
        if code == 0 or made:
            return Attack(name=name, outcome="got through", said=said)
        crashed = code not in _OURS or "Traceback" in said
        return Attack(name=name, outcome="crashed" if crashed else "refused", said=said)

    def _must(self, *words: str | Path, folder: Path, channel: str) -> str:
        code, said = self._say(*words, folder=folder, channel=channel)
        if code != 0:
            raise NotMeasured(f"`wherry {words[0]}` of a sound channel ended with {code}: {said[-400:]}")
        return said

    def _say(self, *words: str | Path, folder: Path, channel: str, package: str = "almanac") -> tuple[int, str]:
        """Run wherry in the attack's project; its exit code and all that it said."""
        project = folder / "project"
        project.mkdir(parents=True, exist_ok=True)
        specs = "".join(f"  - {spec}\n" for spec in ("python 3.11.*", package))
        (project / "environment.yml").write_text(f"channels:\n  - {channel}\ndependencies:\n{specs}")
        (project / "wherry.toml").write_text(_TOML)
        places = {"WHERRY_STORE": str(folder / "store"), "WHERRY_CACHE": str(folder / "cache"), "HOME": str(folder)}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CONDA", "RATTLER", "MAMBA"))}
        done = subprocess.run(
            [self._wherry, *words], cwd=project, env={**kept, **places}, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def _fresh(self, name: str) -> Path:
        """The folder of an attack, with what a sound build has of the base but without its archives and images."""
        folder = self._work / re.sub(r"\W+", "-", name)
        folder.mkdir(parents=True)
        shutil.copytree(self._sound / "cache", folder / "cache", copy_function=os.link, ignore=shutil.ignore_patterns("*.conda"))
        return folder

    @staticmethod
    def _make_channel(folder: Path) -> Channel:
        channel = Channel(folder / "channel")
        channel.add(fake_python("linux-64"), almanac())
        channel.write_index()
        return channel
