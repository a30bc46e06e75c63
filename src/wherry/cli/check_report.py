"""How findings are shown to people, the gravest first, and as a document for programs."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from wherry.cli.talk import format_size, print_table, show
from wherry.model.check_settings import Silence
from wherry.model.report import SEVERITIES, Finding, Report, Severity
from wherry.model.sizes import LayerSize, OwnerSize, Saving, Sizes
from wherry.model.visible_text import make_visible

CHECK_SCHEMA = 1
_SHOWN = 4  # warnings or notes of one kind from one distribution


def print_reports(reports: Sequence[Report], *, slim: bool = False, verbose: bool = False) -> None:
    """With `slim` also what could go, as a table; with `verbose` also what is silenced, and why."""
    for number, one in enumerate(reports):
        if number:
            print()
        _print_report(one, verbose=verbose)
        if slim and one.sizes:
            _print_savings(one.sizes)


def _print_report(one: Report, *, verbose: bool) -> None:
    seen = one.seen
    name = f"{one.subject}  {one.platform}" if one.platform else one.subject
    looked = f"{seen.modules:,} modules and {seen.libraries:,} libraries of {seen.distributions:,} distributions"
    show(f"{name}: {looked}, {seen.files:,} files")
    print_findings(one, verbose=verbose)


def print_findings(one: Report, *, verbose: bool = False) -> None:
    """The findings of a report and how many they are, below whatever was said of its subject."""
    shown, hidden = _choose(one.findings)
    for finding, following in zip(shown, (*shown[1:], None), strict=False):
        _print_finding(finding, with_remedy=following is None or following.remedy != finding.remedy)
    for (severity, rule, owner), count in hidden.items():
        show(f"  {severity.value:<8}{rule:<19}{count} more like these{f' [{owner}]' if owner else ''}; --json shows all")
    for silenced in one.silenced if verbose else ():
        _print_wrapped(f"  {'silent':<8}{silenced.finding.rule:<19}", silenced.finding.what)
        _print_wrapped(f"{'':29}why: ", silenced.silence.reason)
    counts = [f"{count} {severity.value}{'' if count == 1 else 's'}" for severity in SEVERITIES if (count := one.count(severity))]
    apart = [f"{count} {word}" for count, word in ((one.ignored, "ignored"), (len(one.silenced), "silenced")) if count]
    besides = f" ({', '.join(apart)})" if apart else ""
    print(f"  {', '.join(counts) or 'nothing found'}{besides}")


def _print_savings(sizes: Sizes) -> None:
    about = "about " if sizes.layers else ""
    print("\n  what could go, and what that saves")
    rows = [
        (
            saving.kind,
            f"{saving.files:,} files",
            f"{format_size(saving.content)} on disk",
            f"{about}{format_size(saving.stored)} to move" if sizes.layers else "",
            ", ".join(f"{part.owner} {format_size(part.content)}" for part in saving.parts[:3]),
        )
        for saving in sizes.savings
    ]
    print_table(rows or [("nothing that wherry knows of",)], indent="  ")


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
        show(f"{'':29}in {finding.where[0]}{f' and {len(finding.where) - 1} more' if len(finding.where) > 1 else ''}")
    if finding.remedy and with_remedy:
        _print_wrapped(f"{'':29}try: ", finding.remedy)


def _print_wrapped(head: str, text: str) -> None:
    """On as many lines as the terminal needs; in a pipe, on one."""
    width = shutil.get_terminal_size((0, 0)).columns if sys.stdout.isatty() else 0
    if width < 80:
        show(head + text)
        return
    print(textwrap.fill(make_visible(text), width, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False))


def render_reports(reports: Sequence[Report], needless: Sequence[Silence] = ()) -> dict[str, Any]:
    """The document of ``check --json`` (docs/spec/check-report.md). `needless` are silences that nothing answers to."""
    return {
        "schema": CHECK_SCHEMA,
        "reports": [_render_report(one) for one in reports],
        "needless_silences": [_render_silence(one) for one in needless],
    }


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
        "silenced": [_render_finding(each.finding) | {"silence": _render_silence(each.silence)} for each in one.silenced],
        "sizes": _render_sizes(one.sizes) if one.sizes else None,
    }


def _render_silence(silence: Silence) -> dict[str, Any]:
    return {"rule": silence.rule, "where": silence.where or None, "reason": silence.reason}


def _render_sizes(sizes: Sizes) -> dict[str, Any]:
    return {
        "stored": sizes.stored if sizes.layers else None,
        "content": sizes.content,
        "layers": [
            {"name": one.name, "kind": one.kind, "diff_id": str(one.diff_id), **_render_bytes(one, stored=True)}
            for one in sizes.layers
        ],
        "owners": [
            {
                "name": one.name,
                "kind": one.kind.value,
                "within": one.within,
                "also": list(one.also),
                **_render_bytes(one, stored=bool(sizes.layers)),
            }
            for one in sizes.owners
        ],
        "savings": [
            {
                "kind": one.kind,
                "owners": {part.owner: part.content for part in one.parts},
                **_render_bytes(one, stored=bool(sizes.layers)),
            }
            for one in sizes.savings
        ],
    }


def _render_bytes(one: LayerSize | OwnerSize | Saving, *, stored: bool) -> dict[str, Any]:
    return {"files": one.files, "content": one.content, "stored": one.stored if stored else None}


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
