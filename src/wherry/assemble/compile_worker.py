"""Runs inside the image's own interpreter and turns sources into `.pyc` bytes; imports nothing of wherry.

Reads frames from stdin (4 bytes length, name, 4 bytes length, source), answers each with 4 bytes length and the
`.pyc`, or with length 0xFFFFFFFF where the source does not compile. One process per wheel: CPython's marshal output
can depend on what the process compiled before, so that a fresh process is part of the format (docs/spec/layers.md).
"""

import importlib.util
import struct
import sys
import warnings
from importlib import _bootstrap_external

FAILED = 0xFFFFFFFF


def compile_source(name: str, source: bytes) -> bytes:
    """`.pyc` bytes with the unchecked-hash flag (PEP 552): valid whatever the time stamps are."""
    loader = _bootstrap_external.SourceFileLoader("<wherry>", name)
    code = loader.source_to_code(source, name, _optimize=0)
    digest = importlib.util.source_hash(source)
    return bytes(_bootstrap_external._code_to_hash_pyc(code, digest, False))  # type: ignore[attr-defined]


def main() -> None:
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(5000)
    read, write = sys.stdin.buffer.read, sys.stdout.buffer.write
    while header := read(4):
        name = read(struct.unpack(">I", header)[0]).decode()
        source = read(struct.unpack(">I", read(4))[0])
        try:
            compiled = compile_source(name, source)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
            write(struct.pack(">I", FAILED))
        else:
            write(struct.pack(">I", len(compiled)))
            write(compiled)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
