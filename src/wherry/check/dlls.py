"""Judges the DLLs of a wheel for Windows: would each compiled module load, or end in "DLL load failed while importing"?

Follows what Python 3.8 and newer ask of Windows (LoadLibraryEx, "Dynamic-link library search order"): for a module and all
that it brings in, the folder of the module itself, Python's folder, folders that code gives to `os.add_dll_directory` or
loads from beforehand, and System32. PATH is not looked at, and neither is the folder of a DLL that was loaded on the way. A file
for another machine is passed over. What is loaded when it is first called (delay-load) is a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from wherry.check.dll_scan import WheelDlls
from wherry.check.windows import WindowsDlls, find_bringer, is_driver
from wherry.model.report import Finding, Severity

_PYTHON = re.compile(r"python3(\d*)(t?)(_d)?\.dll")
_CPYTHON = re.compile(r"cp3(\d+)")
_ANOTHER = "another version, or tell its publisher"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Missing:
    """`name` is asked for by the file `by`; `beside` are files of that name that the search does not come to."""

    name: str
    by: str
    delayed: bool
    beside: tuple[str, ...] = ()


@dataclass(slots=True)
class _Case:
    severity: Severity
    missing: _Missing
    roots: dict[str, None] = field(default_factory=dict)
    files: dict[str, None] = field(default_factory=dict)


def judge_dlls(dlls: WheelDlls, windows: WindowsDlls, architecture: str, interpreters: str, abi: str) -> Iterator[Finding]:
    """Findings about the libraries of one wheel, whose own name promises the last three; `architecture` is as OCI calls it."""
    for path, reason in dlls.broken.items():
        yield _render("damaged-library", Severity.ERROR, path, f"cannot be loaded: {reason}", "the file is not what was published")
    for path, size in dlls.unread.items():
        yield _render("unread-library", Severity.NOTE, path, f"{size / 1e6:,.0f} MB: too large to be looked into", "")
    for path, name in dlls.modules.items():
        made_for = dlls.files[path].architecture
        if not dlls.files[path].is_managed and made_for != architecture:
            what = f"import {name} fails: it is for {made_for}, the wheel's name says {architecture}"
            yield _render("wrong-architecture", Severity.ERROR, path, what, _ANOTHER)
        yield from _judge_python(dlls, path, interpreters, abi)
    yield from (_say(case, dlls, windows) for case in _collect(dlls, windows, architecture))


def _judge_python(dlls: WheelDlls, path: str, interpreters: str, abi: str) -> Iterator[Finding]:
    """The Python that a module was linked against: it finds no other in the process that imports it."""
    promised = {found[1] for each in interpreters.split(".") if (found := _CPYTHON.fullmatch(each))}
    for name in dlls.files[path].needed:
        found = _PYTHON.fullmatch(name)
        if found is None:
            continue
        reason = ""
        if found[3]:
            reason = f"it is a debug build: it asks for {name}, which no released Python has"
        elif found[1] and "abi3" in abi.split("."):
            reason = f"it asks for {name}, the wheel's name says that any newer Python will do"
        elif found[1] and promised and found[1] not in promised:
            reason = f"it asks for {name}, the wheel's name says {interpreters}"
        if reason:
            what = f"import {dlls.modules[path]} fails: {reason}"
            yield _render("wrong-python", Severity.ERROR, path, what, _ANOTHER)


def _collect(dlls: WheelDlls, windows: WindowsDlls, architecture: str) -> list[_Case]:
    cases: dict[tuple[str, bool], _Case] = {}
    reached: set[str] = set()
    modules = [path for path in dlls.modules if dlls.files[path].architecture == architecture]
    others = [path for path, file in dlls.files.items() if path not in dlls.modules and file.architecture == architecture]
    for path in (*modules, *others):
        if path in reached or dlls.files[path].is_managed:
            continue
        blocks = path in dlls.modules or (not dlls.modules and dlls.files[path].is_library)
        for missing in _trace(path, dlls, windows, reached if path in dlls.modules else set()):
            severity = Severity.ERROR if blocks and not missing.delayed else Severity.WARNING
            case = cases.setdefault((missing.name, missing.delayed), _Case(severity, missing))
            if severity is case.severity:
                case.roots[dlls.modules.get(path, path.rpartition("/")[2])] = None
            case.files[f"/{path}"] = None
            case.files[f"/{missing.by}"] = None
    return [case for (name, delayed), case in cases.items() if not delayed or (name, False) not in cases]


def _trace(path: str, dlls: WheelDlls, windows: WindowsDlls, reached: set[str]) -> Iterator[_Missing]:
    """What a process would not find when it loads the file `path`; the files that it does find go into `reached`."""
    home = path.rpartition("/")[0]
    known: set[str] = set()
    queue = [(path, False)]
    for at, late in queue:  # it grows
        reached.add(at)
        file = dlls.files[at]
        for name, delayed in (*((each, late) for each in file.needed), *((each, True) for each in file.delayed)):
            if name in known or _PYTHON.fullmatch(name):
                continue
            known.add(name)
            found = dlls.find(name, home, file.architecture)
            if found:
                queue.append((found, delayed))
            elif not windows.has(name):
                yield _Missing(name=name, by=at, delayed=delayed, beside=dlls.by_name.get(name, ()))


def _say(case: _Case, dlls: WheelDlls, windows: WindowsDlls) -> Finding:
    missing, names = case.missing, list(case.roots)
    roots = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    is_module = names[0] in dlls.modules.values()
    effect = f"import {roots} fails" if is_module else f"{roots} cannot be loaded"
    effect += " (DLL load failed)" if is_module and not missing.delayed else ""
    effect = f"{roots} fails when it first calls it" if missing.delayed else effect
    wheel, remedy = find_bringer(missing.name)
    severity, reason = case.severity, "is not there"
    rule = "missing-dll"
    if is_driver(missing.name):
        rule, severity, reason, remedy = "driver-library", Severity.NOTE, "is left to the GPU's driver", ""
    elif missing.beside:
        reason, remedy = _say_beside(missing, dlls)
        if missing.name.endswith(".pyd"):
            severity, reason = Severity.WARNING, f"{reason}, unless it has been imported before"
    elif missing.name in windows.desktop:
        severity, reason = Severity.WARNING, "is not in Windows Server Core"
        remedy = "a Windows with a desktop (Media Foundation's DLLs are an optional feature of a server)"
    elif wheel and wheel in dlls.requires:
        severity, reason, remedy = Severity.NOTE, f"comes with {wheel}, which the wheel requires", ""
    elif not wheel and not remedy and dlls.requires:
        severity, reason = Severity.WARNING, "is not there, unless another wheel has loaded it before"
        remedy = f"one of those it requires may: {', '.join(sorted(dlls.requires)[:5])}"
    return Finding(
        rule=rule,
        severity=severity,
        subject=missing.name,
        what=f"{missing.name} {reason}: {effect}",
        where=tuple(case.files),
        remedy=remedy,
    )


def _say_beside(missing: _Missing, dlls: WheelDlls) -> tuple[str, str]:
    """It is in the wheel, and would not be taken."""
    there = missing.beside[0]
    folder = there.rpartition("/")[0]
    if dlls.files[there].architecture != dlls.files[missing.by].architecture:
        return f"is there for {dlls.files[there].architecture} only", _ANOTHER
    return f"lies in /{folder}, where nothing looks", f"code that calls os.add_dll_directory for {folder} before the import"


def _render(rule: str, severity: Severity, path: str, what: str, remedy: str) -> Finding:
    return Finding(rule=rule, severity=severity, subject=path.rpartition("/")[2], what=what, where=(f"/{path}",), remedy=remedy)
