"""Other ways to bring a device from one tree to the next, on the same trees: how many bytes they would send, how long they take.

They get the layers that changed, and nothing of what did not, as two tars or as the trees in them. Each is given what is best for
it: casync small chunks, zstd and xdelta3 a window over everything, bsdiff4 file by file what is shorter of the difference and the
compressed file.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.harness import NotMeasured, Run, run_process

_FILES = """
import bz2, filecmp, gzip, os, sys
import bsdiff4
base, target, method = sys.argv[1:]
total = 0
for folder, _, names in os.walk(target):
    for name in names:
        path = os.path.join(folder, name)
        former = os.path.join(base, os.path.relpath(path, target))
        if os.path.islink(path):
            continue
        there = os.path.isfile(former) and not os.path.islink(former)
        if there and filecmp.cmp(path, former, shallow=False):
            continue
        data = open(path, "rb").read()
        sizes = [len(gzip.compress(data, 9))]
        if method == "bsdiff4":
            sizes.append(len(bz2.compress(data)))
            if there:
                sizes.append(len(bsdiff4.diff(open(former, "rb").read(), data)))
        total += min(sizes)
print(total)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Two tars, and what is in them."""

    folder: Path
    base_tar: Path
    target_tar: Path

    @property
    def base(self) -> Path:
        return self.folder / "base"

    @property
    def target(self) -> Path:
        return self.folder / "target"

    def unpack(self) -> None:
        for tar, folder in ((self.base_tar, self.base), (self.target_tar, self.target)):
            folder.mkdir()
            run_process(["tar", "-xif", tar, "-C", folder])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    size: int
    run: Run


def send_gzip(trees: Trees) -> Sent:
    """Each changed or new file, gzipped."""
    return _send_files(trees, "gzip")


def send_bsdiff4(trees: Trees) -> Sent:
    """Each changed file as its difference, new ones compressed."""
    return _send_files(trees, "bsdiff4")


def send_zstd(trees: Trees) -> Sent:
    _require("zstd")
    out = trees.folder / "patch.zst"
    level = ("-19", "--long=31", "--ultra", "-T1", "-q", "-f")
    run = run_process(["zstd", *level, f"--patch-from={trees.base_tar}", trees.target_tar, "-o", out], memory=True)
    return Sent(size=out.stat().st_size, run=run)


def send_xdelta3(trees: Trees) -> Sent:
    """`-D`: without it, xdelta3 unpacks what it takes for compressed, and is not bit-exact."""
    _require("xdelta3")
    out = trees.folder / "patch.xd3"
    window = str(min(max(trees.base_tar.stat().st_size, 1 << 20), (1 << 31) - 1))
    words = ["xdelta3", "-e", "-9", "-S", "lzma", "-D", "-R", "-f", "-B", window, "-s", trees.base_tar, trees.target_tar, out]
    run = run_process(words, memory=True)
    return Sent(size=out.stat().st_size, run=run)


def send_casync(trees: Trees) -> Sent:
    """The chunks that the base's store lacks, and the index."""
    _require("casync")
    store, index = trees.folder / "chunks", trees.folder / "target.caidx"
    shutil.rmtree(store, ignore_errors=True)
    words = ["casync", "make", "--chunk-size=16384", "--without=all", "--with=symlinks", f"--store={store}"]
    run_process([*words, trees.folder / "base.caidx", trees.base])
    before = {path: path.stat().st_size for path in store.rglob("*.cacnk")}
    run = run_process([*words, index, trees.target], memory=True)
    sent = sum(path.stat().st_size for path in store.rglob("*.cacnk") if path not in before)
    shutil.rmtree(store)
    return Sent(size=sent + index.stat().st_size, run=run)


def _send_files(trees: Trees, method: str) -> Sent:
    run = run_process([sys.executable, "-c", _FILES, trees.base, trees.target, method], memory=True)
    return Sent(size=int(run.output), run=run)


def _require(tool: str) -> None:
    if shutil.which(tool) is None:
        raise NotMeasured(f"{tool} is not installed")


RIVALS: dict[str, Callable[[Trees], Sent]] = {
    "gzip-files": send_gzip,
    "bsdiff4-files": send_bsdiff4,
    "zstd-patch-from": send_zstd,
    "xdelta3": send_xdelta3,
    "casync": send_casync,
}
