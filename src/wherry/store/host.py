"""This machine, as far as images care."""

from __future__ import annotations

import platform

from wherry.model.platform import Platform


def read_host_platform() -> Platform:
    """This machine's platform. Containers are Linux's, whatever the host is."""
    return Platform.parse(platform.machine().lower())
