"""Whose terms an image's packages come under, as far as their channel tells: Anaconda's own channels are not free for everybody."""

from __future__ import annotations

from collections.abc import Iterable

_ANACONDA = frozenset(
    {"defaults", "anaconda", "main", "r", "msys2", "pro", "pkgs/main", "pkgs/r", "pkgs/msys2", "pkgs/pro", "pkgs/free"}
)


def warn_of_terms(channels: Iterable[str]) -> str | None:
    """What whoever distributes an image with packages of these channels should know."""
    found = sorted(set(channels) & _ANACONDA)
    if not found:
        return None
    named = f"channel{'s' if len(found) > 1 else ''} {', '.join(found)}"
    return (
        f"the image has packages of Anaconda's {named}, whose terms of service ask larger organisations to pay and "
        "restrict mirroring: see that they allow you this, or take the packages from conda-forge"
    )
