"""A shell for images that have none: the host's static busybox, mounted at run time, never part of an image.

The folder holds a copy of busybox and one symbolic link for each of its applets; the container sees it read-only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

from wherry.engines.port import EngineImage, Mount, MountKind
from wherry.errors import EngineError
from wherry.store.folders import make_folder

TARGET = "/.wherry/busybox"
SHELL = f"{TARGET}/sh"
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PLACES = ("/bin/busybox", "/usr/bin/busybox", "/usr/local/bin/busybox")
_REMEDY = "apt install busybox-static"
_INTERPRETER = 3  # PT_INTERP: what makes a program need a loader from the image


def find_busybox(env: Mapping[str, str]) -> Path:
    """A static busybox of the host, or an `EngineError` that says how to get one."""
    found = [place for place in (shutil.which("busybox", path=env.get("PATH", "")), *_PLACES) if place]
    present = [Path(place) for place in found if os.access(place, os.X_OK)]
    for place in present:
        if is_static(place.read_bytes()):
            return place
    if present:
        raise EngineError(f"{present[0]} needs libraries of the host", hint=_REMEDY)
    raise EngineError("a shell needs busybox, which is not installed here", hint=_REMEDY)


def is_static(program: bytes) -> bool:
    """True for an ELF program that names no interpreter."""
    if program[:4] != b"\x7fELF" or len(program) < 64 or program[4] not in (1, 2) or program[5] not in (1, 2):
        return False
    order = "<" if program[5] == 1 else ">"
    wide = program[4] == 2
    start = struct.unpack_from(order + ("Q" if wide else "I"), program, 32 if wide else 28)[0]
    size, count = struct.unpack_from(order + "HH", program, 54 if wide else 42)
    if start + size * count > len(program):
        return False
    return all(struct.unpack_from(order + "I", program, start + number * size)[0] != _INTERPRETER for number in range(count))


def prepare_busybox(env: Mapping[str, str], cache: Path) -> Mount:
    """Lay out busybox and its applets in the cache; the mount that shows them."""
    program = find_busybox(env)
    data = program.read_bytes()
    folder = cache / "busybox" / hashlib.sha256(data).hexdigest()
    if not folder.is_dir():
        listed = subprocess.run([program, "--list"], capture_output=True, check=False, stdin=subprocess.DEVNULL)
        if listed.returncode != 0:
            raise EngineError(f"{program} does not run on this machine", hint=_REMEDY)
        _lay_out(folder, data, listed.stdout.decode().split())
    return Mount(kind=MountKind.BIND, source=str(folder), target=TARGET, read_only=True)


def _lay_out(folder: Path, data: bytes, applets: list[str]) -> None:
    with make_folder(folder) as made:
        (made / "busybox").write_bytes(data)
        (made / "busybox").chmod(0o755)
        for applet in sorted({*applets, "sh"} - {"busybox"}):
            if "/" not in applet:
                (made / applet).symlink_to("busybox")
        made.chmod(0o755)


def extend_path(image: EngineImage, given: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The variables of a shell: the image's own PATH first, then the applets."""
    former = dict(given).get("PATH") or next(
        (value for key, _, value in (item.partition("=") for item in image.config.env) if key == "PATH"), _DEFAULT_PATH
    )
    return (*((key, value) for key, value in given if key != "PATH"), ("PATH", f"{former}:{TARGET}"))
