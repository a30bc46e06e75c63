"""Roots of images in a few lines: files by path, ELF files made by hand, a Python that is just enough of one."""

from __future__ import annotations

from collections.abc import Mapping

from tests.simulators.bases import tar_of
from tests.unit.formats.elves import make_elf
from wherry.check.facts import Facts
from wherry.check.scan import scan_layer
from wherry.check.tree import LayeredTree
from wherry.formats.tar import EntryKind, TarEntry

SITE = "opt/env/lib/python3.11/site-packages"
LIB = "usr/lib/x86_64-linux-gnu"
GLIBC = ("GLIBC_2.2.5", "GLIBC_2.34", "GLIBC_2.36")
Files = Mapping[str, "bytes | TarEntry"]


def link(path: str, target: str) -> TarEntry:
    return TarEntry(path=path, kind=EntryKind.SYMLINK, mode=0o777, link=target)


def system() -> dict[str, bytes | TarEntry]:
    """A merged /usr with a C library and Python 3.11, and an environment that points to it."""
    return {
        "lib": link("lib", "usr/lib"),
        f"{LIB}/libc.so.6": make_elf(soname="libc.so.6", defines=GLIBC),
        "usr/bin/python3.11": make_elf(["libc.so.6"], interpreter="/lib64/ld-linux-x86-64.so.2"),
        "opt/env/bin/python": link("opt/env/bin/python", "/usr/bin/python3.11"),
        "opt/env/pyvenv.cfg": b"home = /usr/bin\n",
        **distribution("six", "1.0", {"six.py": b""}),
    }


def distribution(name: str, version: str, files: Files, *tags: str) -> dict[str, bytes | TarEntry]:
    """An installed distribution; paths of `files` are relative to site-packages."""
    info = f"{SITE}/{name}-{version}.dist-info"
    record = "".join(f"{path},,\n" for path in files) + f"{name}-{version}.dist-info/RECORD,,\n"
    wheel = "Wheel-Version: 1.0\n" + "".join(f"Tag: {tag}\n" for tag in tags or ("py3-none-any",))
    return {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: not this\n".encode(),
        f"{info}/RECORD": record.encode(),
        f"{info}/WHEEL": wheel.encode(),
        **{f"{SITE}/{path}": content for path, content in files.items()},
    }


def module(name: str, *needed: str, **more: object) -> bytes:
    """A compiled module that is called `name`."""
    return make_elf(["libc.so.6", *needed], exports=[f"PyInit_{name}"], **more)  # type: ignore[arg-type]


def facts_of(files: Files) -> Facts:
    return scan_layer([tar_of(files)], "test")


def make_tree(*layers: Files) -> LayeredTree:
    return LayeredTree(map(facts_of, layers))
