"""Text of strangers, made fit to be looked at: names, command lines and logs may hold anything.

Escaping for HTML is the templates' work. Here goes what a browser would not show, or would show otherwise than it is: control
characters, halves of surrogate pairs, and marks that turn the direction of writing around.
"""

from __future__ import annotations

import re

_TURNS = (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CONTROLS = (*(number for number in range(32) if chr(number) not in "\n\t"), *range(0x7F, 0xA0))
_SHOWN = {number: f"\\x{number:02x}" for number in _CONTROLS} | {number: f"\\u{number:04x}" for number in _TURNS}
# Control sequences as ECMA-48 has them: CSI …, strings such as a title or a link, and the short ones.
_ESCAPES = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)|\x1b[ -/]*[0-Z\\^-~]")


def make_visible(text: str) -> str:
    """The text with its codes in place of what has no sign."""
    if text.isprintable():
        return text
    return text.encode("utf-8", "backslashreplace").decode().translate(_SHOWN)


def render_terminal_text(data: bytes) -> str:
    """What a terminal would have shown, without colours: of a line that was written over, what was written last."""
    text = _ESCAPES.sub("", data.decode("utf-8", "replace")).replace("\r\n", "\n")
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return make_visible(text)
