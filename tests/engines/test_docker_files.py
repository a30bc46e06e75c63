"""What `wherry export` writes for Docker, built and started by real podman, podman-compose and a unit's own command line."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.engines.daemons import Daemon
from tests.engines.images import busybox_entries, layer_bytes, put_image
from tests.simulators.python_index import PythonIndex, make_wheel
from wherry.declare.fingerprint import declaration_digest
from wherry.declare.project import read_declaration
from wherry.formats.tar import file_entry
from wherry.lock.plan import plan_layers
from wherry.lock.storage import write_lock
from wherry.model.declaration import Bytecode
from wherry.model.digest import Digest
from wherry.model.lock import LayerKind, Lock, LockedDeb, LockedInterpreter, LockedWheel, PlatformLock
from wherry.run.launch import load_image, pick_runnable
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform
from wherry.store.places import store_path

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engines")]

WHERRY = (sys.executable, "-c", "from wherry.cli.front import main; main()")
MAIN = """import json, os, pathlib, sys
import tinyone
here = pathlib.Path(__file__).parent
print(json.dumps({
    "one": tinyone.VERSION, "python": sys.prefix, "user": os.getuid(), "folder": os.getcwd(), "level": os.environ["LEVEL"],
    "files": sorted(str(path.relative_to(here)) for path in here.rglob("*") if not path.is_dir()),
    "runs": os.access(here / "tool.sh", os.X_OK), "linked": (here / "link.txt").read_text(),
    "state": pathlib.Path("/state/written").write_text("yes"),
}))
"""
SETTINGS = """name = "anomaly"
entrypoint = ["python", "main.py"]
volumes = ["/state"]
ports = [8080]
env = { LEVEL = 'a "quoted" $HOME \\\\' }
[[models]]
path = "models/m.bin"
"""
FILES = ["main.py", "models/m.bin", "odd/we]ird $name.txt", "requirements.txt", "tool.sh"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with all that a Dockerfile has to quote, locked to one wheel of the index on loopback."""
    root = tmp_path / "project"
    for path in FILES:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{path}\n")
    (root / "main.py").write_text(MAIN)
    (root / "tool.sh").chmod(0o700)
    (root / "models/m.bin").chmod(0o600)
    (root / "link.txt").symlink_to("tool.sh")
    (root / ".env").write_text("PASSWORD=1\n")
    (root / "requirements.txt").write_text("tinyone==1.0\n")
    (root / "wherry.toml").write_text(SETTINGS)
    declared, wheel, platform = read_declaration(root, os.environ), make_wheel("tinyone", "1.0"), read_host_platform()
    locked = LockedWheel(name="tinyone", version="1.0", file=wheel.file, size=len(wheel.data), sha256=Digest(wheel.sha256))
    python = LockedInterpreter(source="debian", version="3.11.2", path="/usr/bin/python3.11")
    deb = LockedDeb(
        name="python3.11",
        version="3.11.2-6",
        architecture="amd64",
        file="p.deb",
        size=1,
        sha256=Digest.of(b""),
        part=LayerKind.BASE,
    )
    one = PlatformLock(
        platform=platform,
        base=None,
        interpreter=python,
        debs=(deb,),
        wheels=(locked,),
        layers=plan_layers((deb,), python, (locked,), Bytecode.LAYER),
    )
    write_lock(root, Lock(declaration=declaration_digest(declared), platforms=(one,)))
    return root


def export(project: Path, *words: str) -> str:
    done = subprocess.run([*WHERRY, "export", *words], cwd=project, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "against wherry this loses:" in done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def debian(request: pytest.FixtureRequest, podman_engine: Daemon) -> Daemon:
    """podman that has Debian under the name that everybody gives it. The archive's packages are fetched once."""
    require_tool("mmdebstrap")
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("debian-base")
    archive = folder / "bookworm.tar"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            begun = folder / "begun.tar"
            subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "bookworm", str(begun)], check=True, timeout=300)
            begun.rename(archive)
    done = podman_engine.call("podman", "import", "--quiet", str(archive), "docker.io/library/debian:bookworm-slim")
    assert done.returncode == 0, done.stderr
    return podman_engine


@pytest.fixture
def pip_conf(tmp_path: Path) -> Iterator[Path]:
    with PythonIndex(credentials=("me", "s3cret")) as index:
        index.add(make_wheel("tinyone", "1.0"))
        path = tmp_path / "pip.conf"
        path.write_text(f"[global]\nindex-url = {index.url_with_credentials()}\n")
        yield path


def podman(engine: Daemon, *words: str) -> str:
    done = engine.call("podman", *words)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()[-3000:]
    return done.stdout.decode()


@pytest.mark.network
def test_a_dockerfile_builds_and_starts(project: Path, pip_conf: Path, debian: Daemon) -> None:
    text = export(project, "dockerfile")
    export(project, "dockerfile", "-o", "Dockerfile")
    assert (project / "Dockerfile").read_text() == text == export(project, "dockerfile")
    secret = ("--secret", f"id=pip,src={pip_conf}")
    podman(debian, "build", "--quiet", "--network", "host", *secret, "--tag", "exported", str(project))
    told = json.loads(podman(debian, "run", "--rm", "--network", "none", "exported"))
    assert told == {
        "one": "1.0",
        "python": "/opt/env",
        "user": 10001,
        "folder": "/app",
        "level": 'a "quoted" $HOME \\\\',
        "files": sorted([*FILES, "link.txt"]),
        "runs": True,
        "linked": "tool.sh\n",
        "state": 3,
    }
    kept = podman(debian, "history", "--no-trunc", "exported") + podman(debian, "inspect", "exported")
    assert "s3cret" not in kept

    (project / "Dockerfile").write_text(re.sub(r"--hash=sha256:\w{4}", "--hash=sha256:0000", text))
    done = debian.call("podman", "build", "--quiet", "--network", "host", *secret, str(project))
    assert done.returncode != 0
    assert b"DO NOT MATCH THE HASHES" in done.stdout + done.stderr

    export(project, "devcontainer")
    document = json.loads(re.sub(r"(?m)^//.*\n", "", (project / ".devcontainer/devcontainer.json").read_text()))
    context = project / ".devcontainer" / document["build"]["context"]
    file = project / ".devcontainer" / document["build"]["dockerfile"]
    podman(debian, "build", "--quiet", "--network", "host", *secret, "--tag", "develop", "--file", str(file), str(context))
    mount = document["workspaceMount"].replace("${localWorkspaceFolder}", str(project))
    ask = "import tinyone, os, getpass; print(getpass.getuser(), tinyone.VERSION, os.path.exists('tool.sh'))"
    words = ("--mount", mount.replace("type=bind", "type=bind,ro"), "--workdir", document["workspaceFolder"])
    said = podman(debian, "run", "--rm", "--network", "none", *words, "develop", "bash", "-c", f'python -c "{ask}"; ls ~ >&2')
    assert said == "dev 1.0 True\n"
    assert document["remoteUser"] == "dev"


@pytest.fixture
def service(tmp_path: Path, podman_engine: Daemon) -> Path:
    """A project whose image, a shell that waits, is in podman under the project's name."""
    root = tmp_path / "steady"
    root.mkdir()
    (root / "wherry.toml").write_text('name = "steady"\nentrypoint = ["/srv/wait"]\nvolumes = ["/var/lib/steady"]\n')
    (root / "requirements.txt").write_text("")
    store = DiskStore(store_path(os.environ))
    script = b"#!/bin/sh\ntrap 'echo bye; exit 0' TERM\necho ready $(ls -d /var/lib/steady)\nwhile :; do sleep 0.1; done\n"
    layers = [layer_bytes(busybox_entries()), layer_bytes([file_entry("srv/wait", script, 0o755)])]
    put_image(store, "steady:latest", layers, entrypoint=["/srv/wait"])
    stored, image = pick_runnable(store, "steady:latest")
    load_image(store, stored, image, podman_engine.engine, lambda _text: None)
    return root


def test_a_compose_file_starts_the_image(
    service: Path, podman_engine: Daemon, wait_for: Callable[[Callable[[], bool]], bool]
) -> None:
    require_tool("podman-compose")
    export(service, "compose", "-o", "compose.yaml")

    def compose(*words: str) -> subprocess.CompletedProcess[bytes]:
        argv = ["podman-compose", "-f", "compose.yaml", *words]
        return subprocess.run(argv, cwd=service, env=dict(podman_engine.env), capture_output=True, check=False, timeout=120)

    try:
        done = compose("up", "--detach")
        assert done.returncode == 0, done.stderr
        name = podman(podman_engine, "ps", "--format", "{{.Names}} {{.Image}}").split()
        assert name[1].endswith("/steady:latest")
        assert wait_for(lambda: podman(podman_engine, "logs", name[0]) == "ready /var/lib/steady\n")
    finally:
        down = compose("down", "--timeout", "5")
    assert down.returncode == 0, down.stderr
    assert podman(podman_engine, "ps", "--quiet") == ""


def commands(unit: str, key: str) -> list[str]:
    """The words of a command as systemd reads them; its specifiers are doubled."""
    line = next(line for line in unit.splitlines() if line.startswith(f"{key}="))
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line.partition("=")[2].lstrip("-"))]


def test_a_unit_starts_the_image(
    service: Path, podman_engine: Daemon, wait_for: Callable[[Callable[[], bool]], bool], tmp_path: Path
) -> None:
    unit = export(service, "systemd")
    if shutil.which("systemd-analyze"):
        place = tmp_path / "steady.service"
        place.write_text(unit)
        found = subprocess.run(["systemd-analyze", "verify", "--man=no", str(place)], capture_output=True, text=True, check=False)
        assert "steady.service" not in found.stderr, found.stderr
    env = dict(podman_engine.env)
    log = tmp_path / "log"
    subprocess.run(commands(unit, "ExecStartPre"), env=env, capture_output=True, check=False, timeout=60)
    with log.open("wb") as output:
        argv = commands(unit, "ExecStart")
        running = subprocess.Popen(argv, env=env, stdout=output, stderr=output)
    try:
        assert wait_for(lambda: log.read_text() == "ready /var/lib/steady\n"), log.read_text()
        stopped = subprocess.run(commands(unit, "ExecStop"), env=env, capture_output=True, check=False, timeout=60)
        assert stopped.returncode == 0, stopped.stderr
        assert running.wait(30) == 0
    finally:
        running.kill()
        running.wait()
    assert log.read_text().endswith("bye\n")
