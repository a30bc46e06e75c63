"""Takes findings out of a report that the project's author accepts, each with the reason that wherry.toml gives.

A silenced finding stays in the report, apart. A silence that no finding answers to is told: what it was for is gone, or it has a
mistake in it. `where` is a glob in which ``*`` also means folders; it is held against files, the subject and the owner.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from wherry.check.rules import RULES
from wherry.errors import DeclarationError
from wherry.model.check_settings import Silence
from wherry.model.report import Finding, Report, Silenced


def refuse_unknown(silences: Iterable[Silence]) -> None:
    """A rule that nobody knows silences nothing, and its author should hear of that."""
    for number, one in enumerate(silences):
        if one.rule not in RULES:
            hint = "wherry check --explain RULE; docs/reference/check-rules.md has them all"
            raise DeclarationError(f"no rule is called {one.rule!r}", where=f"wherry.toml: check.ignore[{number}]", hint=hint)


def silence_findings(report: Report, silences: Sequence[Silence]) -> Report:
    """The report with the accepted findings set apart; the first silence that suits gives the reason."""
    kept, set_apart = [], []
    for finding in report.findings:
        answer = next((one for one in silences if _suits(one, finding)), None)
        if answer:
            set_apart.append(Silenced(finding=finding, silence=answer))
        else:
            kept.append(finding)
    return replace(report, findings=tuple(kept), silenced=(*report.silenced, *set_apart))


def find_needless(reports: Iterable[Report], silences: Iterable[Silence]) -> tuple[Silence, ...]:
    """The silences that no finding of any report answers to."""
    used = {one.silence for report in reports for one in report.silenced}
    return tuple(one for one in silences if one not in used)


def _suits(silence: Silence, finding: Finding) -> bool:
    if silence.rule != finding.rule:
        return False
    texts = (*finding.where, *(path.lstrip("/") for path in finding.where), finding.subject, finding.owner)
    return not silence.where or any(fnmatchcase(text, silence.where) for text in texts)
