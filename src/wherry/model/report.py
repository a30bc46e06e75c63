"""What a check found: findings of named rules, each with a remedy where one is known."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from wherry.model.check_settings import Silence
from wherry.model.platform import Platform
from wherry.model.sizes import Sizes


class Severity(Enum):
    """`ERROR` blocks an import or a start; `WARNING` only a part that may not be used; `NOTE` is good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


SEVERITIES = tuple(Severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """What in a declaration would mend it: Debian packages to add, requirements to put in the place of others."""

    system_packages: tuple[str, ...] = ()
    replacements: tuple[tuple[str, str], ...] = ()  # names: what is asked for now, what to ask for instead


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`rule` is its name, such as ``missing-library``; `subject` what it is about, such as ``libGL.so.1``.

    `where` are the files that show it, and `owner` is the distribution that they came with, ``name version``, if known.
    `remedy` says what to try; `fix` is the part of it that `wherry check --fix` can write.
    """

    rule: str
    severity: Severity
    subject: str
    what: str
    where: tuple[str, ...] = ()
    owner: str = ""
    remedy: str = ""
    fix: Fix | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Silenced:
    """A finding that the project's author accepts, and what says so."""

    finding: Finding
    silence: Silence


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How much was looked at."""

    files: int = 0
    libraries: int = 0
    modules: int = 0
    distributions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`subject` is what was checked, as its owner calls it; `platform` None where it is for any.

    `release` is the distribution's, such as ``debian:bookworm``; empty where os-release does not tell. `packages` are the names of
    the distribution's packages that are there. `ignored` counts the
    findings that were left out on request; `silenced` are those that wherry.toml accepts. `sizes` are there where somebody asked.
    """

    subject: str
    platform: Platform | None
    findings: tuple[Finding, ...]
    seen: Seen
    release: str = ""
    ignored: int = 0
    silenced: tuple[Silenced, ...] = ()
    sizes: Sizes | None = None
    packages: tuple[str, ...] = ()

    def count(self, severity: Severity) -> int:
        return sum(finding.severity is severity for finding in self.findings)


def order_findings(findings: list[Finding]) -> tuple[Finding, ...]:
    """The gravest first, then by rule and subject: the same findings always in one order."""
    return tuple(sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), one.rule, one.subject, one.where)))
