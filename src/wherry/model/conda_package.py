"""A conda package as its archive says it is, once that has been read to its end and found sound."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedPath:
    """One path below the prefix, or below ``site-packages`` and ``python-scripts`` of a noarch Python package.

    A file has its sha256 as it lies in the archive; a link has its target and no digest; a folder has neither. A
    `placeholder` in it becomes the prefix when it is laid out: as text, or between NULs in a `binary` one.
    """

    path: str
    size: int = 0
    sha256: str | None = None
    link: str | None = None
    executable: bool = False
    placeholder: str = ""
    binary: bool = False
    no_link: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkScript:
    """A script that conda would run when the package is installed or removed: `kind` is ``post-link`` or the like."""

    kind: str
    path: str
    text: str  # its beginning

    @property
    def commands(self) -> tuple[str, ...]:
        """The lines of it that do something, as they stand there: what its author means to happen."""
        lines = (line.strip() for line in self.text.splitlines())
        noise = ("#", "::", "rem ", "@echo", "set -", "exit 0")
        return tuple(line for line in lines if line and not line.lower().startswith(noise))


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageScripts:
    """What would run of a package beside the programs in it. `activation` are the scripts that `conda activate` would source."""

    scripts: tuple[LinkScript, ...] = ()
    activation: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaPackage:
    """`noarch` is ``python``, ``generic`` or empty; `scripts` and `activation` as in `PackageScripts`."""

    name: str
    version: str
    build: str
    subdir: str  # empty for some of the oldest
    noarch: str
    depends: tuple[str, ...]
    paths: tuple[PackagedPath, ...]  # sorted
    entry_points: tuple[str, ...]  # ``NAME = MODULE:FUNCTION``
    scripts: tuple[LinkScript, ...]
    activation: tuple[str, ...]
