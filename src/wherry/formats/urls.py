"""URLs as text: what of one may be kept or shown, where it leads, who it says we are.

Rule: whatever is written or shown of a URL goes through one of the first three functions.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

Origin = tuple[str, str, int | None]

_LOGIN = re.compile(r"(?<=//)[^/?#\s]*@")


def strip_login(url: str) -> str:
    """Without user name and password, otherwise as it is: what may be asked for, or go into a digest."""
    return _LOGIN.sub("", url)


def strip_credentials(url: str) -> str:
    """Without user, password, query and fragment (a query may hold a signature): what may be kept in the cache or shown."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(a malformed URL)"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def place(url: str) -> str:
    """Host and path alone, as they may be shown."""
    return strip_credentials(url).partition("://")[2]


def origin_of(url: str) -> Origin:
    """Scheme, host and port: what a login belongs to."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return (parts.scheme, (parts.hostname or "").lower(), port)


def same_origin(one: str, other: str) -> bool:
    return origin_of(one) == origin_of(other)


def login_in(url: str) -> tuple[str, str] | None:
    """User name and password that stand in a URL; None where there are none."""
    parts = urlsplit(url)
    if parts.username is None and parts.password is None:
        return None
    return (unquote(parts.username or ""), unquote(parts.password or ""))
