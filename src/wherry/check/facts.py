"""What a check knows of a layer, a folder or a wheel once it has read it: enough that nothing need be read again.

Facts are kept by the layer's diff_id in the cache, as JSON. They hold no contents but those of small documents that say
what an environment is. `FACTS_VERSION` changes whenever anything here, or what `scan` finds, does.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from wherry.formats.elf import ElfFile
from wherry.model.digest import DiffId
from wherry.store.posix import write_atomically

FACTS_VERSION = 8
Learned = TypeVar("Learned")
FILE, FOLDER, SYMLINK, HARDLINK, OTHER = "file", "folder", "symlink", "hardlink", "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name of a tree. `path` has no leading slash; `link` is a symlink's target, or the path of a hard link's file."""

    path: str
    kind: str = FILE
    mode: int = 0o644
    size: int = 0
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a model file says of itself. `names` are what a pickle imports, ``module:name``; `complete` whether all were read.

    `sklearn` and `xgboost` are the versions of these that made it, `opsets` ONNX's by domain; `broken` says why it is not sound.
    """

    form: str
    names: tuple[str, ...] = ()
    sklearn: tuple[str, ...] = ()
    xgboost: tuple[str, ...] = ()
    complete: bool = True
    opsets: dict[str, int] = field(default_factory=dict)
    broken: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """`elves`, `texts` and the rest are by path. `broken` says why a file that claims to be ELF is none."""

    entries: tuple[Entry, ...] = ()
    elves: dict[str, ElfFile] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)  # small documents, as far as `scan` reads them
    tops: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of a RECORD: the first two parts of each path
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of dpkg's and conda's lists: the files that they name
    loads: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of Python files that use ctypes or cffi: literal names
    secrets: dict[str, tuple[str, ...]] = field(default_factory=dict)  # kinds of what a project's own file holds
    models: dict[str, ModelFacts] = field(default_factory=dict)
    own_tests: tuple[str, ...] = ()  # folders of tests that are imported whenever their package is
    optional: tuple[str, ...] = ()  # compiled modules that their own package can do without
    linker_cache: tuple[tuple[str, str], ...] | None = None  # names with their paths; None where there is none


class LayerCache(Generic[Learned]):
    """What was learned of layers, by diff_id, in a folder of the cache; what cannot be read there is made again."""

    def __init__(self, cache: Path, kind: str, form: type[Learned]) -> None:
        self._folder = cache / "check" / kind
        self._form = form

    def find(self, diff_id: DiffId) -> Learned | None:
        try:
            return msgspec.json.decode((self._folder / diff_id.hex).read_bytes(), type=self._form)
        except (OSError, msgspec.MsgspecError):
            return None

    def keep(self, diff_id: DiffId, learned: Learned) -> None:
        """Best effort: on a full disk, or one that may only be read, it is learned again the next time."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._folder / diff_id.hex, [msgspec.json.encode(learned)])


def open_fact_cache(cache: Path) -> LayerCache[Facts]:
    """The facts that `scan` finds."""
    return LayerCache(cache, f"facts-{FACTS_VERSION}", Facts)
