"""Makes `wherry-agent` one file, with all that it imports, for devices on which nothing is to be installed.

    .venv/bin/python tools/agent_zipapp.py dist/wherry-agent.pyz

It runs with the same minor version of Python, on the same platform, as the environment that it is made from: signatures and zstd
are compiled code. At its first start it lays itself out in a cache folder that is named by its own digest.
"""

from __future__ import annotations

import hashlib
import re
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
PARTS = ("agent", "engines", "formats", "model", "store")
DISTRIBUTIONS = ("tuf", "securesystemslib", "cryptography", "cffi", "zlib-ng")
ZSTD = "backports.zstd"  # part of Python from 3.14 on
_TIME = (1980, 1, 1, 0, 0, 0)
_TERMS = re.compile(r"[^/]+\.dist-info/(?:licenses/.+|(?:LICEN[CS]E|COPYING|NOTICE)[^/]*)")  # whoever hands it on needs them
_UNWANTED = (".dist-info/", "__pycache__", "/tests/", "tuf/ngclient/", "tuf/repository/")

_MAIN = '''\
"""Lays this file out in a folder of its own once, and runs it from there."""
import os, shutil, sys, zipfile

NEEDS, DIGEST = {needs!r}, {digest!r}
if sys.version_info[:2] != NEEDS:
    sys.exit("this wherry-agent needs Python %d.%d, not %d.%d" % (NEEDS + tuple(sys.version_info[:2])))
home = "/var/cache" if os.geteuid() == 0 else os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
folder = os.path.join(os.environ.get("WHERRY_CACHE") or os.path.join(home, "wherry"), "agent", DIGEST)
if not os.path.isdir(folder):
    made = "%s.%d" % (folder, os.getpid())
    os.makedirs(made, mode=0o700)
    with zipfile.ZipFile(sys.argv[0]) as archive:
        archive.extractall(made)
    os.sync()
    try:
        os.rename(made, folder)
    except OSError:
        shutil.rmtree(made)
        if not os.path.isdir(folder):
            raise
sys.path[0] = folder
from wherry.agent.front import main

main()
'''


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = Path(sys.argv[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    members = dict(sorted(_list_members()))
    digest = hashlib.sha256(b"".join(name.encode() + hashlib.sha256(data).digest() for name, data in members.items()))
    start = _MAIN.format(needs=sys.version_info[:2], digest=digest.hexdigest()[:32])
    with out.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in (("__main__.py", start.encode()), *members.items()):
                archive.writestr(zipfile.ZipInfo(name, _TIME), data, zipfile.ZIP_DEFLATED)
    out.chmod(0o755)
    print(f"{out}: {out.stat().st_size} bytes, for Python {sys.version_info[0]}.{sys.version_info[1]}")


def _list_members() -> Iterator[tuple[str, bytes]]:
    package = SOURCE / "wherry"
    files = [*package.glob("*.py"), *(path for part in PARTS for path in (package / part).rglob("*.py"))]
    for path in files:
        yield path.relative_to(SOURCE).as_posix(), path.read_bytes()
    for name in (*DISTRIBUTIONS, *((ZSTD,) if sys.version_info < (3, 14) else ())):
        for entry in distribution(name).files or ():
            place = entry.as_posix()
            wanted = _TERMS.fullmatch(place) or not any(part in place for part in _UNWANTED)
            if wanted and not place.startswith(".."):
                yield place, Path(str(entry.locate())).read_bytes()


if __name__ == "__main__":
    main()
