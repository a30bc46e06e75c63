"""Addresses of conda's channels and packages as other tools' files have them: taken apart, named, without credentials.

A package lies at ``CHANNEL/SUBDIR/NAME-VERSION-BUILD.conda`` (or ``.tar.bz2``). A channel on one of the usual hosts goes by
its name, any other by its address; tokens (``/t/TOKEN/``), logins and queries never come out of here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from wherry.errors import FormatError
from wherry.formats.urls import strip_channel_credentials

ARCHIVES = (".conda", ".tar.bz2")
# The last one is what wherry's own prefixes say of a channel whose address is nobody's business (docs/spec/layers.md).
_USUAL = re.compile(r"https?://(?:conda\.anaconda\.org|repo\.anaconda\.com|channel\.invalid)/(?P<name>.+)")
_SUBDIR = re.compile(r"noarch|[a-z]+-[a-z0-9_]+")
_FILE = re.compile(r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)-(?P<version>[^-/\s]+)-(?P<build>[^-/\s]+)\.(?:conda|tar\.bz2)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordAddress:
    channel: str
    subdir: str
    file: str
    name: str
    version: str
    build: str


def name_channel(address: str) -> str:
    """``conda-forge`` for its usual address; another one as it is, without credentials and without a slash at its end."""
    if "://" not in address:
        return address.strip("/") if not address.startswith(("/", ".")) else address.rstrip("/")
    plain = strip_channel_credentials(address).rstrip("/")
    usual = _USUAL.fullmatch(plain)
    return usual["name"] if usual else plain


def split_record_address(address: str, where: str) -> RecordAddress:
    """Take a package's address apart. `where` names the place in the file for the `FormatError`."""
    plain = strip_channel_credentials(address) if "://" in address else address
    folder, _, file = plain.rpartition("/")
    channel, _, subdir = folder.rpartition("/")
    file = unquote(file)
    parts = _FILE.fullmatch(file)
    if parts is None or not _SUBDIR.fullmatch(subdir) or not channel:
        hint = "https://HOST/CHANNEL/SUBDIR/NAME-VERSION-BUILD.conda"
        raise FormatError(f"not the address of a conda package: {plain[:120]}", where=where, hint=hint)
    return RecordAddress(
        channel=name_channel(channel),
        subdir=subdir,
        file=file,
        name=parts["name"].lower(),
        version=parts["version"],
        build=parts["build"],
    )
