"""`wherry check`: what would break in an image, an environment or a wheel, found without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wherry.check.rules import RULES, parse_ignored
from wherry.cli import check_report as report
from wherry.cli.check_options import (
    Explain,
    Files,
    Host,
    Html,
    Ignore,
    MaxLayer,
    Offline,
    Rebuild,
    SizeBudget,
    Slim,
    Strict,
    Subject,
    Twins,
    Verbose,
    VerifyKey,
    WithFix,
    parse_limits,
)
from wherry.cli.check_target import Cuda, Dlls, read_target_gpu
from wherry.cli.epilog import render_examples
from wherry.cli.examination import Examination, Wishes, examine_subject, is_project, tell_examination
from wherry.cli.options import AsJson, PlainHttp, parse_platforms, platform_option
from wherry.cli.talk import print_json, say
from wherry.errors import CheckError, UsageError
from wherry.model.platform import Platform
from wherry.model.report import Severity

EXAMPLES = render_examples(
    ("wherry check", "this project's image"),
    ("wherry check ghcr.io/you/anomaly:7", "anybody's, in a registry"),
    ("wherry check anomaly.tar", "what docker save wrote"),
    ("wherry check .venv", "an environment on this machine"),
    ("wherry check dist/*.whl", "a wheel"),
    ("wherry check --ignore root-user", "seen, and accepted"),
    ("wherry check --size-budget 300MB --slim", "how large, and what could go"),
    ("wherry check --html report.html", "a page to pass on"),
    ("wherry check --rebuild", "built again, and compared"),
    ("wherry check --twins", "here, in the image, in a notebook"),
    ("wherry check REF --verify-key key.pub", "who signed it"),
    ("wherry check --host", "this machine"),
    ("wherry check --explain symbol-version", "what a rule means"),
)


def register(app: typer.Typer) -> None:
    app.command("check", epilog=EXAMPLES)(check_subject)


def check_subject(
    subject: Subject = None,
    platform: Annotated[list[str] | None, platform_option("Of an image, only this platform")] = None,
    strict: Strict = False,
    files: Files = False,
    fix: WithFix = False,
    rebuild: Rebuild = False,
    twins: Twins = False,
    host: Host = False,
    offline: Offline = False,
    ignore: Ignore = None,
    explain: Explain = None,
    size_budget: SizeBudget = None,
    max_layer: MaxLayer = None,
    slim: Slim = False,
    html: Html = None,
    verbose: Verbose = False,
    verify_key: VerifyKey = None,
    cuda: Cuda = None,
    dlls: Dlls = None,
    plain_http: PlainHttp = False,
    as_json: AsJson = False,
) -> None:
    """Find what would break in an image, an environment or a wheel, without running it.

    Without SUBJECT: the image of the project in this folder. Ends with 20 when there are errors.
    """
    if explain is not None:
        _explain(explain, as_json)
        return
    others = bool(files or fix or size_budget or max_layer or slim or html)
    platforms = parse_platforms(platform)
    if host:
        _refuse(others or rebuild or strict or bool(ignore or verify_key), "--host", "it looks at this machine alone")
        _check_host(Path(subject or "."), offline=offline, plain_http=plain_http, as_json=as_json)
    elif twins:
        _refuse(others or rebuild or strict or bool(ignore or verify_key or platform), "--twins", "it compares with the lock alone")
        _check_twins(subject, offline=offline, as_json=as_json)
    elif rebuild:
        _refuse(others or strict or bool(ignore or verify_key), "--rebuild", "it compares digests and nothing else")
        _rebuild(subject, platforms, offline=offline, plain_http=plain_http, as_json=as_json)
    elif verify_key:
        _refuse(others or bool(ignore), "--verify-key", "it verifies signatures and nothing else")
        _verify(subject, verify_key, platforms, strict=strict, plain_http=plain_http, as_json=as_json)
    else:
        wishes = Wishes(
            platforms=platforms,
            plain_http=plain_http,
            offline=offline,
            files=files,
            sizes=html is not None,
            slim=slim,
            limits=parse_limits(size_budget, max_layer),
            ignored=parse_ignored(ignore or ()),
            gpu=read_target_gpu(cuda),
            dlls=tuple(dlls or ()),
        )
        _examine(subject, wishes, strict=strict, fix=fix, html=html, verbose=verbose, as_json=as_json)


def _examine(
    subject: str | None, wishes: Wishes, *, strict: bool, fix: bool, html: Path | None, verbose: bool, as_json: bool
) -> None:
    if fix and not is_project(subject):
        raise UsageError("only a project can be mended", where="--fix", hint="its folder, or no SUBJECT at all")
    found = examine_subject(subject, wishes)
    tell_examination(found, as_json=as_json, slim=wishes.slim, verbose=verbose)
    if html is not None:
        _write_page(html, found)
    if not _is_well(Path(subject or "."), found, strict=strict, fix=fix):
        raise typer.Exit(CheckError.exit_code)


def _refuse(others: bool, option: str, what: str) -> None:
    """An option that does something else goes with none of those that say how to check."""
    if others:
        raise UsageError(what, where=option, hint="--files, --fix and others without it")


def _write_page(path: Path, found: Examination) -> None:
    # Only here: it takes a while to import, and most checks are read in a terminal.
    from wherry.cli.check_html import write_report_page

    write_report_page(path, found.reports, found.limits)
    say(f"wrote {path}")


def _is_well(root: Path, found: Examination, *, strict: bool, fix: bool) -> bool:
    grave = (Severity.ERROR, Severity.WARNING) if strict else (Severity.ERROR,)
    if fix:
        # Only here: locking loads a resolver, and all that goes with it.
        from wherry.cli.check_fix import fix_project

        return fix_project(root, found.reports, grave)
    return found.is_well(grave)


def _check_host(root: Path, *, offline: bool, plain_http: bool, as_json: bool) -> None:
    # Only here: engines and an HTTP client, which no check of a known image needs.
    from wherry.cli.check_host import check_machine

    if not check_machine(root, plain_http=plain_http, offline=offline, as_json=as_json):
        raise typer.Exit(CheckError.exit_code)


def _check_twins(subject: str | None, *, offline: bool, as_json: bool) -> None:
    # Only here: it takes what a build takes.
    from wherry.cli.check_twins import tell_twins

    if not tell_twins(subject, offline=offline, as_json=as_json):
        raise typer.Exit(CheckError.exit_code)


def _rebuild(subject: str | None, platforms: tuple[Platform, ...], *, offline: bool, plain_http: bool, as_json: bool) -> None:
    # Only here: it takes all that a build takes.
    from wherry.cli.check_rebuild import prove_rebuild

    if not prove_rebuild(subject, platforms, offline=offline, plain_http=plain_http, as_json=as_json):
        raise typer.Exit(CheckError.exit_code)


def _verify(
    subject: str | None, keys: list[str], platforms: tuple[Platform, ...], *, strict: bool, plain_http: bool, as_json: bool
) -> None:
    # Only here: it loads cryptography and an HTTP client.
    from wherry.cli.check_signatures import verify_signatures

    if not verify_signatures(subject, keys, platforms, strict=strict, plain_http=plain_http, as_json=as_json):
        raise typer.Exit(CheckError.exit_code)


def _explain(rule: str, as_json: bool) -> None:
    if rule not in RULES:
        raise UsageError(f"no rule is called {rule!r}", where="--explain", hint=", ".join(RULES))
    if as_json:
        print_json({"schema": report.CHECK_SCHEMA, "rule": rule, "text": RULES[rule]})
    else:
        print(f"{rule}: {RULES[rule]}")
