"""Finds what Python is in a tree: interpreters, the folders that they import from, distributions, compiled modules.

Knows CPython's layouts: environments, prefixes, Debian's dist-packages, lib-dynload. A compiled module is a library that
exports ``PyInit_NAME``; whatever else lies there with ELF inside is a plain library, reached by modules or by ctypes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from wherry.check.facts import Facts
from wherry.check.tree import Tree, is_file
from wherry.formats.elf import ElfFile

_SITE = re.compile(r"((?:.*/)?)lib(?:64)?/python(?:3|(3\.\d+)t?)/((?:site|dist)-packages|lib-dynload)/")
_PROGRAM = re.compile(r"(?:.*/)?bin/python(3\.\d+)t?")
_MODULE = re.compile(r"([^.]+)(?:\.(abi3)|\.cpython-(\d)(\d+)(t?)-([^.]+)|\.(?:pypy|graalpy)[^.]*-[^.]+)?\.so")
_DIST = re.compile(r"([^/]+)\.dist-info/")
_FIELD = re.compile(r"^(Name|Version): *(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """`folder` is the dist-info's; `wheel` the text of WHEEL, `tops` the first two parts of each path in RECORD."""

    name: str
    version: str
    folder: str
    wheel: str = ""
    tops: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A compiled module. `made_for` is empty where any Python 3 may take it (``abi3`` or no tag at all)."""

    path: str
    name: str  # dotted
    elf: ElfFile
    made_for: str = ""  # such as 3.11
    libc: str = ""  # gnu or musl, where its name says so
    optional: bool = False  # its own package can do without


@dataclass(slots=True, kw_only=True)
class Site:
    """A folder that an interpreter imports from. `program` is None where none of its minor version was found."""

    folder: str
    prefix: str
    minor: str
    program: str | None
    standard: bool = False  # lib-dynload: Python's own modules
    distributions: list[Distribution] = field(default_factory=list)
    modules: list[Module] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)  # libraries that are no modules, and programs
    loads: dict[str, tuple[str, ...]] = field(default_factory=dict)  # see `Facts`
    _owners: dict[str, Distribution] | None = None

    def find_owner(self, path: str) -> Distribution | None:
        """The distribution that brought a file, by its RECORD."""
        if self._owners is None:
            self._owners = {}
            for each in self.distributions:
                for top in each.tops:
                    self._owners.setdefault(top, each)
                    if "/" in top:
                        self._owners.setdefault(f"{top.partition('/')[0]}/", each)
        parts = path.removeprefix(f"{self.folder}/").split("/")
        return self._owners.get("/".join(parts[:2])) or self._owners.get(f"{parts[0]}/")


def find_sites(tree: Tree, folders: Sequence[str] = ()) -> tuple[Site, ...]:
    """Every folder that some interpreter imports from. `folders` are more that the main one does, such as that of the code."""
    programs = dict(_find_programs(tree))
    sites: dict[str, Site] = {}
    for path in tree.entries:
        found = _SITE.match(path)
        if found and found[0][:-1] not in sites:
            minor = found[2] or next((each for program, each in programs.items() if program.startswith("usr/bin/")), "")
            program = _find_program(tree, found[1], minor, programs)
            sites[found[0][:-1]] = Site(
                folder=found[0][:-1], prefix=found[1], minor=minor, program=program, standard=found[3] == "lib-dynload"
            )
    first = next((site for site in sites.values() if site.program and not site.standard), None)
    for folder in folders:
        if folder and first and folder not in sites:
            sites[folder] = Site(folder=folder, prefix=f"{folder}/", minor=first.minor, program=first.program)
    _fill(tree, sites)
    return tuple(sites.values())


def _find_programs(tree: Tree) -> Iterator[tuple[str, str]]:
    for path, entry in tree.entries.items():
        found = _PROGRAM.fullmatch(path)
        if found and is_file(entry) and tree.find_elf(path):
            yield path, found[1]


def _find_program(tree: Tree, prefix: str, minor: str, programs: Mapping[str, str]) -> str | None:
    """The interpreter of a prefix; else any of the same version."""
    for name in (f"python{minor}", "python3", "python"):
        path = tree.resolve(f"{prefix}bin/{name}")
        if path and tree.find_elf(path):
            return f"{prefix}bin/{name}"
    return next((path for path, each in programs.items() if each == minor), None)


def _fill(tree: Tree, sites: Mapping[str, Site]) -> None:
    for path, facts in tree.gather():
        interesting = path in facts.elves or path in facts.texts or path in facts.loads
        site = _site_of(path, sites) if interesting else None
        if site is None:
            continue
        inner = path.removeprefix(f"{site.folder}/")
        if path in facts.elves:
            _add_library(site, path, inner, facts)
        elif path in facts.loads:
            site.loads[path] = facts.loads[path]
        elif (found := _DIST.match(inner)) and inner.endswith("/METADATA"):
            folder = f"{site.folder}/{found[1]}.dist-info"
            wheel = tree.read_text(f"{folder}/WHEEL") or ""
            site.distributions.append(_describe(found[1], folder, facts.texts[path], wheel, facts.tops.get(f"{folder}/RECORD", ())))


def _site_of(path: str, sites: Mapping[str, Site]) -> Site | None:
    found = _SITE.match(path)
    if found:
        return sites.get(found[0][:-1])
    while "/" in path:
        path = path.rpartition("/")[0]
        if path in sites:
            return sites[path]
    return None


def _describe(stem: str, folder: str, metadata: str, wheel: str, tops: tuple[str, ...]) -> Distribution:
    fields = {key: value.strip() for key, value in reversed(_FIELD.findall(metadata))}
    name, _, version = stem.partition("-")
    return Distribution(
        name=fields.get("Name", name), version=fields.get("Version", version), folder=folder, wheel=wheel, tops=tops
    )


def _add_library(site: Site, path: str, inner: str, facts: Facts) -> None:
    elf = facts.elves[path]
    folder, _, name = inner.rpartition("/")
    found = _MODULE.fullmatch(name)
    if not found or not elf.exports or elf.kind != "shared":
        if elf.kind in ("shared", "executable"):
            site.plain.append(path)
        return
    _, _, major, minor, threads, system = found.groups()
    dotted = ".".join(part for part in (*folder.split("/"), found[1]) if part and part != "__init__")
    site.modules.append(
        Module(
            path=path,
            name=dotted,
            elf=elf,
            made_for=f"{major}.{minor}{threads}" if major else "",
            libc="musl" if system and system.endswith("-musl") else "gnu" if system else "",
            optional=path in facts.optional,
        )
    )
