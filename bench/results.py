"""Figures, the file they are kept in (one JSON object a line), and the table that shows them.

A figure is the median of `n` runs, with the least and the greatest. A new run of a case replaces all that the file had
of that case. A subject that could not be measured has one line with the metric ``not run``, no value and a reason.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

NOT_RUN = "not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the file, without what all lines share."""

    case: str
    subject: str
    metric: str
    value: float | None
    unit: str
    n: int = 1
    least: float | None = None
    greatest: float | None = None
    reason: str = ""


def figure(case: str, subject: str, metric: str, values: Sequence[float], unit: str) -> Figure:
    """The median of some runs' values."""
    return Figure(
        case=case,
        subject=subject,
        metric=metric,
        value=round(statistics.median(values), 4),
        unit=unit,
        n=len(values),
        least=round(min(values), 4),
        greatest=round(max(values), 4),
    )


def ratio(case: str, metric: str, upper: Sequence[float], lower: Sequence[float], subject: str = "wherry") -> Figure:
    """Median over median; the range pairs the runs by their order, as they were taken in turn."""
    pairs = [above / below for above, below in zip(upper, lower, strict=False)]
    value = statistics.median(upper) / statistics.median(lower)
    return Figure(
        case=case,
        subject=subject,
        metric=metric,
        value=round(value, 4),
        unit="ratio",
        n=len(pairs),
        least=round(min(*pairs, value), 4),
        greatest=round(max(*pairs, value), 4),
    )


def not_run(case: str, subject: str, reason: str) -> Figure:
    return Figure(case=case, subject=subject, metric=NOT_RUN, value=None, unit="", n=0, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a figure of wherry is to reach: at most, or at least, `limit`."""

    metric: str
    limit: float
    at_least: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(slots=True)
class Results:
    """The file of all figures; `commit` and `host` go on every line."""

    path: Path
    commit: str
    host: Mapping[str, Any]

    def replace_case(self, bench: str, case: str, figures: Iterable[Figure]) -> None:
        """Put in the figures of a case, in place of what the file has of it; the file is never half written."""
        kept = [line for line in self._lines() if not self._is_of(line, bench, case)]
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        added = [json.dumps(self._render(bench, figure, when), ensure_ascii=False) for figure in figures]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        beside.write_text("".join(f"{line}\n" for line in [*kept, *added]))
        beside.replace(self.path)

    def _lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    @staticmethod
    def _is_of(line: str, bench: str, case: str) -> bool:
        try:
            value = json.loads(line)
        except ValueError:
            return True  # a damaged line says nothing: it goes
        return (value.get("bench"), value.get("case")) == (bench, case)

    def _render(self, bench: str, figure: Figure, when: str) -> dict[str, Any]:
        line: dict[str, Any] = {
            "bench": bench,
            "case": figure.case,
            "subject": figure.subject,
            "metric": figure.metric,
            "value": figure.value,
            "unit": figure.unit,
            "n": figure.n,
            "min": figure.least,
            "max": figure.greatest,
        }
        if figure.reason:
            line["reason"] = figure.reason
        return {**line, "commit": self.commit, "host": dict(self.host), "when": when}


def describe_commit(root: Path, asked: str | None = None) -> str:
    """The commit that is measured; for the working tree with ``+`` when files of the product differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=False).stdout.strip()

    commit = git("rev-parse", "--short=12", asked or "HEAD") or "unknown"
    if asked:
        return commit
    return f"{commit}+" if git("status", "--porcelain", "--", "src") else commit


def describe_host() -> dict[str, Any]:
    """What of the machine decides times; nothing that names it."""
    model = memory = ""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
        memory = Path("/proc/meminfo").read_text().split()[1]
    except OSError:
        pass
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(int(memory or 0) / 1e6),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def print_case(case: str, title: str, figures: Sequence[Figure], targets: Sequence[Target]) -> None:
    """One table a case: a row a subject and metric, with the target where there is one."""
    table = Table(title=f"{case}: {title}", title_justify="left", header_style="bold")
    for name in ("subject", "metric"):
        table.add_column(name)
    for name in ("median", "min", "max", "n", "target"):
        table.add_column(name, justify="right")
    table.add_column("")
    wanted = {target.metric: target for target in targets}
    former = ""
    for one in figures:
        target = wanted.get(one.metric) if one.subject == "wherry" else None
        name, former = ("" if one.subject == former else one.subject), one.subject
        if one.value is None:
            table.add_row(name, escape(f"{NOT_RUN}: {one.reason}"))
            continue
        verdict = "" if target is None else "met" if target.is_met(one.value) else "[bold red]missed[/]"
        shown = [_show(value, one.unit) for value in (one.value, one.least, one.greatest)]
        table.add_row(name, one.metric, *shown, str(one.n), str(target or ""), verdict)
    Console(width=None if os.isatty(1) else 150).print(table)


def _show(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "bytes":
        return f"{value / 1e6:.2f} MB" if value >= 1e5 else f"{value / 1e3:.2f} kB"
    return f"{value:.3f} {unit}" if unit in ("s", "ratio") else f"{value:.1f} {unit}"
