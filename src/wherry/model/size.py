"""Sizes as people read them."""

from __future__ import annotations


def format_size(size: float) -> str:
    """Bytes as a person reads them: 1 kB is 1,000 bytes, as registries and tariffs count."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError
