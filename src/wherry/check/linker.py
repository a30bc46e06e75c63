"""What the dynamic linker would do: which files a library brings in, and what it would not find.

Follows glibc's ld.so (ld.so(8), and `_dl_map_object` where that is silent). For each needed name, in this order: what is
loaded already under that name; RPATH of the file that asks, of the file that loaded it, and so on up to the program, unless
the asking file has a RUNPATH; LD_LIBRARY_PATH; the asking file's RUNPATH, which is not inherited; ld.so.cache; the system's
folders. A file of another machine or class is passed over in the search, and remembered. musl's linker knows no cache, has
other folders, and inherits RUNPATH too.

Nothing is run. Not modelled: hwcap folders, LD_PRELOAD, audit libraries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from wherry.check.tree import Tree
from wherry.formats.elf import ElfFile

_TRIPLETS = {
    "amd64": "x86_64-linux-gnu",
    "arm64": "aarch64-linux-gnu",
    "arm": "arm-linux-gnueabihf",
    "386": "i386-linux-gnu",
    "ppc64le": "powerpc64le-linux-gnu",
    "s390x": "s390x-linux-gnu",
    "riscv64": "riscv64-linux-gnu",
}
_MUSL_FOLDERS = ("lib", "usr/local/lib", "usr/lib")
MISSING, ARCHITECTURE, VERSION = "missing", "architecture", "version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What would go wrong: `library` is asked for by the file `by`.

    `detail` is the architecture of the only file of that name that there is, or the symbol version that `provider` lacks.
    """

    kind: str
    library: str
    by: str
    detail: str = ""
    provider: str = ""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A file in a process. `opened` is the path by which the linker found it, of which $ORIGIN is the folder."""

    path: str
    opened: str
    elf: ElfFile
    loader: _Loaded | None


@dataclass(slots=True)
class _Process:
    """What is loaded, by resolved path and by every name that it answers to."""

    files: dict[str, _Loaded] = field(default_factory=dict)
    names: dict[str, _Loaded] = field(default_factory=dict)

    def add(self, loaded: _Loaded, name: str = "") -> None:
        self.files.setdefault(loaded.path, loaded)
        for each in (name, loaded.elf.soname or loaded.opened.rpartition("/")[2]):
            if each:
                self.names.setdefault(each, loaded)


class Linker:
    """A linker in a tree, for processes of the program `program` (a path; None: nothing is loaded at first)."""

    def __init__(self, tree: Tree, program: str | None, library_path: Sequence[str] = ()) -> None:
        self._tree = tree
        self._library_path = tuple(library_path)
        self._cache = tree.linker_cache() or {}
        self._start = _Process()
        self._main: _Loaded | None = None
        self._system: tuple[str, ...] = ()
        found = tree.resolve(program) if program else None
        elf = tree.find_elf(found) if found else None
        self.is_musl = bool(elf and "musl" in (elf.interpreter or ""))
        self.architecture = elf.architecture if elf else ""
        if found and elf:
            self._system = self._list_system_folders(elf)
            self._main = _Loaded(found, found, elf, None)
            self._start.add(self._main)
            self.program_problems = tuple(self._load_all(self._start, [self._main]))
        else:
            self.program_problems = ()

    def load(self, path: str) -> tuple[Problem, ...]:
        """What would go wrong if a process of the program opened the file `path`."""
        return self.trace(path)[0]

    def trace(self, path: str) -> tuple[tuple[Problem, ...], frozenset[str]]:
        """The same, and the files that would be loaded for it, itself included."""
        found = self._tree.resolve(path)
        elf = self._tree.find_elf(found) if found else None
        if found is None or elf is None:
            return (), frozenset()
        if not self._system:
            self._system = self._list_system_folders(elf)
        process = _Process(dict(self._start.files), dict(self._start.names))
        root = process.files.get(found) or _Loaded(found, path, elf, self._main)
        process.add(root)
        problems = tuple(self._load_all(process, [root]))
        return problems, frozenset(process.files.keys() - self._start.files.keys()) | {found}

    def find_provider(self, library: str) -> ElfFile | None:
        """The file of that name that the program itself runs with, such as its libc."""
        loaded = self._start.names.get(library)
        return loaded.elf if loaded else None

    def _load_all(self, process: _Process, queue: list[_Loaded]) -> Iterator[Problem]:
        for loaded in queue:  # it grows: breadth first, as the linker does
            for name in loaded.elf.needed:
                if name in process.names:
                    continue
                found, other = self._search(process, name, loaded)
                if found is None:
                    kind = ARCHITECTURE if other else MISSING
                    yield Problem(kind=kind, library=name, by=loaded.path, detail=other)
                    continue
                process.add(found, name)
                if process.files[found.path] is found:
                    queue.append(found)
        for loaded in queue:
            yield from _check_versions(process, loaded)

    def _search(self, process: _Process, name: str, asking: _Loaded) -> tuple[_Loaded | None, str]:
        other = ""
        for opened in self._candidates(name, asking):
            path = self._tree.resolve(opened)
            if path is None:
                continue
            if path in process.files:
                return process.files[path], ""
            elf = self._tree.find_elf(path)
            if elf is None:
                continue
            if (elf.architecture, elf.bits) == (asking.elf.architecture, asking.elf.bits):
                return _Loaded(path, opened, elf, asking), ""
            other = other or elf.architecture
        return None, other

    def _candidates(self, name: str, asking: _Loaded) -> Iterator[str]:
        if "/" in name:
            yield _expand(name, asking)
            return
        for folder in self._list_folders(asking):
            yield f"{folder}/{name}"
        yield from self._cache.get(name, ())
        for folder in self._system:
            yield f"{folder}/{name}"

    def _list_folders(self, asking: _Loaded) -> Iterator[str]:
        if asking.elf.runpath is None or self.is_musl:
            above: _Loaded | None = asking
            while above:
                yield from _split(above.elf.rpath if not self.is_musl else above.elf.runpath or above.elf.rpath, above)
                above = above.loader
        yield from (folder.strip("/") for folder in self._library_path if folder)
        yield from _split(asking.elf.runpath, asking)

    def _list_system_folders(self, elf: ElfFile) -> tuple[str, ...]:
        if self.is_musl:
            text = self._tree.read_text(f"etc/ld-musl-{_musl_machine(elf)}.path")
            folders = text.replace("\n", ":").split(":") if text else _MUSL_FOLDERS
            return tuple(folder.strip("/ ") for folder in folders if folder)
        triplet = _TRIPLETS.get(elf.architecture)
        debian = (f"lib/{triplet}", f"usr/lib/{triplet}") if triplet else ()
        return (*debian, *(("lib64", "usr/lib64") if elf.bits == 64 else ()), "lib", "usr/lib")


def _check_versions(process: _Process, loaded: _Loaded) -> Iterator[Problem]:
    """A library that defines no versions at all is taken as it is, as the linker does."""
    for need in loaded.elf.needs:
        provider = process.names.get(need.library)
        if provider and provider.elf.defines:
            for version in need.versions:
                if version not in provider.elf.defines:
                    yield Problem(kind=VERSION, library=need.library, by=loaded.path, detail=version, provider=provider.path)


def _split(text: str | None, owner: _Loaded) -> Iterator[str]:
    for part in (text or "").split(":"):
        if part:
            yield _expand(part, owner)


def _expand(text: str, owner: _Loaded) -> str:
    origin = "/" + owner.opened.rpartition("/")[0]
    for name, value in (("ORIGIN", origin), ("LIB", "lib")):
        text = text.replace(f"${{{name}}}", value).replace(f"${name}", value)
    return text.strip("/")


def _musl_machine(elf: ElfFile) -> str:
    return (elf.interpreter or "").rpartition("ld-musl-")[2].partition(".")[0]
