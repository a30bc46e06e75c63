"""Judges whether layers still work in another image than the one that they were made for: what would break that did not before.

The closure of `libraries` over the whole root, before and after, decides about libraries and symbol versions; beside that: each
interpreter of an environment that the layers bring must be at its place, of its version and ABI, programs of the layers must
load, and what the container starts must be there. A defect that was there before, or that the new base has by itself, counts for
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from wherry.check.contents import LayerContents, LayeredContents
from wherry.check.doctor import examine_tree
from wherry.check.facts import FOLDER, Facts
from wherry.check.linker import ARCHITECTURE, MISSING, VERSION, Linker, Problem
from wherry.check.places import is_own
from wherry.check.python import Site, find_sites
from wherry.check.tree import LayeredTree, Tree, is_file
from wherry.model.oci import ImageConfig
from wherry.model.report import Finding, Severity, order_findings

_PYTHON = re.compile(r"(?:.*/)?python(3\.\d+t?)")
_ELF_RULES = {MISSING: "missing-library", VERSION: "symbol-version", ARCHITECTURE: "wrong-architecture"}
_COUNTING_WARNINGS = frozenset({"model-version"})  # another scikit-learn below a model is what is asked about here


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """An image as far as it is judged: its layers' facts, the lowest first, and its config."""

    layers: Sequence[Facts]
    config: ImageConfig

    @property
    def variables(self) -> Mapping[str, str]:
        return dict(entry.partition("=")[::2] for entry in self.config.env)

    @property
    def folders(self) -> list[str]:
        """Where its code is imported from."""
        return [path.strip("/") for path in (*self.variables.get("PYTHONPATH", "").split(":"), self.config.workdir)]


def judge_fit(after: Side, before: Sequence[Side], own: Sequence[Facts]) -> tuple[Finding, ...]:
    """What is wrong with `after` and with none of `before`, of which the first is where the layers `own` worked."""
    trees = [LayeredTree(side.layers) for side in before]
    tree = LayeredTree(after.layers)
    known = {key for each, side in zip(trees, before, strict=True) for one in _examine(each, side) for key in _keys(one)}
    found = []
    for finding in _examine(tree, after):
        where = [path for path in finding.where if (finding.rule, finding.subject, path) not in known]
        if where or not (finding.where or (finding.rule, finding.subject, "") in known):
            found.append(replace(finding, where=tuple(where)))
    paths = {entry.path for layer in own for entry in layer.entries}
    found += _judge_interpreters(trees[0], find_sites(trees[0], before[0].folders), tree, paths)
    found += _judge_programs(trees[0], before[0], tree, after, own)
    found += _judge_start(trees[0], before[0], tree, after)
    return order_findings(found)


def judge_packages(after: Side, wanted: Side) -> tuple[Finding, ...]:
    """Where the interpreters or distributions of `after` are others than in `wanted`, for which its code and models were made."""
    trees = [LayeredTree(side.layers) for side in (after, wanted)]
    sites = [find_sites(tree, side.folders) for tree, side in zip(trees, (after, wanted), strict=True)]
    here, there = (_list_distributions(each) for each in sites)
    findings = []
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            had, has = here.get(name, "none"), there.get(name, "none")
            findings.append(
                _find(
                    "other-packages",
                    name,
                    f"{name} {has} in the new image, {had} below: what is taken was made with another one",
                    remedy="ship the new image as a whole, or build it with the former versions",
                )
            )
    findings += _judge_interpreters(trees[1], sites[1], trees[0], None)
    return order_findings(findings)


def find_hidden(own: Sequence[Facts], base: Sequence[Facts]) -> tuple[str, ...]:
    """Files of the new base that the own layers hide: what was mended in them stays without effect."""
    below = LayeredTree(base).entries
    brought = {entry.path for layer in own for entry in layer.entries if entry.kind != FOLDER}
    return tuple(sorted(path for path in brought if path in below and below[path].kind != FOLDER))


def find_other_changes(
    new: Side, former: Side, digests: Mapping[str, Sequence[LayerContents]], taken: Sequence[str]
) -> tuple[str, ...]:
    """The project's own files outside of `taken` that are not the same in both images; `digests` are those of each one's layers."""
    trees = {"new": LayeredTree(new.layers), "former": LayeredTree(former.layers)}
    layers = {"new": new.layers, "former": former.layers}
    contents = {name: LayeredContents(tree, zip(layers[name], digests[name], strict=True)) for name, tree in trees.items()}
    paths = {path for tree in trees.values() for path, entry in tree.entries.items() if is_file(entry) and is_own(path)}
    outside = [path for path in paths if not any(path == one or path.startswith(f"{one}/") for one in taken)]

    def digest(name: str, path: str) -> str | None:
        return contents[name].md5(path) or contents[name].sha256(path)

    return tuple(sorted(path for path in outside if "__pycache__" not in path and digest("new", path) != digest("former", path)))


def _examine(tree: Tree, side: Side) -> list[Finding]:
    report = examine_tree(tree, "", side.config.platform, env=side.config.env, workdir=side.config.workdir)
    return [one for one in report.findings if one.severity is Severity.ERROR or one.rule in _COUNTING_WARNINGS]


def _keys(finding: Finding) -> Iterator[tuple[str, str, str]]:
    for path in finding.where or ("",):
        yield finding.rule, finding.subject, path


def _find(rule: str, subject: str, what: str, *where: str, remedy: str = "") -> Finding:
    return Finding(rule=rule, severity=Severity.ERROR, subject=subject, what=what, where=where, remedy=remedy)


def _list_distributions(sites: Sequence[Site]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for site in sites:
        for one in site.distributions:
            found.setdefault(re.sub(r"[-_.]+", "-", one.name).lower(), set()).add(one.version)
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def _judge_interpreters(former: Tree, sites: Sequence[Site], tree: Tree, own: set[str] | None) -> Iterator[Finding]:
    """`sites` are those of `former`; with `own`, only environments that these paths are part of are looked at."""
    judged = set()
    for site in sites:
        if site.program is None or site.standard or site.program in judged or not (site.distributions or site.modules):
            continue
        if own is not None and not any(path.startswith(f"{site.folder}/") for path in own):
            continue
        judged.add(site.program)
        what = _compare_programs(former, tree, site)
        if what:
            hint = f"a base with Python {site.minor} at this place"
            yield _find("interpreter", f"Python {site.minor}", what, f"/{site.folder}", remedy=hint)


def _compare_programs(former: Tree, tree: Tree, site: Site) -> str:
    """What is wrong with the interpreter of a site; empty where it is as it was."""
    assert site.program is not None  # noqa: S101 - tells the type checker
    was, now = former.resolve(site.program), tree.resolve(site.program)
    elf_was = former.find_elf(was) if was else None
    elf_now = tree.find_elf(now) if now else None
    if was is None or elf_was is None:
        return ""
    if now is None or elf_now is None:
        return f"/{site.folder} is imported by /{was}, and that is not there"
    minor_was, minor_now = (_PYTHON.fullmatch(path) for path in (was, now))
    if minor_was and minor_now and minor_was[1] != minor_now[1]:
        return f"/{site.folder} is for Python {minor_was[1]}, and /{site.program} is Python {minor_now[1]} (/{now})"
    if (elf_was.architecture, elf_was.bits) != (elf_now.architecture, elf_now.bits):
        return f"/{now} is for {elf_now.architecture}, the packages are for {elf_was.architecture}"
    if elf_was.interpreter != elf_now.interpreter:
        return f"/{now} runs with {elf_now.interpreter or 'no linker'}, the packages with {elf_was.interpreter or 'none'}"
    return ""


def _judge_programs(former: Tree, was: Side, tree: Tree, side: Side, own: Sequence[Facts]) -> Iterator[Finding]:
    """Programs and libraries that the layers bring and that are no part of an environment."""
    sites = find_sites(tree, side.folders)
    inside = {path for site in sites for path in (*site.plain, *(module.path for module in site.modules))}
    main = next((site.program for site in sites if site.program and not site.standard), None)
    for path in sorted({path for layer in own for path in layer.elves} - inside):
        elf = tree.find_elf(path)
        if elf is None or elf.kind not in ("shared", "executable"):
            continue
        if elf.interpreter and tree.resolve(elf.interpreter.strip("/")) is None:
            if former.resolve(elf.interpreter.strip("/")) is not None:
                yield _find(
                    "missing-library", elf.interpreter, f"/{path} is run by {elf.interpreter}, which is not there", f"/{path}"
                )
            continue
        known = {_key(one) for one in _load(former, was, path, elf.interpreter is not None, main)}
        for problem in _load(tree, side, path, elf.interpreter is not None, main):
            if _key(problem) not in known:
                yield _render(problem, path)


def _load(tree: Tree, side: Side, path: str, is_program: bool, main: str | None) -> Sequence[Problem]:
    library_path = side.variables.get("LD_LIBRARY_PATH", "").split(":")
    if is_program:
        return Linker(tree, path, library_path).program_problems
    return Linker(tree, main, library_path).load(path)


def _key(problem: Problem) -> tuple[str, str, str]:
    return problem.kind, problem.library, problem.detail


def _render(problem: Problem, path: str) -> Finding:
    what = {
        MISSING: f"{problem.library} is not there",
        VERSION: f"{problem.library} has no {problem.detail}",
        ARCHITECTURE: f"{problem.library} is there for {problem.detail} only",
    }[problem.kind]
    subject = problem.detail if problem.kind == VERSION else problem.library
    return _find(_ELF_RULES[problem.kind], subject, f"{what}: /{path} needs it", f"/{path}")


def _judge_start(former: Tree, was: Side, tree: Tree, side: Side) -> Iterator[Finding]:
    """What the container starts, if it was there before."""
    command = (*side.config.entrypoint, *side.config.cmd)
    if command and _find_command(former, was, command[0]) and not _find_command(tree, side, command[0]):
        yield _find("start-command", command[0], f"the container starts {command[0]}, and that is not there")


def _find_command(tree: Tree, side: Side, word: str) -> bool:
    if "/" in word:
        return tree.resolve(f"{side.config.workdir}/{word}" if not word.startswith("/") else word) is not None
    return any(tree.resolve(f"{folder}/{word}") is not None for folder in side.variables.get("PATH", "/usr/bin:/bin").split(":"))
