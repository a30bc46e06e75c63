"""Is every file what its publisher, or the lock, says? RECORDs of distributions, dpkg's lists, the lock's versions.

Bytecode is made where an image is built and named by nobody; documentation that slim images leave out is not missed.
Folders without RECORDs (Debian's own dist-packages, eggs) are judged by dpkg's lists alone.
"""

from __future__ import annotations

import base64
import binascii
import csv
import posixpath
import re
import sys
from collections.abc import Iterator, Sequence

from packaging.utils import canonicalize_name

from wherry.check.contents import Contents
from wherry.check.prefix_truth import judge_prefixes, read_prefix_records
from wherry.check.python import Distribution, Site
from wherry.check.tree import Tree, is_file
from wherry.model.lock import PlatformLock
from wherry.model.report import Finding, Severity

_BYTECODE = re.compile(r"(?:.*/)?__pycache__/.*|.*\.py[co]")
_LEFT_OUT = re.compile(r"usr/share/(?:doc|man|info|locale|lintian|linda|bug|groff)(?:/|-).*")
_TOP_MODULE = re.compile(r"(\w+)\.py|(\w+)/__init__\.py")
_DPKG = re.compile(r"var/lib/dpkg/(?:info|status\.d)/([^/:]+)(?::[^/]+)?\.md5sums")
# Made by the tools that make environments, and in no RECORD.
_SEEDED = re.compile(r"\.lock|_virtualenv\.(?:py|pth)|distutils-precedence\.pth|__editable__.*|easy-install\.pth|README\.txt")
_DEBIANS = re.compile(r"usr/lib/python3(?:\.\d+)?/")  # RECORDs that lie there name other places
_AGAIN = "install its distribution again, or build the image again"


def judge_truth(tree: Tree, contents: Contents, sites: Sequence[Site]) -> Iterator[Finding]:
    """Files that are altered or missing, by RECORD, conda-meta and dpkg; files in site-packages that nobody brought."""
    lists = contents.lists()
    records = read_prefix_records(contents)
    claimed = {path for record in records for path in record.files}
    yield from judge_prefixes(tree, contents, records)
    for site in sites:
        named: set[str] = set(claimed) if any(path.startswith(f"{site.folder}/") for path in claimed) else set()
        whole = True
        for distribution in site.distributions:
            if f"{distribution.folder}/METADATA" in claimed:
                continue  # conda's own: its RECORD may name other places
            text = None if _DEBIANS.match(site.folder) else lists.get(f"{distribution.folder}/RECORD")
            if text is None:
                whole = False
                continue
            yield from _judge_record(tree, contents, site, distribution, text, named)
        if named and whole and not any(".egg-info" in path for path in tree.entries if path.startswith(f"{site.folder}/")):
            yield from _judge_extra(tree, site, named)
    for path, text in lists.items():
        found = _DPKG.fullmatch(path)
        if found:
            yield from _judge_dpkg(tree, contents, found[1], text)


def judge_lock(sites: Sequence[Site], locked: PlatformLock) -> Iterator[Finding]:
    """Whether an image has the distributions that the lock names, and no others."""
    own = (site for site in sites if site.folder.startswith("opt/"))
    have: dict[str, str] = {}
    for one in (distribution for site in own for distribution in site.distributions):
        have[canonicalize_name(one.name)] = one.version
    wanted = {wheel.name: wheel.version for wheel in locked.wheels}
    for name in sorted(have.keys() | wanted.keys()):
        here, there = have.get(name), wanted.get(name)
        if here == there or (there is None and locked.records):
            continue
        what = f"{name}: the image has {here or 'none'}, the lock {there or 'none'}"
        yield _find("lock-mismatch", Severity.ERROR, name, what, [], "wherry build")


def judge_shadows(tree: Tree, sites: Sequence[Site], folders: Sequence[str]) -> Iterator[Finding]:
    """Modules of the project's own that are found before Python's, or before those of a package."""
    installed = {top.partition("/")[0]: one for site in sites for one in site.distributions for top in one.tops}
    for folder in dict.fromkeys(folder for folder in folders if folder):
        for path in tree.entries:
            inner = path.removeprefix(f"{folder}/")
            name = _TOP_MODULE.fullmatch(inner) if inner != path else None
            if name is None:
                continue
            module = name[1] or name[2]
            owner = installed.get(module) or installed.get(f"{module}.py")
            if module in sys.stdlib_module_names and module not in sys.builtin_module_names:
                what = f"/{path} is found instead of Python's own module {module}, also by packages"
                yield _find("shadowed-module", Severity.WARNING, module, what, [f"/{path}"], "another name")
            elif owner:
                what = f"/{path} is found instead of the {module} of {owner}"
                yield _find(
                    "shadowed-module", Severity.NOTE, module, what, [f"/{path}"], "another name, if that is not meant", str(owner)
                )


def _judge_record(
    tree: Tree, contents: Contents, site: Site, distribution: Distribution, text: str, named: set[str]
) -> Iterator[Finding]:
    altered, missing = [], []
    for row in csv.reader(text.splitlines()):
        if not row or not row[0]:
            continue
        path = posixpath.normpath(f"{site.folder}/{row[0]}" if not row[0].startswith("/") else row[0].lstrip("/"))
        named.add(path)
        if _BYTECODE.fullmatch(path):
            continue
        found = tree.resolve(path)
        if found is None:
            missing.append(f"/{path}")
        elif len(row) > 1 and row[1] and not _equals(row[1], contents.sha256(found)):
            altered.append(f"/{path}")
    owner = str(distribution)
    if altered:
        what = f"{_count(altered)} of {owner} {_be(altered)} not what its RECORD says"
        yield _find("altered-file", Severity.ERROR, distribution.name, what, altered, _AGAIN, owner)
    if missing:
        what = f"{_count(missing)} of {owner} {_be(missing)} not there"
        yield _find("missing-file", Severity.ERROR, distribution.name, what, missing, _AGAIN, owner)


def _equals(recorded: str, digest: str | None) -> bool:
    """RECORD's ``sha256=…`` against a digest; what stands there by another algorithm is not judged."""
    algorithm, _, value = recorded.partition("=")
    if algorithm != "sha256" or digest is None:
        return algorithm != "sha256"
    try:
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex() == digest
    except (binascii.Error, ValueError):
        return False


def _judge_extra(tree: Tree, site: Site, named: set[str]) -> Iterator[Finding]:
    tops: dict[str, list[str]] = {}
    for path, entry in tree.entries.items():
        inner = path.removeprefix(f"{site.folder}/")
        if inner == path or not is_file(entry) or path in named or _BYTECODE.fullmatch(path) or _SEEDED.fullmatch(inner):
            continue
        tops.setdefault(inner.partition("/")[0], []).append(f"/{path}")
    for top, paths in sorted(tops.items()):
        what = f"{_count(paths)} in {top} came with no distribution"
        yield _find(
            "extra-file", Severity.WARNING, top, what, paths, "declare what you need as a requirement, or as the project's code"
        )


def _judge_dpkg(tree: Tree, contents: Contents, package: str, text: str) -> Iterator[Finding]:
    altered, missing = [], []
    for line in text.splitlines():
        digest, _, path = line.partition("  ")
        path = path.strip().removeprefix("./").lstrip("/")
        found = tree.resolve(path) if path else None
        if found is None:
            if path and not _LEFT_OUT.fullmatch(path):
                missing.append(f"/{path}")
        else:
            real = contents.md5(found)
            if real is not None and real != digest:
                altered.append(f"/{path}")
    for rule, paths, say in (("altered-file", altered, "not what dpkg's list says"), ("missing-file", missing, "not there")):
        if paths:
            what = f"{_count(paths)} of Debian's {package} {_be(paths)} {say}"
            yield _find(rule, Severity.WARNING, package, what, paths, "a base of unaltered packages", package)


def _count(paths: Sequence[str]) -> str:
    return f"{len(paths)} file{'' if len(paths) == 1 else 's'}"


def _be(paths: Sequence[str]) -> str:
    return "is" if len(paths) == 1 else "are"


def _find(rule: str, severity: Severity, subject: str, what: str, where: Sequence[str], remedy: str, owner: str = "") -> Finding:
    return Finding(rule=rule, severity=severity, subject=subject, what=what, where=tuple(where), remedy=remedy, owner=owner)
