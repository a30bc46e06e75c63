"""What Azure IoT Edge is told of one module: values between an image and a deployment manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

RUNTIME = "1.5"  # the tag of edgeAgent's and edgeHub's images; the release that Microsoft maintains
RESTARTS = ("always", "never", "on-failure", "on-unhealthy")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeModule:
    """A module. None stands for: leave what a manifest says already, else the usual.

    `create_options` is the body of docker's "create a container" request. `pulled` False: the image is on the device.
    """

    name: str
    image: str
    version: str = ""
    pulled: bool = True
    create_options: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    env: tuple[tuple[str, str], ...] = ()
    restart: str | None = None
    startup_order: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRoute:
    """A way for messages: ``FROM /messages/… INTO $upstream``."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLogin:
    """How devices log in to a registry: placeholders, or the thing itself."""

    name: str
    address: str
    username: str = field(repr=False)
    password: str = field(repr=False)
    secret: bool = False
