"""URLs as text: what of one may be kept or shown, where it leads, who it says we are.

Rule: whatever is written or shown of a URL goes through one of the first five functions. Servers of conda's channels also
take a token as a part of the path, ``/t/TOKEN/``: it is a credential, and only the two functions that say so know it, because
in a Debian archive ``/t/tzdata/`` is just a folder.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

Origin = tuple[str, str, int | None]

_LOGIN = re.compile(r"(?<=//)[^/?#\s]*@")
_TOKEN = re.compile(r"(?<=[^/])/t/[^/?#\s]+(?=/|$)")
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>`]+")


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


def strip_channel_credentials(url: str) -> str:
    """The address of a channel, or of a file in one, without any credential: also without its token."""
    plain = strip_credentials(url)
    return plain if plain.startswith("file:") else _TOKEN.sub("", plain)


def scrub_text(text: str) -> str:
    """Text of somebody else's, in which any URL may be a channel's: all of them without credentials."""
    return _IN_TEXT.sub(lambda found: strip_channel_credentials(found[0]), text)


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
