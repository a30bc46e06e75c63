"""Bytecode is made by a given interpreter, is valid without time stamps, and does not depend on where it was made."""

from __future__ import annotations

import importlib.util
import marshal
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from wherry.assemble.bytecode import HostInterpreter, compile_sources, find_interpreter, resolve_in_root
from wherry.assemble.spool import Spool
from wherry.errors import FormatError, StoreError
from wherry.formats.tar import TarEntry, file_entry

THIS = HostInterpreter(command=(sys.executable,), version="x", tag=sys.implementation.cache_tag or "")


def compile_all(folder: Path, sources: list[TarEntry]) -> dict[str, bytes]:
    with Spool(folder) as spool:
        return {entry.path: b"".join(entry.content()) for entry in compile_sources(sources, THIS, spool)}  # type: ignore[operator]


def test_bytecode_is_an_unchecked_hash_pyc_that_names_the_file_in_the_image(tmp_path: Path) -> None:
    source = b"def f():\n    return 41 + 1\n"
    compiled = compile_all(tmp_path, [file_entry("opt/env/pkg/a.py", source)])
    ((path, data),) = compiled.items()
    assert path == f"opt/env/pkg/__pycache__/a.{THIS.tag}.pyc"
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert int.from_bytes(data[4:8], "little") == 0b01  # hash-based, not checked
    assert data[8:16] == importlib.util.source_hash(source)
    code = marshal.loads(data[16:])
    assert code.co_filename == "/opt/env/pkg/a.py"
    namespace: dict[str, object] = {}
    exec(code, namespace)
    assert namespace["f"]() == 42  # type: ignore[operator]


def test_a_source_that_does_not_compile_gets_none(tmp_path: Path) -> None:
    sources = [file_entry("a/bad.py", b"print 'two'\n"), file_entry("a/nul.py", b"\0"), file_entry("a/good.py", b"")]
    assert list(compile_all(tmp_path, sources)) == [f"a/__pycache__/good.{THIS.tag}.pyc"]


def test_a_name_that_no_file_system_takes_is_not_made(tmp_path: Path) -> None:
    fits = 255 - len(f".{THIS.tag}.pyc")
    sources = [file_entry(f"a/{'n' * length}.py", b"") for length in (fits, fits + 1)]
    assert list(compile_all(tmp_path, sources)) == [f"a/__pycache__/{'n' * fits}.{THIS.tag}.pyc"]


def test_nothing_of_the_source_runs(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    compile_all(tmp_path, [file_entry("a/evil.py", f"open({str(witness)!r}, 'w')\n".encode())])
    assert not witness.exists()


def test_the_environment_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [file_entry(f"a/m{number}.py", b"X = {'a', 'b', 'c'}\nY = frozenset('xyz')\n" * 3) for number in range(5)]
    first = compile_all(tmp_path, sources)
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.chdir(tmp_path)
    assert compile_all(tmp_path, sources) == first


def test_a_python_that_dies_is_an_error(tmp_path: Path) -> None:
    dead = HostInterpreter(command=("/bin/false",), version="x", tag="t")
    with Spool(tmp_path) as spool, pytest.raises(StoreError, match="died"):
        list(compile_sources([file_entry("a.py", b"")], dead, spool))


def test_ctrl_c_does_not_reach_it(tmp_path: Path) -> None:
    """It is ours to end it; by itself it would say a traceback."""
    asks = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpgid(0))); os.execv(sys.executable, ['p', *sys.argv[2:]])"
    command = (sys.executable, "-c", asks, str(tmp_path / "group"))
    with Spool(tmp_path) as spool:
        list(compile_sources([file_entry("a.py", b"")], replace(THIS, command=command), spool))
    assert int((tmp_path / "group").read_text()) != os.getpgid(0)


def test_links_are_resolved_within_the_root(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "bin").symlink_to("/usr/bin")
    (tmp_path / "usr/bin/python3").symlink_to("../../../../../etc/passwd")
    assert resolve_in_root(tmp_path, "/bin") == tmp_path / "usr/bin"
    assert resolve_in_root(tmp_path, "/bin/python3") == tmp_path / "etc/passwd"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FormatError, match="never end"):
        resolve_in_root(tmp_path, "/loop")


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(100)])
def test_an_interpreter_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    program = tmp_path / "python"
    program.write_bytes(content)
    program.chmod(0o755)
    with pytest.raises(StoreError):
        find_interpreter(tmp_path, "/python", "3.11.2")
