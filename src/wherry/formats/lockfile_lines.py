"""The lines of `wherry.lock`, in the one form that writers give it (docs/spec/lock.md, "The file").

Writes what it is given; whether that may stand in a lock is for the reader to say, which lockfile.py asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wherry.errors import LockError
from wherry.model.lock import LockedBuild, LockedInterpreter, LockedRecord, LockedWheel, PlatformLock


def platform_lines(locked: PlatformLock) -> Iterator[str]:
    """The tables of one platform, line by line."""
    yield from ("", "[[platform]]", f"platform = {quote(str(locked.platform))}")
    yield f"interpreter = {{ {', '.join(_interpreter_items(locked.interpreter))} }}"
    if locked.base is not None:
        yield from ("", "[platform.base]", f"name = {quote(locked.base.name)}")
        yield f"manifest = {quote(str(locked.base.manifest))}"
        yield f"config = {quote(str(locked.base.config))}"
        yield from _array_lines("diff_ids", map(str, locked.base.diff_ids))
        if locked.base.release is not None:
            yield f"release = {quote(locked.base.release)}"
    for deb in locked.debs:
        yield from ("", "[[platform.deb]]", f"name = {quote(deb.name)}", f"version = {quote(deb.version)}")
        yield from (f"architecture = {quote(deb.architecture)}", f"file = {quote(deb.file)}")
        yield from (f"size = {deb.size}", f"sha256 = {quote(deb.sha256.hex)}", f"part = {quote(deb.part.value)}")
    for record in locked.records:
        yield from _record_lines(record)
    for wheel in locked.wheels:
        yield from ("", "[[platform.wheel]]", *_file_lines(wheel))
        if wheel.requires:
            yield f"requires = [{', '.join(map(quote, wheel.requires))}]"
        if wheel.requested:
            yield "requested = true"
    for build in locked.builds:
        yield from _build_lines(build)
    for layer in locked.layers:
        yield from ("", "[[platform.layer]]", f"name = {quote(layer.name)}", f"kind = {quote(layer.kind.value)}")
        yield from _array_lines("members", layer.members)
        if layer.diff_id is not None:
            yield f"diff_id = {quote(str(layer.diff_id))}"
        if layer.yields:
            yield from _array_lines("yields", layer.yields)


def _file_lines(file: LockedWheel | LockedBuild) -> Iterator[str]:
    yield from (f"name = {quote(file.name)}", f"version = {quote(file.version)}", f"file = {quote(file.file)}")
    yield from (f"size = {file.size}", f"sha256 = {quote(file.sha256.hex)}")


def _build_lines(build: LockedBuild) -> Iterator[str]:
    yield from ("", "[[platform.build]]", *_file_lines(build), f"kind = {quote(build.kind.value)}")
    if build.commit is not None:
        yield f"commit = {quote(build.commit)}"
    yield f"recipe = {build.recipe}"
    for tool in build.tools:
        yield from ("", "[[platform.build.tool]]", *_file_lines(tool))


def _record_lines(record: LockedRecord) -> Iterator[str]:
    yield from ("", "[[platform.record]]", f"name = {quote(record.name)}", f"version = {quote(record.version)}")
    yield from (f"build = {quote(record.build)}", f"subdir = {quote(record.subdir)}", f"channel = {quote(record.channel)}")
    yield from (f"file = {quote(record.file)}", f"size = {record.size}", f"sha256 = {quote(record.sha256.hex)}")
    if record.noarch_python:
        yield "noarch_python = true"
    if record.provides is not None:
        yield f"provides = [{', '.join(map(quote, record.provides))}]"
    if record.requires:
        yield f"requires = [{', '.join(map(quote, record.requires))}]"
    if record.requested:
        yield "requested = true"


def _interpreter_items(interpreter: LockedInterpreter) -> Iterator[str]:
    yield f"source = {quote(interpreter.source)}"
    yield f"version = {quote(interpreter.version)}"
    yield f"path = {quote(interpreter.path)}"
    if interpreter.archive is not None:
        yield f"file = {quote(interpreter.archive.file)}"
        yield f"size = {interpreter.archive.size}"
        yield f"sha256 = {quote(interpreter.archive.sha256.hex)}"


def _array_lines(key: str, values: Iterable[str]) -> Iterator[str]:
    """One value on the key's own line, more of them one a line: so a bump is one line of a diff."""
    quoted = [quote(value) for value in values]
    if len(quoted) < 2:
        yield f"{key} = [{''.join(quoted)}]"
        return
    yield f"{key} = ["
    yield from (f"  {value}," for value in quoted)
    yield "]"


def quote(text: str) -> str:
    """A string of TOML; what would need an escape is a `LockError`."""
    if not text.isprintable() or '"' in text or "\\" in text:
        raise LockError(f"this cannot be locked: {text[:80]!r}")
    return f'"{text}"'
