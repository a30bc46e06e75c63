"""`wherry check --html`: the report as one page for a browser, for those who decide what goes and did not build the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from wherry.check.rules import RULES
from wherry.cli.check_html_sizes import render_savings, render_sizes
from wherry.cli.page_parts import count_of, name_of, render_figures, render_table, write_page
from wherry.cli.talk import format_size
from wherry.formats.html_page import Html, join, tag
from wherry.model.check_settings import SizeLimits
from wherry.model.report import SEVERITIES, Finding, Report, Severity, Silenced
from wherry.model.sizes import Sizes

_SHOWN = 4  # findings of one kind; the rest is folded away
_MEANS = {
    Severity.ERROR: "an import fails, Python does not start, or a limit is exceeded",
    Severity.WARNING: "a part fails that may not be used, or something that should be looked at",
    Severity.NOTE: "good to know",
}


def write_report_page(path: Path, reports: Sequence[Report], limits: SizeLimits) -> None:
    """All reports in one file, one after the other."""
    subject = reports[0].subject if reports else "nothing"
    parts: list[Html] = []
    if len(reports) > 1:
        links = (tag("li", tag("a", _title(one), href=f"#r{number}")) for number, one in enumerate(reports))
        parts.append(tag("nav", tag("ul", *links), aria_label="Platforms"))
    parts += (_render_report(one, f"r{number}", limits) for number, one in enumerate(reports))
    write_page(path, f"{subject}: wherry check", parts, command="wherry check --html")


def _title(report: Report) -> str:
    return f"{report.subject} {report.platform}" if report.platform else report.subject


def _render_report(report: Report, at: str, limits: SizeLimits) -> Html:
    platform = tag("small", f" {report.platform}") if report.platform else ""
    return tag(
        "section",
        tag("h1", name_of(report.subject), platform, id=at),
        tag("p", *_tell_verdict(report), class_="verdict"),
        render_figures(_figures(report, limits)),
        *_render_findings(report, at),
        *(render_savings(report.sizes) if report.sizes else ()),
        *(render_sizes(report.sizes, at, limits) if report.sizes else ()),
        *_render_silenced(report.silenced),
    )


def _tell_verdict(report: Report) -> Iterator[str]:
    counts = [(severity, count) for severity in SEVERITIES if (count := report.count(severity))]
    if not counts:
        yield tag("span", "Nothing found.", class_="good")
    for number, (severity, count) in enumerate(counts):
        yield ", " if number else ""
        yield tag("span", count_of(count, severity.value), class_=severity.value)
    if report.ignored:
        yield f" ({report.ignored} ignored)"


def _figures(report: Report, limits: SizeLimits) -> Iterator[tuple[str, str, str]]:
    sizes, seen = report.sizes, report.seen
    if sizes:
        budget = _tell_budget(sizes, limits.budget) if limits.budget else ""
        if sizes.layers:
            yield "to pull", format_size(sizes.stored), budget
        yield "on disk", format_size(sizes.content), "" if sizes.layers else budget
        saved = sum(sizes.weigh(one) for one in sizes.savings)
        share = f"{100 * saved / sizes.weight:.0f} % of it" if sizes.weight else ""
        yield "could go", f"{'≈ ' if sizes.layers and saved else ''}{format_size(saved)}", share if saved else ""
    yield "looked at", f"{seen.files:,}", f"files, {seen.libraries:,} of them libraries"
    yield "distributions", f"{seen.distributions:,}", count_of(seen.modules, "compiled module")


def _tell_budget(sizes: Sizes, budget: int) -> str:
    over = sizes.weight - budget
    if over > 0:
        return tag("span", f"{format_size(over)} over the budget of {format_size(budget)}", class_="error")
    return f"within the budget of {format_size(budget)}"


def _render_findings(report: Report, at: str) -> Iterator[Html]:
    if report.findings:
        yield tag("h2", "Findings")
    for severity in SEVERITIES:
        found = [one for one in report.findings if one.severity is severity]
        if not found:
            continue
        yield tag(
            "h3",
            tag("span", count_of(len(found), severity.value), class_=severity.value),
            tag("span", f": {_MEANS[severity]}", class_="quiet"),
            id=f"{at}-{severity.value}",
        )
        for _, alike in groupby(found, key=lambda one: (one.rule, one.owner, one.remedy)):
            yield _render_alike(list(alike))


def _render_alike(findings: Sequence[Finding]) -> Html:
    """Findings of one rule about one package with one remedy: that, and what the rule means, stand once beneath them."""
    first, hidden = findings[0], findings[_SHOWN:]
    more = tag("details", tag("summary", f"{len(hidden)} more like these"), *map(_render_finding, hidden)) if hidden else ""
    owner = join((" · ", name_of(first.owner))) if first.owner else ""
    return tag(
        "article",
        *map(_render_finding, findings[:_SHOWN]),
        more,
        tag("p", first.remedy, class_="try") if first.remedy else "",
        tag("p", tag("code", first.rule), owner, class_="from"),
        tag("details", tag("summary", "what this means"), tag("p", RULES.get(first.rule, ""))),
        class_=first.severity.value,
    )


def _render_finding(finding: Finding) -> Html:
    return tag("div", tag("p", name_of(finding.what), class_="what"), _render_files(finding.where))


def _render_files(where: Sequence[str]) -> Html:
    if not where:
        return Html()
    files = tag("ul", *(tag("li", tag("code", name_of(path))) for path in where[:200]))
    more = f" (the first 200 of {len(where):,})" if len(where) > 200 else ""
    return tag("details", tag("summary", f"in {count_of(len(where), 'file')}{more}"), files)


def _render_silenced(silenced: Sequence[Silenced]) -> Iterator[Html]:
    if not silenced:
        return
    yield tag("h2", "Accepted")
    rows = (
        tag("tr", tag("th", name_of(one.finding.what), scope="row"), tag("td", name_of(one.silence.reason))) for one in silenced
    )
    yield render_table("Findings that wherry.toml silences, with its reasons", ("what", "why it is accepted"), rows)
