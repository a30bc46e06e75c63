"""What stands below a command's help: examples, as lines that nobody wraps."""

from __future__ import annotations


def render_examples(*rows: tuple[str, str], before: str = "") -> str:
    """`rows` are command lines with what each is for (may be empty); `before` is a paragraph above them."""
    width = max(len(command) for command, meant in rows if meant) if any(meant for _, meant in rows) else 0
    lines = [f"{command:<{width}}  # {meant}" if meant else command for command, meant in rows]
    # A lone \b tells the help's formatter to leave a paragraph as it is.
    return "\n".join([*([before, ""] if before else []), "\b", "Examples:", *(f"  {line}" for line in lines)])
