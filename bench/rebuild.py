"""The case `rebuild-offline` of the bench `check`: an image built again from the registry alone, in a network of its own.

A real project (numpy, scipy, pandas, scikit-learn over Debian) is built for amd64 and arm64 and pushed with its sources into
docker's registry. Then it is built again by a wherry that has neither cache nor store, in a network namespace with nothing in it
but a loopback on which that registry is started: index and mirrors cannot be reached, and that they cannot is tried first.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.harness import NotMeasured, run_process, tell
from bench.results import Figure, figure

_PACKAGES = ("numpy", "scipy", "pandas", "scikit-learn")
_PROGRAMS = ("docker-registry", "unshare", "ip")
_CONFIG = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {data}}}}}
http: {{addr: "{host}"}}
"""
# Inside the namespace: the loopback, the registry, a look whether there is any way out, and the rebuild.
_INSIDE = """
set -eu
ip link set lo up
docker-registry serve {config} >/dev/null 2>&1 &
registry=$!
trap 'kill $registry' EXIT
python3 - {host} <<'END'
import socket, sys, time
host, port = sys.argv[1].split(":")
for _ in range(100):
    try:
        socket.create_connection((host, int(port)), 1).close()
        break
    except OSError:
        time.sleep(0.1)
try:
    socket.create_connection(("192.0.2.1", 443), 2)
except OSError:
    sys.exit(0)
sys.exit("there is a way out")
END
{rebuild}
"""


def measure_rebuild(case: str, wherry: Path, work: Path) -> Iterator[Figure]:
    """Seconds, bytes of the sources, and how many images came out with the same ID of how many."""
    lacking = [program for program in _PROGRAMS if shutil.which(program) is None]
    if lacking:
        raise NotMeasured(f"{', '.join(lacking)} is not installed")
    folder = work / "rebuild"
    shutil.rmtree(folder, ignore_errors=True)
    project = folder / "project"
    project.mkdir(parents=True)
    (project / "requirements.txt").write_text("".join(f"{package}\n" for package in _PACKAGES))
    (project / "main.py").write_text("import sklearn\n")
    (project / "wherry.toml").write_text('name = "carried"\nplatforms = ["linux/amd64", "linux/arm64"]\n')
    env = {**os.environ, "WHERRY_STORE": str(work / "store"), "WHERRY_CACHE": str(work / "cache")}
    tell("building for two platforms")
    run_process([wherry, "build"], cwd=project, env=env)
    host = f"127.0.0.1:{_free_port()}"
    config = folder / "registry.yml"
    config.write_text(_CONFIG.format(data=folder / "registry", host=host))
    with _serve(config, host):
        pushed = json.loads(run_process([wherry, "push", f"{host}/carried:1", "--sources", "--json"], cwd=project, env=env).output)
    shutil.rmtree(project)
    words = shlex.join([str(wherry), "check", "--rebuild", "--json", f"{host}/carried:1"])
    script = folder / "inside.sh"
    script.write_text(_INSIDE.format(config=shlex.quote(str(config)), host=host, rebuild=f"{words} || test $? -eq 20"))
    bare = {**os.environ, "WHERRY_STORE": str(folder / "no-store"), "WHERRY_CACHE": str(folder / "no-cache")}
    done = run_process(["unshare", "--net", "--map-root-user", "sh", script], cwd=folder, env=bare)
    images = json.loads(done.output)["images"]
    for image in images:
        for difference in image["differences"]:
            tell(f"{image['platform']}: {difference}")
    yield figure(case, "wherry", "seconds", [done.seconds], "s")
    yield figure(case, "wherry", "sources_mb", [sum(blob["size"] for blob in pushed["sources"]["blobs"]) / 1e6], "MB")
    yield figure(case, "wherry", "layers", [sum(layer["built"] for image in images for layer in image["layers"])], "")
    yield figure(case, "wherry", "equal", [sum(image["equal"] for image in images)], "")
    yield figure(case, "wherry", "not_equal", [2 - sum(image["equal"] for image in images)], "")


@contextmanager
def _serve(config: Path, host: str) -> Iterator[None]:
    process = subprocess.Popen(["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(host)
        yield
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(host: str) -> None:
    name, _, port = host.partition(":")
    for _ in range(100):
        try:
            socket.create_connection((name, int(port)), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise NotMeasured("the registry does not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
