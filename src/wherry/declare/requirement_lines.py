"""Bytes of a requirements file to logical lines, by pip's rules; nothing here knows what a requirement is.

Rules (pip's documentation, "Requirements File Format"): a byte order mark or a ``coding:`` comment names the encoding,
else it is UTF-8; a backslash at the end joins lines; a comment is ``#`` at the start or after white space; ``${NAME}``
with upper-case letters, digits and underscores is replaced from the environment where it is set.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping

from wherry.errors import DeclarationError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark begins alike
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_COMMENT = re.compile(r"(^|\s+)#.*$")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_SAVE_AS = "save the file as UTF-8"


def decode_requirements(data: bytes, where: str) -> str:
    """The text of a requirements file; a `DeclarationError` when it is not in the encoding that it claims."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decode(data[len(mark) :], encoding, where)
    for line in data.split(b"\n", 2)[:2]:
        if claim := _CODING.match(line):
            return _decode(data, claim.group(1).decode("ascii", "replace"), where)
    return _decode(data, "utf-8", where)


def _decode(data: bytes, encoding: str, where: str) -> str:
    try:
        text = data.decode(encoding)
    except LookupError as error:
        raise DeclarationError(f"unknown encoding {encoding[:40]!r}", where=where, hint=_SAVE_AS) from error
    except ValueError as error:
        raise DeclarationError(f"not {encoding[:40]} text", where=where, hint=_SAVE_AS) from error
    if "\0" in text:
        raise DeclarationError("not a text file", where=where, hint=_SAVE_AS)
    return text


def logical_lines(text: str, env: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Joined lines without comments and white space around, each with the number of its first physical line."""
    for number, line in _joined(text):
        line = _COMMENT.sub("", line).strip()
        if line:
            yield number, _VARIABLE.sub(lambda found: env.get(found.group(1)) or found.group(0), line)


def _joined(text: str) -> Iterator[tuple[int, str]]:
    pending: list[str] = []
    first = 0
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        comment = _COMMENT.match(line) is not None
        if not pending:
            first = number
        if line.endswith("\\") and not comment:
            pending.append(line[:-1])
            continue
        pending.append(" " + line if comment else line)  # a comment ends a continuation, as it does for pip
        yield first, "".join(pending)
        pending = []
    if pending:
        yield first, "".join(pending)
