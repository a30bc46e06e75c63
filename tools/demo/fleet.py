"""The operator's channel behind a web server with TLS, and one device that reads it over a link whose bytes are counted.

Everything goes by the two programs, `wherry` and `wherry-agent`; the server and the link are the tests' own. The device's engine is
a private one below the system's folder for temporary files, where the names of sockets stay short. It ends with the demo.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.engines.daemons import run_docker, run_podman
from tests.simulators.certificates import Certificates
from tests.simulators.link import LinkSimulator
from tests.simulators.web import WebSimulator
from tools.demo.steps import DEMO, WHERRY, Demo

CHANNEL, KEYS = DEMO / "fleet", DEMO / "keys"
NOT_HERE = (pytest.skip.Exception, pytest.fail.Exception)  # how the simulators say that something is missing
_AGENT = """
engine = "{engine}"
state = "state"
[channel]
url = "{url}"
root = "root.json"
certificates = "ca.pem"
[container]
name = "anomaly"
network = "none"
{how}
"""
# The image is no service: it answers readings until there are none. Kept open, its standard input has none yet.
_AS_SERVICE = 'options = ["--interactive"]'
_IMAGES_ONLY = "start = false"
_HEALTH = ("--health", "command:python score.py", "--health-within", "90", "--health-for", "1")


@dataclass(frozen=True, kw_only=True)
class Update:
    """One `wherry-agent once`: the bytes of its connections, TLS included, both ways together; and what its ledger says.

    `after` are those that came once the new image was on trial: for going back, if it is ill.
    """

    code: int
    seconds: float
    moved: int
    after: int
    ledger: int
    said: str


class Fleet:
    """The channel, served. Devices reach it through `link` only."""

    def __init__(self, demo: Demo, web: WebSimulator, link: LinkSimulator, certificates: Certificates) -> None:
        self._demo, self._web, self.link, self.certificates = demo, web, link, certificates

    @property
    def env(self) -> Mapping[str, str]:
        return self._demo.env

    @property
    def url(self) -> str:
        return f"{self._web.scheme}://127.0.0.1:{self.link.port}/channel"

    def release(self, number: int) -> int:
        """Sign what was built last, put it onto the server; the bytes of the parcel from the release before, or of the full one."""
        words = ("iot-anomaly", "--channel", CHANNEL, "--keys", KEYS, "--platform", self._demo.host, "--from", "last:1", "--json")
        told = json.loads(self._demo.wherry(f"release {number}", "release", *words, *_HEALTH))
        self._web.files = {
            f"/channel/{file.relative_to(CHANNEL)}": file.read_bytes() for file in CHANNEL.rglob("*") if file.is_file()
        }
        parcel: int = (told["updates"] or told["full"])[0]["parcel"]
        self._demo.steps[-1].note = f"{'parcel' if told['updates'] else 'full parcel'}: {parcel:,} bytes"
        return parcel


@contextmanager
def serve_fleet(demo: Demo, certificates: Certificates) -> Iterator[Fleet]:
    demo.wherry("keys of the channel", "channel", "keys", "init", CHANNEL, "--keys", KEYS, "--no-passphrase")
    with WebSimulator({}, tls=certificates.server_context()) as web, LinkSimulator(web.address) as link:
        yield Fleet(demo, web, link, certificates)


class Device:
    """A device in a folder: its agent's configuration, state and engine."""

    def __init__(self, fleet: Fleet, engine: str, env: Mapping[str, str]) -> None:
        self.engine, self._fleet, self._env, self._folder = engine, fleet, env, DEMO / "device" / engine
        self._folder.mkdir(parents=True)
        (self._folder / "root.json").write_bytes((CHANNEL / "metadata" / "1.root.json").read_bytes())
        (self._folder / "ca.pem").write_bytes(fleet.certificates.root.read_bytes())
        how = _AS_SERVICE if self.runs_container else _IMAGES_ONLY
        (self._folder / "agent.toml").write_text(_AGENT.format(engine=engine, url=fleet.url, how=how))

    @property
    def runs_container(self) -> bool:
        """bubblewrap gives a container that outlives its starter no open standard input."""
        return self.engine != "bubblewrap"

    def update(self) -> Update:
        """Look for news, and take them."""
        print(f"\n$ wherry-agent once          # on the device, in {self.engine}", file=sys.stderr)
        link, before, start = self._fleet.link, self._read_ledger(), time.perf_counter()
        link.reset_counts()
        talk: list[str] = []
        with subprocess.Popen(self._words("once"), env=self._env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as agent:
            trial: list[int] = []
            listening = threading.Thread(target=self._listen, args=(agent, talk, trial))
            listening.start()
            assert agent.stdout
            talk.append(agent.stdout.read().decode())
            listening.join()
        moved = read_total(link)
        return Update(
            code=agent.returncode,
            seconds=time.perf_counter() - start,
            moved=moved,
            after=moved - trial[0] if trial else 0,
            ledger=self._read_ledger() - before,
            said="".join(talk).strip(),
        )

    def _listen(self, agent: subprocess.Popen[bytes], talk: list[str], trial: list[int]) -> None:
        assert agent.stderr
        for line in agent.stderr:
            text = line.decode(errors="replace")
            if text.rstrip().endswith(": on trial"):
                trial.append(self._fleet.link.total)
            talk.append(text)
            sys.stderr.write(text)

    def score(self, reading: str) -> bytes:
        """What the container that runs on the device answers."""
        words = [self.engine, "exec", "--interactive", "anomaly", "python", "-W", "ignore", "score.py"]
        return subprocess.run(words, env=self._env, input=reading.encode(), stdout=subprocess.PIPE, check=True).stdout

    def read_status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self._ask("status", "--json"))
        return status

    def _read_ledger(self) -> int:
        told = json.loads(self._ask("ledger", "--json"))
        return int(told["sent"] + told["received"])

    def _ask(self, *words: str) -> bytes:
        return subprocess.run(self._words(*words), env=self._env, stdout=subprocess.PIPE, check=True).stdout

    def _words(self, *words: str) -> list[str | Path]:
        return [WHERRY.with_name("wherry-agent"), "--config", self._folder / "agent.toml", *words]


@contextmanager
def install_device(fleet: Fleet, wanted: str | None) -> Iterator[tuple[Device, Update]]:
    """A device with the channel's release on it, in the first engine in which that works: podman, docker, bubblewrap."""
    for engine, start in (("podman", run_podman), ("docker", run_docker), ("bubblewrap", None)):
        if wanted not in (None, engine):
            continue
        with ExitStack() as stack:
            try:
                env = stack.enter_context(start()).env if start else fleet.env
            except NOT_HERE as error:
                print(f"demo: no {engine} for the device: {error}", file=sys.stderr)
                continue
            device = Device(fleet, engine, env)
            update = device.update()
            if update.code == 0:
                yield device, update
                return
            print(f"demo: the device does not get on with {engine}", file=sys.stderr)
    sys.exit("demo: no engine for the device; install podman or bubblewrap")


def read_total(link: LinkSimulator) -> int:
    """The bytes of the link, when nothing passes any more: a client may have ended before its last bytes were counted."""
    while True:
        total = link.total
        time.sleep(0.2)
        if link.total == total:
            return total
