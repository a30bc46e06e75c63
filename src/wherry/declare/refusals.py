"""Lines that wherry cannot take, gathered: the author sees all of them at once, each with a way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wherry.errors import DeclarationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """`subject` is a name or a redacted line, `reason` says why not, `remedy` what to write instead."""

    where: str
    subject: str
    reason: str
    remedy: str


def refuse(refusals: Sequence[Refusal]) -> None:
    """Raise one `DeclarationError` for all `refusals`; nothing happens when there are none."""
    if not refusals:
        return
    if len(refusals) == 1:
        only = refusals[0]
        raise DeclarationError(f"{only.subject}: {only.reason}", where=only.where, hint=only.remedy)
    lines = [f"{len(refusals)} lines cannot be taken"]
    for refusal in refusals:
        lines.append(f"  {refusal.where}: {refusal.subject}: {refusal.reason}")
        lines.append(f"    try: {refusal.remedy}")
    raise DeclarationError("\n".join(lines))
