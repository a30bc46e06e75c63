"""`python -m tools.conda_channel FOLDER`: makes a channel in a folder, and serves it when asked."""

from __future__ import annotations

import argparse
import contextlib
import threading
from pathlib import Path

from tools.conda_channel.channel import Channel
from tools.conda_channel.debian_records import PLATFORMS, make_debian_records
from tools.conda_channel.samples import write_samples
from tools.conda_channel.server import serve_channel
from tools.conda_channel.wheels import wrap_wheel


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.conda_channel", description=__doc__)
    parser.add_argument("folder", type=Path, help="what becomes the channel; what it has already stays in it")
    parser.add_argument("--samples", action="store_true", help="with one small package of each kind")
    parser.add_argument("--python", type=Path, metavar="CACHE", help="with a real Python, made of Debian's packages, kept in CACHE")
    parser.add_argument("--wheel", type=Path, action="append", default=[], help="with a wheel, wrapped; may be given again")
    parser.add_argument("--serve", action="store_true", help="serve it from loopback until interrupted")
    parser.add_argument("--token", action="append", default=[], help="serve it below /t/TOKEN/ only")
    asked = parser.parse_args()
    channel = write_samples(asked.folder, python=not asked.python) if asked.samples else Channel(asked.folder)
    for subdir in PLATFORMS if asked.python else ():
        for archive in make_debian_records(asked.python, subdir):
            channel.add_archive(archive)
    channel.add(*(wrap_wheel(wheel) for wheel in asked.wheel))
    channel.write_index()
    print(asked.folder.absolute().as_uri())
    if asked.serve:
        with serve_channel(asked.folder, tokens=asked.token) as server:
            print(server.url, flush=True)
            threading.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
