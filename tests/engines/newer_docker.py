"""A newer docker beside the machine's own: Debian trixie's packages, laid out as a root tree by wherry itself.

No package is installed and no script of one is run. The tree is made once, by `wherry build` from the archive that this machine's
apt is configured for, and kept in the user's cache, under the digest of what it was asked for. It is the daemon's root, in a
mount namespace of its own; the folder for temporary files is at the same path inside, so that paths mean the same to all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import cannot_run, require_tool
from tests.engines.daemons import Daemon, isolate_environment, private_folder, run_process
from wherry.engines.choice import make_engine
from wherry.engines.port import EngineImage
from wherry.engines.roots import RootCache
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore
from wherry.store.folders import rename_unless_there
from wherry.store.images import read_images

_WHERRY = (sys.executable, "-c", "from wherry.cli.front import main; main()")
_DECLARATION = """\
name = "docker"
base = "debian:trixie"
system-packages = ["docker.io"]
environment = false
code = false
models = []
bytecode = "none"
"""
_MADE = ("proc", "sys", "dev", "run", "etc")
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
    root, shared = _find_root(), Path(tempfile.gettempdir()).resolve()
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


def _find_root() -> Path:
    """The tree, made if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wherry-tests"
    root = cache / f"docker-{hashlib.sha256(_DECLARATION.encode()).hexdigest()[:16]}"
    if not root.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(dir=cache, prefix="making-"))
        try:
            rename_unless_there(_make_root(making), root)
        finally:
            shutil.rmtree(making)
    return root


def _make_root(folder: Path) -> Path:
    (folder / "wherry.toml").write_text(_DECLARATION)
    env = {**os.environ, "WHERRY_STORE": str(folder / "store"), "WHERRY_CACHE": str(folder / "cache")}
    for words in (("lock",), ("build", "--tag", "docker")):
        done = subprocess.run([*_WHERRY, *words, folder], env=env, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode != 0:
            cannot_run(f"wherry {words[0]} of trixie's docker: {done.stderr}")
    store = DiskStore(folder / "store")
    (stored,) = read_images(store, store.resolve("docker"))
    digests = dict(zip(stored.config.diff_ids, stored.manifest.layers, strict=True))
    roots, image = RootCache(folder / "roots"), EngineImage(config=stored.config)
    roots.load_layers(image, lambda diff_id: read_layer(store, digests[diff_id].digest, diff_id))
    for name in _MADE:
        (roots.root_of(image) / name).mkdir(exist_ok=True)
    return roots.root_of(image)
