"""One name for a platform: OCI's os/architecture/variant. Debian's, conda's and uv's names derive from it."""

from __future__ import annotations

from dataclasses import dataclass

from wherry.errors import DeclarationError

_DEBIAN = {
    "amd64": "amd64",
    "arm64": "arm64",
    "arm": "armhf",
    "386": "i386",
    "ppc64le": "ppc64el",
    "s390x": "s390x",
    "riscv64": "riscv64",
}
_MACHINE = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    "arm": "armv7l",
    "386": "i686",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}
_SUBDIR = {
    "amd64": "linux-64",
    "arm64": "linux-aarch64",
    "arm": "linux-armv7l",
    "386": "linux-32",
    "ppc64le": "linux-ppc64le",
    "s390x": "linux-s390x",
    "riscv64": "linux-riscv64",
}
_ARM = ("v7", "v8")


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """``linux/amd64``, ``linux/arm64``, ``linux/arm/v7`` …"""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str, where: str | None = None) -> Platform:
        """Read ``os/architecture[/variant]``; also the machine names x86_64 and aarch64 alone."""
        alone = {"x86_64": "linux/amd64", "amd64": "linux/amd64", "aarch64": "linux/arm64", "arm64": "linux/arm64"}
        parts = alone.get(text, text).split("/")
        if len(parts) not in (2, 3) or not all(parts) or parts[0] != "linux" or parts[1] not in _DEBIAN:
            raise DeclarationError(f"unknown platform {text!r}", where=where, hint="linux/amd64, linux/arm64")
        variant = parts[2] if len(parts) == 3 else ""
        if parts[1] == "arm64" and variant == "v8":
            variant = ""  # OCI: v8 is what arm64 means
        if parts[1] == "arm":
            variant = variant or "v7"
            if variant not in _ARM:
                raise DeclarationError(
                    f"{text}: neither Debian's armhf nor the wheels for arm run on less than v7", where=where, hint="linux/arm/v7"
                )
        return cls(parts[0], parts[1], variant)

    @classmethod
    def of_subdir(cls, subdir: str) -> Platform | None:
        """The platform that conda calls so; None for those of other systems and for ``noarch``."""
        for architecture, name in _SUBDIR.items():
            if name == subdir:
                return cls.parse(f"linux/{architecture}")
        return None

    @property
    def subdir(self) -> str:
        """Conda's name, such as ``linux-64`` or ``linux-aarch64``."""
        return _SUBDIR[self.architecture]

    @property
    def debian(self) -> str:
        """Debian's architecture name, such as ``arm64`` or ``armhf``."""
        return _DEBIAN[self.architecture]

    @property
    def machine(self) -> str:
        """The kernel's machine name as wheel tags use it, such as ``x86_64``."""
        return _MACHINE[self.architecture]

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
