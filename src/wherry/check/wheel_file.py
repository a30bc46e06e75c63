"""Examines a wheel by itself: is it what its RECORD says, do its libraries fit its tags, what does it leave to the system?

A wheel may count on what its manylinux policy lists (PEP 600), which is more than slim images have: libGL is on that list.
So every library that neither the wheel nor the C library brings is told: a note for the run-time libraries of the
compiler, which nearly every image has, a warning for others. Another wheel may bring them too (CUDA's do). What a wheel for
Windows asks for is held against what Windows has (`dlls`).
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from wherry.check.dll_scan import WheelDlls, read_dlls
from wherry.check.dlls import judge_dlls
from wherry.check.libraries import judge_damage
from wherry.check.linker import MISSING, Linker
from wherry.check.python import Module, Site, find_sites
from wherry.check.scan import scan_wheel
from wherry.check.tree import LayeredTree
from wherry.check.truth import judge_truth
from wherry.check.windows import WindowsDlls, read_known_dlls
from wherry.errors import FormatError, StoreError
from wherry.formats.zip_member import ERRORS, stream_member
from wherry.model.report import Finding, Report, Seen, Severity, order_findings

_ROOT = "lib/python3/site-packages"
_MAX_RECORD = 64 << 20
_LIBC = re.compile(r"(?:lib(?:c|m|dl|pthread|rt|util|resolv|nsl|crypt|anl)|ld-linux[\w-]*|libc\.musl-\w+)\.so(?:\.\d+)*")
_COMMON = re.compile(r"lib(?:stdc\+\+|gcc_s|z|expat|gomp)\.so(?:\.\d+)*")
_DRIVER = re.compile(r"lib(?:cuda|nvidia-[\w-]+|nvcuvid)\.so(?:\.\d+)*")
_NAME = re.compile(r"([^-]+)-([^-]+)(?:-\d[^-]*)?-([^-]+)-([^-]+)-([^-]+)\.whl")
_LEVEL = re.compile(r"manylinux_(\d+)_(\d+)_")
_LEGACY = {"manylinux1_": (2, 5), "manylinux2010_": (2, 12), "manylinux2014_": (2, 17)}
_VERSION = re.compile(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?")
_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "i386": "386",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}
_WINDOWS = {"win_amd64": "amd64", "win_arm64": "arm64", "win32": "386"}


def examine_wheel(path: Path, windows: WindowsDlls | None = None) -> Report:
    """A wheel's report. What is no wheel is refused. `windows` are the DLLs that one for Windows may count on."""
    found = _NAME.fullmatch(path.name)
    if not found:
        raise FormatError("not a wheel's name", where=path.name, hint="NAME-VERSION-PYTHON-ABI-PLATFORM.whl")
    try:
        with zipfile.ZipFile(path) as archive:
            facts = scan_wheel(archive, _ROOT, path.name)
            tree = LayeredTree([facts])
            sites = find_sites(tree)
            findings = [*judge_damage(tree), *judge_truth(tree, _WheelContents(archive), sites)]
            dlls = read_dlls(archive) if found[5] in _WINDOWS else WheelDlls()
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except ERRORS as error:
        raise FormatError(f"not a wheel: {error}", where=str(path)) from error
    owner = f"{found[1]} {found[2]}"
    for site in sites:
        findings += _judge_libraries(tree, site)
        findings += _judge_tags(tree, site, found[3], found[5])
    if found[5] in _WINDOWS:
        findings += judge_dlls(dlls, windows or read_known_dlls(), _WINDOWS[found[5]], found[3], found[4])
    seen = Seen(
        files=len(facts.entries),
        libraries=len(facts.elves) + len(dlls.files),
        modules=sum(len(site.modules) for site in sites) + len(dlls.modules),
        distributions=1,
    )
    owned = [replace(each, owner=owner) for each in findings]
    return Report(subject=path.name, platform=None, findings=order_findings(owned), seen=seen)


class _WheelContents:
    """The members of a wheel by digest; `scan_wheel` has read them all, so that they can be read."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._members = {f"{_ROOT}/{info.filename}": info for info in archive.infolist()}
        self._archive = archive

    def sha256(self, path: str) -> str | None:
        return self._digest(path, hashlib.sha256())

    def md5(self, path: str) -> str | None:
        return self._digest(path, hashlib.md5(usedforsecurity=False))

    def lists(self) -> Mapping[str, str]:
        records = (
            path for path, info in self._members.items() if path.endswith(".dist-info/RECORD") and info.file_size <= _MAX_RECORD
        )
        return {path: b"".join(stream_member(self._archive, self._members[path])).decode("utf-8", "replace") for path in records}

    def _digest(self, path: str, hasher: hashlib._Hash) -> str | None:
        if path not in self._members:
            return None
        for chunk in stream_member(self._archive, self._members[path]):
            hasher.update(chunk)
        return hasher.hexdigest()


def _judge_libraries(tree: LayeredTree, site: Site) -> Iterator[Finding]:
    missing: dict[str, dict[str, None]] = {}
    linker = Linker(tree, None)
    for path in (*(module.path for module in site.modules), *site.plain):
        for problem in linker.load(path):
            if problem.kind == MISSING and not _LIBC.fullmatch(problem.library):
                missing.setdefault(problem.library, {})[problem.by] = None
    for library, files in missing.items():
        common = _COMMON.fullmatch(library) is not None
        driver = _DRIVER.fullmatch(library) is not None
        yield Finding(
            rule="driver-library" if driver else "system-library",
            severity=Severity.NOTE if common or driver else Severity.WARNING,
            subject=library,
            what=f"{library} is left to {'the driver' if driver else 'the system, or to another wheel'}: needed by {_name(files)}",
            where=tuple(f"/{path}" for path in files),
        )


def _judge_tags(tree: LayeredTree, site: Site, interpreters: str, platforms: str) -> Iterator[Finding]:
    machines = {name for text, name in _MACHINES.items() if any(each.endswith(f"_{text}") for each in platforms.split("."))}
    limit = _allowed_glibc(platforms)
    for module in site.modules:
        yield from _judge_module(module, interpreters, platforms)
    for path in (*(module.path for module in site.modules), *site.plain):
        elf = tree.find_elf(path)
        if elf is None:
            continue
        if "linux" in platforms and machines and elf.architecture not in machines:
            yield _render("wrong-architecture", path, f"it is for {elf.architecture}, the wheel's name says {platforms}")
        newest = max(
            ((int(each[1]), int(each[2])) for need in elf.needs for text in need.versions if (each := _VERSION.fullmatch(text))),
            default=(0, 0),
        )
        if limit and newest > limit:
            said = f"{limit[0]}.{limit[1]}"
            yield _render("symbol-version", path, f"it needs GLIBC_{newest[0]}.{newest[1]}, the wheel's name says {said} is enough")


def _judge_module(module: Module, interpreters: str, platforms: str) -> Iterator[Finding]:
    made = module.made_for.rstrip("t")
    if made and f"cp{made.replace('.', '')}" not in interpreters.split(".") and not interpreters.startswith("py"):
        yield _render("wrong-python", module.path, f"it is for Python {made}, the wheel's name says {interpreters}")
    if module.libc == "musl" and "manylinux" in platforms:
        yield _render("wrong-libc", module.path, f"it is for musl, the wheel's name says {platforms}")


def _allowed_glibc(platforms: str) -> tuple[int, int] | None:
    """The lowest level that the name promises to run on."""
    levels = [(int(found[1]), int(found[2])) for found in _LEVEL.finditer(platforms)]
    levels += [level for name, level in _LEGACY.items() if name in platforms]
    return min(levels) if levels else None


def _render(rule: str, path: str, reason: str) -> Finding:
    return Finding(
        rule=rule,
        severity=Severity.ERROR,
        subject=path.rpartition("/")[2],
        what=f"{path.rpartition('/')[2]}: {reason}",
        where=(f"/{path}",),
        remedy="another version, or tell its publisher",
    )


def _name(files: dict[str, None]) -> str:
    names = [path.rpartition("/")[2] for path in files]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
