"""Makes `wherry-agent` a folder with an interpreter and a C library of its own, for devices without Python 3.11.

    .venv/bin/python -m tools.agent_bundle dist/wherry-agent.tar.gz [--platform linux/arm64]

wherry builds it: an image of Debian's Python, bubblewrap, the agent's code and what that imports, for any platform on any host. The
archive holds that image's root, and a shell script that starts the agent by the root's own dynamic linker. So of the device nothing
is used but its kernel, its shell and its engine; where it has no engine, `engine = "bubblewrap"` is in the folder. The same lock
and the same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

from tools.agent_zipapp import DISTRIBUTIONS, PARTS, SOURCE, ZSTD

from wherry.engines.port import EngineImage
from wherry.engines.roots import RootCache
from wherry.formats.tar import TarEntry, add_parents, directory_entry, file_entry, stream_tar, symlink_entry
from wherry.model.platform import Platform
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform
from wherry.store.images import read_images

_NAME = "wherry-agent"
_TRIPLETS = {"amd64": ("x86_64-linux-gnu", "ld-linux-x86-64.so.2"), "arm64": ("aarch64-linux-gnu", "ld-linux-aarch64.so.1")}
_DECLARATION = """\
name = "{name}"
base = "debian:bookworm"
platforms = ["{platform}"]
system-packages = ["bubblewrap", "util-linux"]
entrypoint = ["python", "-c", "from wherry.agent.front import main; main()"]
models = []
"""
_START = """\
#!/bin/sh
# Starts the agent by this folder's own interpreter and C library.
here=$(dirname "$(readlink -f "$0")")
PATH=$PATH:$here/engine
[ -e /etc/ssl/certs/ca-certificates.crt ] || export SSL_CERT_FILE="${{SSL_CERT_FILE:-$here/etc/ssl/certs/ca-certificates.crt}}"
libraries=$here/usr/lib/{triplet}
exec "$libraries/{linker}" --library-path "$libraries" "$here/usr/bin/python3.11" -I "$here/start.py" "$@"
"""
_MAIN = """\
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(here, "app"), os.path.join(here, "opt/env/lib/python3.11/site-packages")]
sys.argv[0] = os.path.join(here, "wherry-agent")
from wherry.agent.front import main

main()
"""
_TOOL = """\
#!/bin/sh
here=$(dirname "$(dirname "$(readlink -f "$0")")")
libraries=$here/usr/lib/{triplet}
exec "$libraries/{linker}" --library-path "$libraries" "$here/usr/bin/{tool}" "$@"
"""
_TOOLS = ("bwrap", "nsenter")  # only what the device does not have itself is taken: the folder is the last of PATH


def main() -> None:
    parser = argparse.ArgumentParser(prog="agent_bundle", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--platform", type=Platform.parse, default=read_host_platform())
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = _build_root(Path(folder), asked.platform)
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        with asked.out.open("wb") as file, gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
            for chunk in stream_tar(add_parents([*_list_tree(tree), *_list_scripts(asked.platform)])):
                packed.write(chunk)
    print(f"{asked.out}: {asked.out.stat().st_size} bytes, for {asked.platform}")


def _build_root(folder: Path, platform: Platform) -> Path:
    """The image's root, laid out. The cache of whoever calls serves; the store does not get the image."""
    project = folder / "project"
    for part in PARTS:
        shutil.copytree(SOURCE / "wherry" / part, project / "wherry" / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (SOURCE / "wherry").glob("*.py"):
        shutil.copy(path, project / "wherry")
    (project / "wherry.toml").write_text(_DECLARATION.format(name=_NAME, platform=platform))
    pinned = [f"{name}=={version(name)}" for name in DISTRIBUTIONS]
    # Python 3.11 has no zstd; an interpreter that has it says nothing of the distribution's version.
    pinned.append(f"{ZSTD}=={version(ZSTD)}" if sys.version_info < (3, 14) else ZSTD)
    (project / "requirements.txt").write_text("\n".join(pinned))
    env = {**os.environ, "WHERRY_STORE": str(folder / "store")}
    program = (sys.executable, "-c", "from wherry.cli.front import main; main()")
    for words in (("lock",), ("build", "--tag", _NAME)):
        subprocess.run([*program, *words, project], env=env, check=True, stdout=sys.stderr)
    store = DiskStore(folder / "store")
    (stored,) = read_images(store, store.resolve(_NAME))
    digests = dict(zip(stored.config.diff_ids, stored.manifest.layers, strict=True))
    roots, image = RootCache(folder / "roots"), EngineImage(config=stored.config)
    roots.load_layers(image, lambda diff_id: read_layer(store, digests[diff_id].digest, diff_id))
    return roots.root_of(image)


def _list_tree(tree: Path) -> Iterator[TarEntry]:
    for path in sorted(tree.rglob("*")):
        name, mode = f"{_NAME}/{path.relative_to(tree)}", path.lstat().st_mode & 0o777
        if path.is_symlink():
            yield symlink_entry(name, str(path.readlink()))
        elif path.is_dir():
            yield directory_entry(name, mode)
        else:
            yield TarEntry(path=name, mode=mode, size=path.stat().st_size, content=partial(_read, path))


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 18):
            yield chunk


def _list_scripts(platform: Platform) -> Iterator[TarEntry]:
    triplet, linker = _TRIPLETS[platform.architecture]
    yield file_entry(f"{_NAME}/{_NAME}", _START.format(triplet=triplet, linker=linker).encode(), 0o755)
    yield file_entry(f"{_NAME}/start.py", _MAIN.encode())
    for tool in _TOOLS:
        yield file_entry(f"{_NAME}/engine/{tool}", _TOOL.format(triplet=triplet, linker=linker, tool=tool).encode(), 0o755)


if __name__ == "__main__":
    main()
