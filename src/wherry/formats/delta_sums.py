"""Two sums over the base files that a delta uses: enough to say which one was altered, in 16 bytes for any number of files.

With h(i) a number from the i-th file's content, S0 is the sum of all h(i) and S1 that of i·h(i), modulo a prime. When just
one file differs, its number is the quotient of the two sums' differences (docs/spec/delta.md, "Sums"). They are looked at
only when a delta fails: the target's diff_id is what proves that all went well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

PRIME = (1 << 61) - 1


def file_number(digest: bytes, mode: int | None) -> int:
    """h of a file with this sha256; `mode` counts where a derived layer takes it from the base, as far as all engines keep it."""
    told = b"" if mode is None else (mode & 0o777 | 0o400).to_bytes(2, "little")
    return int.from_bytes(hashlib.sha256(digest + told).digest()[:8], "little") % PRIME


def sum_files(numbers: Sequence[int]) -> tuple[int, int]:
    first = sum(numbers) % PRIME
    second = sum(place * number for place, number in enumerate(numbers, 1)) % PRIME
    return first, second


def find_altered(numbers: Sequence[int], expected: tuple[int, int]) -> int | None:
    """Which file is not what it was: its place from 0; -1 when more than one differs, None when none does."""
    found = sum_files(numbers)
    first, second = (found[0] - expected[0]) % PRIME, (found[1] - expected[1]) % PRIME
    if not first:
        return -1 if second else None
    place = second * pow(first, -1, PRIME) % PRIME
    return place - 1 if 1 <= place <= len(numbers) else -1
