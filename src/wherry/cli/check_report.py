"""How findings are shown to people, the gravest first, and as a document for programs."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from wherry.model.report import SEVERITIES, Finding, Report, Severity

CHECK_SCHEMA = 1
_SHOWN = 4  # warnings or notes of one kind from one distribution


def print_reports(reports: Sequence[Report]) -> None:
    for number, one in enumerate(reports):
        if number:
            print()
        _print_report(one)


def _print_report(one: Report) -> None:
    seen = one.seen
    name = f"{one.subject}  {one.platform}" if one.platform else one.subject
    looked = f"{seen.modules:,} modules and {seen.libraries:,} libraries of {seen.distributions:,} distributions"
    print(f"{name}: {looked}, {seen.files:,} files")
    shown, hidden = _choose(one.findings)
    for finding, following in zip(shown, (*shown[1:], None), strict=False):
        _print_finding(finding, with_remedy=following is None or following.remedy != finding.remedy)
    for (severity, rule, owner), count in hidden.items():
        print(f"  {severity.value:<8}{rule:<19}{count} more like these{f' [{owner}]' if owner else ''}; --json shows all")
    counts = [f"{count} {severity.value}{'' if count == 1 else 's'}" for severity in SEVERITIES if (count := one.count(severity))]
    ignored = f" ({one.ignored} ignored)" if one.ignored else ""
    print(f"  {', '.join(counts) or 'nothing found'}{ignored}")


def _choose(findings: Sequence[Finding]) -> tuple[list[Finding], dict[tuple[Severity, str, str], int]]:
    """What is shown, and how many of a kind and owner are not: a package with a hundred plugins has a hundred warnings."""
    counts: dict[tuple[Severity, str, str], int] = {}
    shown = []
    for finding in findings:
        key = (finding.severity, finding.rule, finding.owner)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= _SHOWN or finding.severity is Severity.ERROR:
            shown.append(finding)
    return shown, {key: count - _SHOWN for key, count in counts.items() if count > _SHOWN and key[0] is not Severity.ERROR}


def _print_finding(finding: Finding, *, with_remedy: bool) -> None:
    """One remedy for several findings in a row stands under the last of them."""
    owner = f" [{finding.owner}]" if finding.owner and finding.owner not in finding.what else ""
    _print_wrapped(f"  {finding.severity.value:<8}{finding.rule:<19}", f"{finding.what}{owner}")
    if finding.where:
        print(f"{'':29}in {finding.where[0]}{f' and {len(finding.where) - 1} more' if len(finding.where) > 1 else ''}")
    if finding.remedy and with_remedy:
        _print_wrapped(f"{'':29}try: ", finding.remedy)


def _print_wrapped(head: str, text: str) -> None:
    """On as many lines as the terminal needs; in a pipe, on one."""
    width = shutil.get_terminal_size((0, 0)).columns if sys.stdout.isatty() else 0
    if width < 80:
        print(head + text)
        return
    print(textwrap.fill(text, width, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False))


def render_reports(reports: Sequence[Report]) -> dict[str, Any]:
    """The document of ``check --json``."""
    return {"schema": CHECK_SCHEMA, "reports": [_render_report(one) for one in reports]}


def _render_report(one: Report) -> dict[str, Any]:
    return {
        "subject": one.subject,
        "platform": str(one.platform) if one.platform else None,
        "release": one.release or None,
        "seen": {
            "files": one.seen.files,
            "libraries": one.seen.libraries,
            "modules": one.seen.modules,
            "distributions": one.seen.distributions,
        },
        "ignored": one.ignored,
        "counts": {severity.value: one.count(severity) for severity in SEVERITIES},
        "findings": [_render_finding(finding) for finding in one.findings],
    }


def _render_finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "subject": finding.subject,
        "what": finding.what,
        "where": list(finding.where),
        "owner": finding.owner or None,
        "remedy": finding.remedy or None,
        "fix": {
            "system_packages": list(finding.fix.system_packages),
            "replacements": dict(finding.fix.replacements),
        }
        if finding.fix
        else None,
    }
