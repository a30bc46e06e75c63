"""What an image's bytes are: by layer, by what brought them, and how many of them nothing needs.

`content` counts the bytes of files as they lie on a disk; `stored` what the layers' blobs weigh, which is what a pull moves.
Only whole layers have a stored size. What stands for a part of one is its share in proportion to content: an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from wherry.model.digest import DiffId


class OwnerKind(Enum):
    """What kind of thing brought files."""

    WHEEL = "wheel"
    RECORD = "record"
    DEBIAN = "debian"
    PYTHON = "python"  # the interpreter and its own library
    MODEL = "model"
    CODE = "code"  # the project's own files
    SYSTEM = "system"  # what no list of a package manager names
    HIDDEN = "hidden"  # replaced or removed by a higher layer, and moved all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSize:
    """`kind` is that of the layer's name in docs/spec/layers.md."""

    name: str
    kind: str
    diff_id: DiffId
    stored: int
    content: int
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerSize:
    """`name` is ``name version`` for packages; `within` what it is told under, such as the requirement that asked for it.

    `also` are other requirements that need it: it goes when all of them do.
    """

    name: str
    kind: OwnerKind
    within: str
    files: int
    content: int
    stored: int
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPart:
    """What of one owner could go."""

    owner: str
    files: int
    content: int
    stored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What could go, of one kind; `parts` are the largest first."""

    kind: str
    parts: tuple[SavedPart, ...]

    @property
    def files(self) -> int:
        return sum(part.files for part in self.parts)

    @property
    def content(self) -> int:
        return sum(part.content for part in self.parts)

    @property
    def stored(self) -> int:
        return sum(part.stored for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """`layers` lie lowest first, and there are none for a folder, of which nothing is stored; `owners` are the largest first."""

    layers: tuple[LayerSize, ...]
    owners: tuple[OwnerSize, ...]
    savings: tuple[Saving, ...]

    @property
    def stored(self) -> int:
        return sum(layer.stored for layer in self.layers)

    @property
    def content(self) -> int:
        """Also of what higher layers hide."""
        return sum(owner.content for owner in self.owners)

    def weigh(self, part: OwnerSize | Saving | LayerSize) -> int:
        """A part as it counts: stored, or where nothing is stored, on disk."""
        return part.stored if self.layers else part.content

    @property
    def weight(self) -> int:
        """The whole as it counts."""
        return self.stored if self.layers else self.content
