"""What another tool's lock of conda packages says: pixi.lock, conda-lock.yml, ``@EXPLICIT``. One form for all of them.

Rules: a channel is its name where the address is that of the usual host, else its address without login, token, query and
subdir; no text here holds a credential. What a file does not say is None (sizes in conda-lock.yml, digests in old lists).
"""

from __future__ import annotations

from dataclasses import dataclass

from wherry.errors import LockError
from wherry.model.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRecord:
    """A conda package of one subdir of its channel, ``noarch`` included. `file` is the archive's own name.

    `depends` are match specs as the file has them. `requested`: named by the author, as far as the file tells.
    """

    name: str
    version: str
    build: str
    channel: str
    subdir: str
    file: str
    size: int | None = None
    sha256: Digest | None = None
    md5: str | None = None  # 32 hex digits
    noarch_python: bool | None = None
    requested: bool = False
    depends: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignWheel:
    """A distribution from pip's world. `file` is a wheel's or an sdist's name, empty for a folder or a repository.

    `url` is where the lock says it lies, without login, or a path relative to the lock; `name` is normalised (PEP 503).
    `requires` are PEP 508 lines.
    """

    name: str
    version: str
    file: str
    url: str
    size: int | None = None
    sha256: Digest | None = None
    requires: tuple[str, ...] = ()
    editable: bool = False

    @property
    def is_wheel(self) -> bool:
        return self.file.endswith(".whl")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignPlatform:
    """`subdir` is conda's name of the platform, such as ``linux-aarch64``. Records and wheels are in the file's order."""

    subdir: str
    records: tuple[ForeignRecord, ...] = ()
    wheels: tuple[ForeignWheel, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignLock:
    """`channels` are in order of priority, as far as the file tells; `notes` say what was seen and not followed."""

    channels: tuple[str, ...] = ()
    platforms: tuple[ForeignPlatform, ...] = ()
    notes: tuple[str, ...] = ()

    def for_subdir(self, subdir: str, where: str) -> ForeignPlatform:
        """The platform of that name; a `LockError` that says which there are. `where` is the lock's file."""
        for platform in self.platforms:
            if platform.subdir == subdir:
                return platform
        have = ", ".join(platform.subdir for platform in self.platforms) or "none"
        raise LockError(f"no packages for {subdir}, only for {have}", where=where, hint=f"lock it for {subdir} as well")
