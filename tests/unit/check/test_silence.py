"""Findings that a project accepts: set apart with the reason, and what silences nothing is told."""

from __future__ import annotations

import pytest

from wherry.check.silence import find_needless, refuse_unknown, silence_findings
from wherry.errors import DeclarationError
from wherry.model.check_settings import Silence
from wherry.model.report import Finding, Report, Seen, Severity


def finding(rule: str = "setuid", subject: str = "setuid", *where: str, owner: str = "") -> Finding:
    return Finding(rule=rule, severity=Severity.NOTE, subject=subject, what="it is so", where=where, owner=owner)


def report(*findings: Finding) -> Report:
    return Report(subject="tiny", platform=None, findings=findings, seen=Seen())


@pytest.mark.parametrize(
    ("where", "silenced"),
    [
        ("", True),
        ("/usr/bin/*", True),
        ("usr/*", True),
        ("opencv*", True),
        ("libGL.so.?", True),
        ("*/other", False),
        ("/usr", False),
    ],
)
def test_where_is_a_glob_over_files_subject_and_owner(where: str, silenced: bool) -> None:
    one = report(finding("missing-library", "libGL.so.1", "/usr/bin/deep/er", owner="opencv-python 4.1"))
    done = silence_findings(one, [Silence(rule="missing-library", reason="tried it", where=where)])
    assert bool(done.silenced) is silenced
    assert len(done.findings) + len(done.silenced) == 1


def test_the_first_that_suits_gives_the_reason() -> None:
    silences = (Silence(rule="setuid", reason="a", where="/nowhere"), Silence(rule="setuid", reason="b"))
    done = silence_findings(report(finding(), finding("root-user", "root")), silences)
    assert [one.silence.reason for one in done.silenced] == ["b"]
    assert [one.rule for one in done.findings] == ["root-user"]


def test_what_silences_nothing_is_told_once_for_all_platforms() -> None:
    silences = (Silence(rule="setuid", reason="a"), Silence(rule="root-user", reason="b"))
    reports = [silence_findings(report(*found), silences) for found in ((finding(),), ())]
    assert find_needless(reports, silences) == (silences[1],)


def test_a_rule_that_nobody_knows_is_refused() -> None:
    refuse_unknown([Silence(rule="setuid", reason="a")])
    with pytest.raises(DeclarationError, match="no rule is called 'set-uid'"):
        refuse_unknown([Silence(rule="set-uid", reason="a")])
