"""Makes `.pyc` files with the image's own interpreter, run on this host (DESIGN: bytecode is a layer or a cache).

Rules: unchecked-hash `.pyc` (PEP 552), so time stamps do not matter; one fresh process per wheel, sources in the order
of their paths; nothing of the wheel is imported or run. The interpreter is that of the image, patch version included,
built for this host's architecture: marshal's output does not depend on the architecture, but it does on the patch.
"""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from wherry.assemble import compile_worker
from wherry.assemble.spool import Spool
from wherry.errors import FormatError, StoreError
from wherry.formats.tar import TarEntry

_LONGEST_NAME = 255  # bytes, NAME_MAX of Linux's file systems


@dataclass(frozen=True, slots=True, kw_only=True)
class HostInterpreter:
    """A command that runs the image's interpreter on this host, and the cache tag of its `.pyc` files.

    `root` is the unpacked tree that it lies in.
    """

    command: tuple[str, ...]
    version: str  # 3.11.2
    tag: str  # cpython-311
    root: Path = Path("/")


def find_interpreter(root: Path, path: str, version: str) -> HostInterpreter:
    """The interpreter at `path` in the unpacked tree `root`, started through the tree's own loader, without chroot."""
    program = resolve_in_root(root, path)
    return check_interpreter(root, (*_loader(root, program), str(program)), path, version)


def check_interpreter(root: Path, command: tuple[str, ...], path: str, version: str) -> HostInterpreter:
    """Start the image's interpreter by `command`: it must be of exactly this version. `path` is where in `root` it lies."""
    probe = "import sys; print('.'.join(map(str, sys.version_info[:3])), sys.implementation.cache_tag)"
    try:
        told = subprocess.run(
            (*command, "-I", "-S", "-B", "-c", probe), capture_output=True, text=True, check=True, timeout=60, env={}
        )
        found, tag = told.stdout.split()
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        detail = getattr(error, "stderr", "") or str(error)
        raise StoreError(
            f"the image's Python does not start on this host: {detail.strip()[-300:]}",
            where=path,
            hint='layers-from = [an image that was built on another host], or bytecode = "cache" or "none"',
        ) from error
    if found != version:
        raise StoreError(f"the image's Python is {found}, the lock says {version}", where=path, hint="wherry lock --upgrade")
    return HostInterpreter(command=command, version=version, tag=tag, root=root)


def resolve_in_root(root: Path, path: str) -> Path:
    """Follow links as a process with this root would; never leaves `root`."""
    parts = [part for part in path.split("/") if part]
    done: list[str] = []
    for _ in range(1000):
        if not parts:
            return root.joinpath(*done)
        part = parts.pop(0)
        if part == "..":
            done = done[:-1]
            continue
        here = root.joinpath(*done, part)
        if here.is_symlink():
            link = os.readlink(here)  # noqa: PTH115 - text is wanted
            done = [] if link.startswith("/") else done
            parts = [step for step in link.split("/") if step not in ("", ".")] + parts
        else:
            done.append(part)
    raise FormatError(f"links that never end: {path}", where=str(root))


def _loader(root: Path, program: Path) -> tuple[str, ...]:
    """The command that starts `program` with the tree's libraries: its ELF interpreter, told where to look."""
    with program.open("rb") as file:
        name = _elf_interpreter(file)
    if name is None:
        return ()
    loader = resolve_in_root(root, name)
    folders = [root / "usr/lib", root / "lib", root / "usr/local/lib", root / "usr/lib64", root / "lib64", loader.parent]
    folders += sorted((root / "usr/lib").glob("*-linux-gnu*")) + sorted((root / "lib").glob("*-linux-gnu*"))
    return (str(loader), "--library-path", ":".join(str(folder) for folder in folders if folder.is_dir()))


def _elf_interpreter(file: BinaryIO) -> str | None:
    """PT_INTERP of a 64-bit little-endian ELF file (System V gABI, program header), or None when there is none."""
    header = file.read(64)
    if len(header) < 64 or header[:6] != b"\x7fELF\x02\x01":
        raise StoreError("not a 64-bit ELF program", where=file.name, hint='bytecode = "none"')
    offset, entry_size, count = *struct.unpack_from("<Q", header, 32), *struct.unpack_from("<HH", header, 54)
    for number in range(min(count, 64)):
        file.seek(offset + number * entry_size)
        entry = file.read(56)
        if len(entry) == 56 and struct.unpack_from("<I", entry)[0] == 3:
            start, size = struct.unpack_from("<Q", entry, 8)[0], struct.unpack_from("<Q", entry, 32)[0]
            file.seek(start)
            return file.read(min(size, 4096)).rstrip(b"\0").decode()
    return None


def compile_sources(sources: Iterable[TarEntry], interpreter: HostInterpreter, spool: Spool) -> Iterator[TarEntry]:
    """Compile the given `.py` entries in one process; gives the entries of their `__pycache__`, kept in `spool`.

    A source that does not compile, as test data and templates may not, gets none; nor does one whose `.pyc` would have
    a name that no file system takes.
    """
    script = Path(compile_worker.__file__).read_text(encoding="utf-8")
    command = (*interpreter.command, "-I", "-S", "-B", "-c", script)
    environment = {"PYTHONHASHSEED": "0"}
    # In a group of its own: Ctrl-C is ours to answer, and ends it without a word.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, process_group=0) as process:
        assert process.stdin is not None  # noqa: S101 - tells the type checker
        assert process.stdout is not None  # noqa: S101
        try:
            for entry in sources:
                path = _cached_path(entry.path, interpreter.tag)
                if len(path.rpartition("/")[2].encode()) > _LONGEST_NAME:
                    continue
                compiled = _ask(process.stdin, process.stdout, entry)
                if compiled is not None:
                    content, size = spool.keep((compiled,))
                    yield TarEntry(path=path, size=size, content=content)
            process.stdin.close()
        except (BrokenPipeError, struct.error) as error:
            with suppress(BrokenPipeError):  # what was not written yet has no reader
                process.stdin.close()
            raise StoreError("the image's Python died while compiling", hint='bytecode = "none"') from error
        except BaseException:
            process.kill()
            raise


def _ask(stdin: IO[bytes], stdout: IO[bytes], entry: TarEntry) -> bytes | None:
    source = entry.content if isinstance(entry.content, bytes) else b"".join(entry.content())
    name = f"/{entry.path}".encode()
    stdin.write(struct.pack(">I", len(name)) + name + struct.pack(">I", len(source)))
    stdin.write(source)
    stdin.flush()
    (size,) = struct.unpack(">I", stdout.read(4))
    if size == compile_worker.FAILED:
        return None
    compiled = stdout.read(size)
    if len(compiled) != size:
        raise BrokenPipeError
    return compiled


def _cached_path(path: str, tag: str) -> str:
    folder, _, file = path.rpartition("/")
    return f"{folder}/__pycache__/{file.removesuffix('.py')}.{tag}.pyc"
