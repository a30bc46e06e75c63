"""A newer docker beside the machine's own: that of Debian trixie, in a root tree that wherry lays out (newer_debian).

The tree is the daemon's root, in a mount namespace of its own; the folder for temporary files is at the same path inside, so
that paths mean the same to all.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import cannot_run, require_tool
from tests.engines.daemons import Daemon, isolate_environment, private_folder, run_process
from tests.engines.newer_debian import find_tree
from wherry.engines.choice import make_engine

_INSIDE = """
set -e
root=$1 shared=$2 python=$3 turn=$4
shift 4
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount --rbind "$shared" "$root$shared"
cd "$root"
exec "$python" -c "$turn" "$@"
"""
# With chroot alone, `docker exec` would enter a container's namespace by its real root, which is the machine's.
_TURN = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.pivot_root(b".", b".") or libc.umount2(b".", 2):
    sys.exit(os.strerror(ctypes.get_errno()))
os.execve(sys.argv[1], sys.argv[1:], {"PATH": "/usr/sbin:/usr/bin"})
"""


@contextmanager
def run_newer_docker(*, containerd_store: bool) -> Iterator[Daemon]:
    """Its daemon, with docker's classic store or with containerd's; the machine's own client speaks to it."""
    if os.geteuid() != 0:
        cannot_run("private engines need root")
    require_tool("docker", "unshare")
    root, shared = find_tree("docker", "docker.io"), Path(tempfile.gettempdir()).resolve()
    (root / shared.relative_to("/")).mkdir(parents=True, exist_ok=True)
    with private_folder("docker26") as folder:
        socket = folder / "docker.sock"
        settings = {
            "features": {"containerd-snapshotter": containerd_store},
            "data-root": f"{folder}/data",
            "exec-root": f"{folder}/exec",
            "pidfile": f"{folder}/docker.pid",
            "hosts": [f"unix://{socket}"],
            "iptables": False,
            "bridge": "none",
        }
        (folder / "daemon.json").write_text(json.dumps(settings))
        argv = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            _INSIDE,
            "sh",
            str(root),
            str(shared),
            sys.executable,
            _TURN,
        ]
        argv += ["/usr/sbin/dockerd", "--config-file", f"{folder}/daemon.json"]
        env = isolate_environment(DOCKER_HOST=f"unix://{socket}", DOCKER_CONFIG=str(folder / "client"))
        engine = make_engine("docker", env)
        with run_process(argv, folder / "log", lambda: engine.probe().usable):
            daemon = Daemon(name="docker", env=env, socket=socket, engine=engine, folder=folder)
            try:
                yield daemon
            finally:
                if running := daemon.call("docker", "ps", "--all", "--quiet").stdout.decode().split():
                    daemon.call("docker", "rm", "--force", *running)
