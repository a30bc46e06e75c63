"""Conda's virtual packages: what a target is, as specs may ask for it. From the declaration and the base, never from this host.

The kernel and the processor belong to a device that nobody has seen: the kernel counts as the oldest that conda's own tools assume,
the processor as the plain one of its kind, so what is locked runs on every one.
"""

from __future__ import annotations

from wherry.model.platform import Platform

VirtualPackage = tuple[str, str, str]  # name, version, build

_KERNEL = "4.18"


def list_virtual_packages(platform: Platform, glibc: tuple[int, int], cuda: str | None) -> tuple[VirtualPackage, ...]:
    """`glibc` is the base's; `cuda` the version that the target's driver supports, as declared."""
    found = [
        ("__archspec", "1", platform.machine),
        ("__glibc", f"{glibc[0]}.{glibc[1]}", "0"),
        ("__linux", _KERNEL, "0"),
        ("__unix", "0", "0"),
    ]
    if cuda is not None:
        found.append(("__cuda", cuda, "0"))
    return tuple(sorted(found))
