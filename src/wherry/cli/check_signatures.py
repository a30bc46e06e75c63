"""`wherry check --verify-key`: who signed an image of a registry, and what they attest of it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from wherry.check.signatures import Verdict, Verified, judge_signatures
from wherry.cli.check_report import print_findings, render_reports
from wherry.cli.pull import names_a_registry
from wherry.cli.signing_options import open_verifying_keys
from wherry.cli.talk import print_json, print_table, show
from wherry.errors import UsageError
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.model.report import Severity
from wherry.sources.attached_signatures import read_signed
from wherry.sources.registries import access_registries
from wherry.store.places import cache_path


def verify_signatures(
    subject: str | None, keys: Sequence[str], platforms: tuple[Platform, ...], *, strict: bool, plain_http: bool, as_json: bool
) -> bool:
    """Whether one of the keys signed the image; told on stdout."""
    if subject is None or not names_a_registry(subject):
        raise UsageError("signatures lie in a registry", where="--verify-key", hint="wherry check REGISTRY/NAME:TAG --verify-key …")
    trusted, reference = open_verifying_keys(keys), Reference.parse(subject)
    access = access_registries(os.environ, cache=cache_path(os.environ), plain_http=plain_http)
    try:
        verdict = judge_signatures(read_signed(access, reference, platforms), trusted)
    finally:
        access.close()
    if as_json:
        print_json({**render_reports((verdict.report,)), "verified": [_render(one) for one in verdict.verified]})
    else:
        _print(verdict)
    grave = (Severity.ERROR, Severity.WARNING) if strict else (Severity.ERROR,)
    return not any(verdict.report.count(severity) for severity in grave)


def _print(verdict: Verdict) -> None:
    show(f"{verdict.report.subject}: {verdict.digest}")
    if verdict.verified:
        print_table([(_name(one), _describe(one), f"by {one.key}") for one in verdict.verified], indent="  ")
    print_findings(verdict.report)


def _name(one: Verified) -> str:
    return str(one.manifest.platform or "the image")


def _describe(one: Verified) -> str:
    return "signed" if one.predicate is None else f"attested {one.predicate}"


def _render(one: Verified) -> dict[str, object]:
    platform = one.manifest.platform
    return {
        "manifest": str(one.manifest.digest),
        "platform": str(platform) if platform else None,
        "predicate": one.predicate,
        "key": one.key,
    }
