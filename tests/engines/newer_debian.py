"""Programs of Debian trixie beside the machine's own: its packages, laid out as a root tree by wherry itself.

No package is installed and no script of one is run. A tree is made once, by `wherry build` from the archive that this machine's
apt is configured for, and kept in the user's cache, under the digest of what it was asked for.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conftest import cannot_run
from wherry.engines.port import EngineImage
from wherry.engines.roots import RootCache
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore
from wherry.store.folders import rename_unless_there
from wherry.store.images import read_images

_WHERRY = (sys.executable, "-c", "from wherry.cli.front import main; main()")
_DECLARATION = """\
name = "{name}"
base = "debian:trixie"
system-packages = [{packages}]
environment = false
code = false
models = []
bytecode = "none"
"""
_MADE = ("proc", "sys", "dev", "run", "etc")


def find_tree(name: str, *packages: str) -> Path:
    """The root of a tree with these packages, made if it is not there."""
    declaration = _DECLARATION.format(name=name, packages=", ".join(f'"{package}"' for package in packages))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wherry-tests"
    root = cache / f"{name}-{hashlib.sha256(declaration.encode()).hexdigest()[:16]}"
    if not root.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(dir=cache, prefix="making-"))
        try:
            rename_unless_there(_make_tree(making, name, declaration), root)
        finally:
            shutil.rmtree(making)
    return root


def find_program(tree: Path, name: str) -> list[str]:
    """How a program of the tree is started outside of it, with the tree's own libraries."""
    libraries = tree / "usr/lib/x86_64-linux-gnu"
    if not libraries.is_dir():
        cannot_run("the tree's programs are started on amd64 alone")
    return [str(tree / "lib64/ld-linux-x86-64.so.2"), "--library-path", str(libraries), str(tree / "usr/bin" / name)]


def _make_tree(folder: Path, name: str, declaration: str) -> Path:
    (folder / "wherry.toml").write_text(declaration)
    env = {**os.environ, "WHERRY_STORE": str(folder / "store"), "WHERRY_CACHE": str(folder / "cache")}
    for words in (("lock",), ("build", "--tag", name)):
        done = subprocess.run([*_WHERRY, *words, folder], env=env, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode != 0:
            cannot_run(f"wherry {words[0]} of trixie's {name}: {done.stderr}")
    store = DiskStore(folder / "store")
    (stored,) = read_images(store, store.resolve(name))
    digests = dict(zip(stored.config.diff_ids, stored.manifest.layers, strict=True))
    roots, image = RootCache(folder / "roots"), EngineImage(config=stored.config)
    roots.load_layers(image, lambda diff_id: read_layer(store, digests[diff_id].digest, diff_id))
    for made in _MADE:
        (roots.root_of(image) / made).mkdir(exist_ok=True)
    return roots.root_of(image)
