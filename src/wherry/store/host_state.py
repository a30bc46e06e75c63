"""What Linux says of itself, as far as containers care: read from /proc and /sys below a `root`, which tests lay out themselves.

Nothing is changed, and a file that is not there is an answer like any other.
"""

from __future__ import annotations

import os
from pathlib import Path

from wherry.errors import StoreError
from wherry.model.host import Space

_CGROUPS = "sys/fs/cgroup"
_BINFMT = "proc/sys/fs/binfmt_misc"
_MAX = 1 << 16


def read_space(place: Path) -> Space:
    """The file system that a folder lies on, or would lie on."""
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        found = os.statvfs(place)
    except OSError as error:
        raise StoreError(error.strerror or str(error), where=str(place)) from error
    return Space(
        size=found.f_blocks * found.f_frsize,
        free=found.f_bavail * found.f_frsize,
        inodes=found.f_files or None,  # btrfs and others count none
        free_inodes=found.f_favail if found.f_files else None,
        writable=os.access(place, os.W_OK | os.X_OK),
    )


def read_cgroup_mode(root: Path) -> str:
    """``v2``, ``v1``, ``hybrid`` (both, as systemd mounts them), or empty where there are none (cgroups(7))."""
    folder = root / _CGROUPS
    if (folder / "cgroup.controllers").exists():
        return "v2"
    if not any((folder / name).is_dir() for name in ("memory", "cpu", "pids", "devices", "systemd")):
        return ""
    return "hybrid" if (folder / "unified/cgroup.controllers").exists() else "v1"


def read_namespace_limits(root: Path) -> tuple[str, ...]:
    """The settings that keep users from making user namespaces, as ``name=value`` (user_namespaces(7))."""
    kept = (
        ("user.max_user_namespaces", "0"),
        ("kernel.unprivileged_userns_clone", "0"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1"),
    )
    found = ((name, bad, _read(root / "proc/sys" / name.replace(".", "/"))) for name, bad in kept)
    return tuple(f"{name}={value}" for name, bad, value in found if value == bad)


def read_emulators(root: Path) -> frozenset[str]:
    """The architectures whose programs this kernel hands to qemu, as OCI calls them (binfmt_misc)."""
    names = {"aarch64": "arm64", "arm": "arm", "x86_64": "amd64", "i386": "386", "ppc64le": "ppc64le", "s390x": "s390x"}
    names["riscv64"] = "riscv64"
    found = ((architecture, _read(root / _BINFMT / f"qemu-{name}")) for name, architecture in names.items())
    return frozenset(architecture for architecture, text in found if text.startswith("enabled"))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX).decode("ascii", "replace").strip()
    except OSError:
        return ""
