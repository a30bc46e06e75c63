"""Names of conda's channels and the addresses behind them: pure, over a configuration and the channels that were declared.

A channel has one name, which is what a lock keeps: what it is called in the declaration, and for one that is declared by an
address the last part of that (``https://host/t/TOKEN/team`` → ``team``; more of it where two would be called the same).
An address of conda's own public servers is a name like any other. Where a channel lies is decided by each machine anew: an
address that was declared, a mirror, a custom channel, the alias. A multichannel such as ``defaults`` is several channels.

Addresses may hold credentials; names never do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from wherry.formats.urls import strip_channel_credentials
from wherry.sources.conda_configuration import ALIAS, CondaConfiguration

_PUBLIC = (f"{ALIAS}/", "https://repo.anaconda.com/")
_ODD = re.compile(r"[^A-Za-z0-9._+-]+")  # what no solver would have in a channel's name
_SUBDIRS = ("noarch", "linux-", "osx-", "win-", "emscripten-", "wasi-", "freebsd-", "zos-")


class ChannelAddresses:
    """`declared` are channels as an author wrote them: names, addresses, or folders relative to `root`."""

    def __init__(self, configuration: CondaConfiguration, declared: Iterable[str] = (), root: Path = Path()) -> None:
        self._configuration = configuration
        self._root = root
        self._addresses: dict[str, str] = {}  # of the declared ones that are addresses, by name
        self._names: dict[str, str] = {}
        channels = tuple(declared)
        addresses = dict.fromkeys(self._as_address(channel) for channel in channels if _is_address(channel))
        taken = {channel.strip("/") for channel in channels if not _is_address(channel)}
        taken |= {name for address in addresses if (name := _public_name(address)) is not None}
        for address in addresses:
            if _public_name(address) is None:
                name = _choose_name(address, {*taken, *self._addresses})
                self._addresses[name] = address
                self._names[strip_channel_credentials(address)] = name

    def name_of(self, channel: str) -> str:
        """The one name of a channel given by name or address."""
        if not _is_address(channel):
            return channel.strip("/")
        address = self._as_address(channel)
        known = _public_name(address) or self._names.get(strip_channel_credentials(address))
        return known if known is not None else _choose_name(address, {})

    def expand(self, channel: str) -> tuple[str, ...]:
        """The names of the channels that one name or address stands for: several for a multichannel."""
        name = self.name_of(channel)
        if name in self._addresses:
            return (name,)
        members = self._configuration.multichannels.get(name, ())
        if not members and name == "defaults":
            members = self._configuration.default_channels
        return tuple(dict.fromkeys(self.name_of(member) for member in members)) or (name,)

    def addresses_of(self, channel: str) -> tuple[str, ...]:
        """Where a single channel may lie, the first one first, without a slash at the end."""
        name = self.name_of(channel)
        here = self._addresses.get(name) or self._member_address(name) or self._configured_address(name)
        mirrors = self._configuration.mirrors
        found = mirrors.get(name) or mirrors.get(strip_channel_credentials(here)) or (here,)
        return tuple(self._as_address(address) for address in found)

    def hosts(self, channels: Iterable[str]) -> tuple[str, ...]:
        """The hosts of channels, and of all that the configuration knows an address of."""
        configuration = self._configuration
        known = [configuration.alias, *configuration.custom_channels.values(), *configuration.default_channels]
        known += [address for addresses in configuration.mirrors.values() for address in addresses]
        known += [address for channel in channels for name in self.expand(channel) for address in self.addresses_of(name)]
        return tuple(dict.fromkeys(host for address in known if (host := urlsplit(address).hostname)))

    def _member_address(self, name: str) -> str | None:
        """A member of a multichannel may be given by an address."""
        configuration = self._configuration
        groups = (configuration.default_channels, configuration.channels, *configuration.multichannels.values())
        for member in (member for group in groups for member in group if _is_address(member)):
            if self.name_of(member) == name and _public_name(member) is None:
                return self._as_address(member)
        return None

    def _configured_address(self, name: str) -> str:
        parts = name.split("/")
        for length in range(len(parts), 0, -1):
            below = self._configuration.custom_channels.get("/".join(parts[:length]))
            if below is not None:
                return f"{below.rstrip('/')}/{name}"
        return f"{self._configuration.alias}/{name}"

    def _as_address(self, channel: str) -> str:
        """An address without subdir and slash at its end; a folder becomes a `file://` one."""
        if "://" not in channel:
            folder = Path(channel).expanduser() if channel.startswith("~") else self._root / channel
            channel = folder.absolute().as_uri()
        head, _, last = channel.rstrip("/").rpartition("/")
        return head if last.startswith(_SUBDIRS) and not head.endswith(":/") else f"{head}/{last}"


def _is_address(channel: str) -> bool:
    return "://" in channel or channel.startswith(("/", "./", "../", "~"))


def _public_name(address: str) -> str | None:
    plain = strip_channel_credentials(address)
    for server in _PUBLIC:
        if plain.startswith(server) and len(plain) > len(server):
            return plain.removeprefix(server).strip("/")
    return None


def _choose_name(address: str, taken: Iterable[str]) -> str:
    """The shortest end of the path that is not taken; with the host before it, if nothing else tells two apart."""
    parts = urlsplit(strip_channel_credentials(address))
    words = [_ODD.sub("-", part) for part in unquote(parts.path).split("/") if part]
    for length in range(1, len(words) + 1):
        name = "/".join(words[-length:])
        if name not in taken:
            return name
    return "/".join([_ODD.sub("-", parts.netloc) or "local", *words])
