"""Text of strangers, fit to be printed: names in an image, labels and answers of servers may hold anything."""

from __future__ import annotations


def make_visible(text: str) -> str:
    """The text on one line, with codes (``\\n``, ``\\x1b``, ``\\u202e``) for what has no sign or would steer a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
