"""Judges the libraries of an environment: would each compiled module load, and each library that Python opens itself?

What blocks an import is an error. What only a plugin needs, that is a library which no module reaches in a distribution
that has modules of its own, is a warning, and so is a module of Python's own library that nobody may use. Libraries of
the GPU's driver are notes: the host brings them. Where a distribution has no modules and its Python opens libraries with
ctypes or cffi, these are its modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from wherry.check.linker import ARCHITECTURE, MISSING, VERSION, Linker, Problem
from wherry.check.python import Module, Site
from wherry.check.tree import Tree
from wherry.model.report import Finding, Severity

_DRIVER = re.compile(
    r"lib(?:cuda|cudadebugger|nvidia-[\w-]+|nvcuvid|nvoptix|amdhip64|hsa-runtime64|ze_loader|mlx\d|ibverbs|rdmacm)\.so(?:\.\d+)*"
)
_MUSL = re.compile(r"libc\.musl-.*|ld-musl-.*")
_VENDORED = re.compile(r"(?:^|/)[^/]+\.libs/")


@dataclass(slots=True)
class _Case:
    """One thing that is wrong, and what it breaks."""

    problem: Problem
    severity: Severity
    imports: list[str] = field(default_factory=list)
    owners: dict[str, None] = field(default_factory=dict)
    paths: dict[str, None] = field(default_factory=dict)


def judge_libraries(tree: Tree, sites: Sequence[Site], library_path: Sequence[str]) -> Iterator[Finding]:
    """All findings about the libraries of `sites`. `library_path` is LD_LIBRARY_PATH as folders."""
    linkers: dict[str, Linker] = {}
    cases: dict[tuple[str, str, str], _Case] = {}
    for site in sites:
        if site.program is None:
            if site.distributions:
                yield _no_interpreter(site)
            continue
        if site.program not in linkers:
            linkers[site.program] = Linker(tree, site.program, library_path)
            yield from _judge_program(linkers[site.program])
        linker = linkers[site.program]
        yield from _judge_modules(site, linker)
        _collect(site, linker, cases)
        yield from _judge_loads(tree, site, linker)
    yield from (_render(case) for case in cases.values())


def judge_damage(tree: Tree) -> Iterator[Finding]:
    """Files that claim to be ELF. Separate debug information looks so and is never loaded."""
    for path, facts in tree.gather():
        if path in facts.broken and (".so" in path.rpartition("/")[2] or "/bin/" in f"/{path}") and "/debug/" not in path:
            yield Finding(
                rule="damaged-library",
                severity=Severity.ERROR,
                subject=path.rpartition("/")[2],
                what=f"cannot be loaded: {facts.broken[path]}",
                where=(f"/{path}",),
                remedy="install its package again; the file is not what it was published as",
            )


def _no_interpreter(site: Site) -> Finding:
    python = f"Python {site.minor}".strip()
    return Finding(
        rule="no-interpreter",
        severity=Severity.ERROR,
        subject=python,
        what=f"{len(site.distributions)} distributions lie in /{site.folder}, and no {python} is there to import them",
        where=(f"/{site.folder}",),
        remedy="install them with the interpreter that the image has",
    )


def _judge_program(linker: Linker) -> Iterator[Finding]:
    for problem in linker.program_problems:
        yield Finding(
            rule="interpreter",
            severity=Severity.ERROR,
            subject=problem.library,
            what=f"Python itself would not start: {_say_problem(problem)}",
            where=(f"/{problem.by}",),
        )


def _judge_modules(site: Site, linker: Linker) -> Iterator[Finding]:
    """Modules that this interpreter passes over, where it has no other of the name."""
    names = {module.name for module in site.modules if _fits(module, site, linker)}
    for module in site.modules:
        if _fits(module, site, linker) or module.name in names:
            continue
        owner = site.find_owner(module.path)
        if module.made_for and module.made_for.rstrip("t") != site.minor:
            rule, reason = "wrong-python", f"made for Python {module.made_for}, here is {site.minor}"
        elif module.libc and (module.libc == "musl") != linker.is_musl:
            rule, reason = "wrong-libc", f"made for {module.libc}, the interpreter is for {'musl' if linker.is_musl else 'glibc'}"
        else:
            rule, reason = "wrong-architecture", f"made for {module.elf.architecture}, the interpreter for {linker.architecture}"
        yield Finding(
            rule=rule,
            severity=Severity.WARNING if site.standard else Severity.ERROR,
            subject=module.name,
            what=f"import {module.name} fails: {reason}",
            where=(f"/{module.path}",),
            owner=str(owner or ""),
            remedy="install the wheel for this interpreter and platform",
        )


def _fits(module: Module, site: Site, linker: Linker) -> bool:
    if module.made_for and module.made_for.rstrip("t") != site.minor:
        return False
    if module.libc and (module.libc == "musl") != linker.is_musl:
        return False
    return module.elf.architecture == linker.architecture


def _collect(site: Site, linker: Linker, cases: dict[tuple[str, str, str], _Case]) -> None:
    """What goes wrong when the site's modules are imported, and its other libraries opened."""
    reached: set[str] = set()
    with_modules: set[str] = set()
    for module in site.modules:
        owner = str(site.find_owner(module.path) or "")
        with_modules.add(owner)
        if not _fits(module, site, linker):
            continue
        problems, files = linker.trace(module.path)
        reached |= files
        for problem in problems:
            severity = Severity.WARNING if site.standard or module.optional else Severity.ERROR
            _add_case(cases, problem, severity, f"import {_importable(module.name)}", owner, module.path)
    openers = {str(site.find_owner(path) or "") for path in site.loads} - with_modules
    for path in site.plain:
        if path in reached or _VENDORED.search(path):
            continue
        owner = str(site.find_owner(path) or "")
        problems, _ = linker.trace(path)
        elf_is_foreign = any(problem.kind == ARCHITECTURE for problem in problems)
        for problem in problems if not elf_is_foreign else ():
            blocks = owner in openers and ".so" in path
            _add_case(cases, problem, Severity.ERROR if blocks else Severity.WARNING, path.rpartition("/")[2], owner, path)


def _importable(name: str) -> str:
    """What one types: a package that is no more than the module of its own name imports it by itself."""
    package, _, last = name.rpartition(".")
    return package if package == last else name


def _add_case(
    cases: dict[tuple[str, str, str], _Case], problem: Problem, severity: Severity, what: str, owner: str, path: str
) -> None:
    if problem.kind == MISSING and _DRIVER.fullmatch(problem.library):
        severity = Severity.NOTE
    key = (problem.kind, problem.library, problem.detail)
    case = cases.setdefault(key, _Case(problem, severity))
    order = tuple(Severity)
    if order.index(severity) < order.index(case.severity):
        case.severity = severity
        case.imports.clear()
    if severity is case.severity:
        case.imports.append(what)
    if owner:
        case.owners[owner] = None
    case.paths[f"/{path}"] = None
    case.paths[f"/{problem.by}"] = None


def _judge_loads(tree: Tree, site: Site, linker: Linker) -> Iterator[Finding]:
    """Libraries that Python names literally and that the linker would not find."""
    named: dict[str, list[str]] = {}
    for path, names in site.loads.items():
        for name in names:
            if re.fullmatch(r"lib[\w.+-]+\.so(?:\.[\d.]+)?", name) and not site.standard:
                named.setdefault(name, []).append(path)
    own = {path.rpartition("/")[2] for path in tree.entries if ".so" in path}
    for name, paths in named.items():
        if name in own or linker.find_provider(name):
            continue
        driver = _DRIVER.fullmatch(name) is not None
        yield Finding(
            rule="driver-library" if driver else "loaded-by-name",
            severity=Severity.NOTE,
            subject=name,
            what="opened by name while running, and not in the image",
            where=tuple(f"/{path}" for path in sorted(paths)),
            owner=str(site.find_owner(paths[0]) or ""),
        )


def _render(case: _Case) -> Finding:
    problem = case.problem
    rule = {MISSING: "missing-library", VERSION: "symbol-version", ARCHITECTURE: "wrong-architecture"}[problem.kind]
    if problem.kind == MISSING and (_MUSL.fullmatch(problem.library) or problem.library == "libc.so.6"):
        rule = "wrong-libc"
    if case.severity is Severity.NOTE:
        rule = "driver-library"
    return Finding(
        rule=rule,
        severity=case.severity,
        subject=problem.detail if problem.kind == VERSION else problem.library,
        what=f"{_say_problem(problem)}: {_say_effect(case)}",
        where=tuple(case.paths),
        owner=", ".join(case.owners),
    )


def _say_effect(case: _Case) -> str:
    names = list(dict.fromkeys(case.imports))
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    if case.severity is Severity.NOTE:
        return f"{shown} takes it from the host's driver"
    verb = "fails" if len(names) == 1 else "fail"
    return f"{shown} {verb}" if case.severity is Severity.ERROR else f"{shown} {verb}, which nothing else may need"


def _say_problem(problem: Problem) -> str:
    if problem.kind == VERSION:
        return f"{problem.library} has no {problem.detail}"
    if problem.kind == ARCHITECTURE:
        return f"{problem.library} is there for {problem.detail} only"
    if _MUSL.fullmatch(problem.library):
        return f"{problem.library}, musl's libc, is not there"
    return f"{problem.library} is not there"
