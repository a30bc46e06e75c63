"""`wherry check`: what would break in an image, an environment or a wheel, found without running anything."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.check.folders import examine_environment, examine_root, is_environment, is_root
from wherry.check.gpu import DeclaredGpu
from wherry.check.images import choose_platforms, describe_stored, examine_archive, examine_image, lacks_layers
from wherry.check.rules import RULES, leave_out, parse_ignored
from wherry.check.silence import find_needless, silence_findings
from wherry.check.size_gates import judge_sizes
from wherry.check.wheel_file import examine_wheel
from wherry.cli import check_report as report
from wherry.cli.base_layers import bring_base_layers
from wherry.cli.check_options import Html, MaxLayer, SizeBudget, Slim, Verbose, VerifyKey, read_settings
from wherry.cli.check_target import Cuda, Dlls, read_target_dlls, read_target_gpu
from wherry.cli.epilog import render_examples
from wherry.cli.options import AsJson, PlainHttp, parse_platforms, platform_option
from wherry.cli.talk import print_json, say, show_progress
from wherry.errors import CheckError, FormatError, StoreError, UsageError, WherryError
from wherry.model.check_settings import Silence, SizeLimits
from wherry.model.lock import Lock
from wherry.model.platform import Platform
from wherry.model.progress import Progress
from wherry.model.reference import Reference
from wherry.model.report import Finding, Report, Severity
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform
from wherry.store.images import read_images
from wherry.store.places import cache_path, store_path

if TYPE_CHECKING:
    from wherry.sources.registries import RegistryAccess

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
    ("wherry check REF --verify-key key.pub", "who signed it"),
    ("wherry check --host", "this machine"),
    ("wherry check --explain symbol-version", "what a rule means"),
)


def register(app: typer.Typer) -> None:
    app.command("check", epilog=EXAMPLES)(check_subject)


def check_subject(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="SUBJECT", help="An image (name, digest, reference, archive), a folder or a wheel.", show_default=False
        ),
    ] = None,
    platform: Annotated[list[str] | None, platform_option("Of an image, only this platform")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    files: Annotated[bool, typer.Option("--files", help="Also hold every file against RECORD, dpkg's lists and the lock.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Of a project: write the remedies into its declaration, and lock.")] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Instead: build the image again from its sources alone, and compare.")
    ] = False,
    host: Annotated[bool, typer.Option("--host", help="Instead: whether this machine can do what wherry asks of it.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nothing of the network but a registry that is named.")] = False,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="RULE[:SUBJECT]", help="Leave out findings; may be given again.")
    ] = None,
    explain: Annotated[str | None, typer.Option(metavar="RULE", help="Say what a rule means, and check nothing.")] = None,
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
    if host:
        if rebuild or files or fix or strict or ignore or size_budget or max_layer or slim or html or verify_key:
            raise UsageError("it looks at this machine alone", where="--host", hint="--files, --fix and others without it")
        _check_host(Path(subject or "."), offline=offline, plain_http=plain_http, as_json=as_json)
        return
    if rebuild:
        if files or fix or strict or ignore or size_budget or max_layer or slim or html:
            raise UsageError("it compares digests and nothing else", where="--rebuild", hint="--files, --fix and others without it")
        _rebuild(subject, parse_platforms(platform), offline=offline, plain_http=plain_http, as_json=as_json)
        return
    if verify_key:
        if files or fix or size_budget or max_layer or slim or html:
            raise UsageError("it verifies signatures and nothing else", where="--verify-key", hint="--files and others without it")
        _verify(subject, verify_key, parse_platforms(platform), strict=strict, plain_http=plain_http, as_json=as_json)
        return
    root, ignored = Path(subject or "."), parse_ignored(ignore or ())
    if fix and (not root.is_dir() or is_environment(root) or is_root(root)):
        raise UsageError("only a project can be mended", where="--fix", hint="its folder, or no SUBJECT at all")
    settings = read_settings(root, size_budget, max_layer)
    measured = slim or html is not None or settings.limits != SizeLimits()
    with show_progress() as progress:
        wishes = _Wishes(
            platforms=parse_platforms(platform),
            plain_http=plain_http,
            files=files,
            measured=measured,
            gpu=read_target_gpu(cuda),
            dlls=tuple(dlls or ()),
            progress=progress,
        )
        reports = tuple(judge_sizes(one, settings.limits, slim=slim) for one in _examine(subject, wishes))
    reports = tuple(silence_findings(leave_out(one, ignored), settings.silences) for one in reports)
    reports = tuple(_find_remedies(one, offline=offline) for one in reports)
    needless = find_needless(reports, settings.silences)
    _tell(reports, needless, as_json=as_json, slim=slim, verbose=verbose)
    if html is not None:
        # Only here: it takes a while to import, and most checks are read in a terminal.
        from wherry.cli.check_html import write_report_page

        write_report_page(html, reports, settings.limits)
        say(f"wrote {html}")
    if not _is_well(root, reports, strict=strict, fix=fix):
        raise typer.Exit(CheckError.exit_code)


def _tell(reports: Sequence[Report], needless: Sequence[Silence], *, as_json: bool, slim: bool, verbose: bool) -> None:
    for one in needless:
        say(f"wherry.toml silences {one.rule}{f' in {one.where}' if one.where else ''}, and there is no such finding")
    if as_json:
        print_json(report.render_reports(reports, needless))
    else:
        report.print_reports(reports, slim=slim, verbose=verbose)


def _is_well(root: Path, reports: Sequence[Report], *, strict: bool, fix: bool) -> bool:
    grave = (Severity.ERROR, Severity.WARNING) if strict else (Severity.ERROR,)
    if fix:
        # Only here: locking loads a resolver, and all that goes with it.
        from wherry.cli.check_fix import fix_project

        return fix_project(root, reports, grave)
    return not any(one.count(severity) for one in reports for severity in grave)


def _find_remedies(one: Report, *, offline: bool) -> Report:
    """Debian's index is asked only where it may help, and is no reason to fail."""
    if not one.findings:
        return one
    # Only here: most images are well, and reading an archive loads an HTTP client.
    from wherry.check.remedies import add_remedies, lacks_package, read_library_packages
    from wherry.remedy_prices import has_prices, price_remedies, read_package_index

    cache = cache_path(os.environ)
    packages: Mapping[str, tuple[str, ...]] = {}
    try:
        if lacks_package(one):
            packages = read_library_packages(one, os.environ, cache, offline=offline)
        remedied = add_remedies(one, packages)
        index = read_package_index(one, os.environ, cache, offline=offline) if has_prices(remedied, packages) else None
        return price_remedies(remedied, packages, index) if index else remedied
    except WherryError as error:
        say(f"no remedies, or no prices, out of Debian's index: {error.what}")
        return add_remedies(one, packages)


def _check_host(root: Path, *, offline: bool, plain_http: bool, as_json: bool) -> None:
    # Only here: engines and an HTTP client, which no check of a known image needs.
    from wherry.cli.check_host import check_host

    if not check_host(root, plain_http=plain_http, offline=offline, as_json=as_json):
        raise typer.Exit(CheckError.exit_code)


def _rebuild(subject: str | None, platforms: tuple[Platform, ...], *, offline: bool, plain_http: bool, as_json: bool) -> None:
    # Only here: it takes all that a build takes.
    from wherry.cli.check_rebuild import check_rebuild

    if not check_rebuild(subject, platforms, offline=offline, plain_http=plain_http, as_json=as_json):
        raise typer.Exit(CheckError.exit_code)


def _verify(
    subject: str | None, keys: list[str], platforms: tuple[Platform, ...], *, strict: bool, plain_http: bool, as_json: bool
) -> None:
    # Only here: it loads cryptography and an HTTP client.
    from wherry.cli.check_signatures import check_signatures

    if not check_signatures(subject, keys, platforms, strict=strict, plain_http=plain_http, as_json=as_json):
        raise typer.Exit(CheckError.exit_code)


def _explain(rule: str, as_json: bool) -> None:
    if rule not in RULES:
        raise UsageError(f"no rule is called {rule!r}", where="--explain", hint=", ".join(RULES))
    if as_json:
        print_json({"schema": report.CHECK_SCHEMA, "rule": rule, "text": RULES[rule]})
    else:
        print(f"{rule}: {RULES[rule]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wishes:
    platforms: tuple[Platform, ...]
    plain_http: bool
    files: bool
    measured: bool
    gpu: DeclaredGpu | None
    dlls: tuple[str, ...]
    progress: Progress


def _examine(text: str | None, wishes: _Wishes) -> tuple[Report, ...]:
    path = Path(text or ".")
    if text is not None and path.is_file():
        if path.suffix == ".whl":
            return (examine_wheel(path, read_target_dlls(wishes.dlls, wishes.progress, plain_http=wishes.plain_http)),)
        cache = cache_path(os.environ)
        return examine_archive(
            path, wishes.platforms, cache, wishes.progress, files=wishes.files, measured=wishes.measured, gpu=wishes.gpu
        )
    if text is not None and path.is_dir():
        if is_environment(path):
            return (examine_environment(path, files=wishes.files, measured=wishes.measured),)
        if is_root(path):
            return (examine_root(path, files=wishes.files, measured=wishes.measured),)
    lock = None
    if path.is_dir():
        # Only here, as below: reading a declaration, and an HTTP client, take longer to import than a known image to check.
        from wherry.declare.project import read_declaration
        from wherry.lock.storage import read_lock

        declared = read_declaration(path, os.environ)
        text, lock = declared.name, read_lock(path)
        wishes = replace(wishes, gpu=wishes.gpu or DeclaredGpu(cuda=declared.cuda))
    assert text is not None  # noqa: S101 - without an argument it is this folder
    return _examine_image(text, wishes, lock)


def _examine_image(text: str, wishes: _Wishes, lock: Lock | None) -> tuple[Report, ...]:
    """From the store; what it does not know and has a registry's host in its name, from there."""
    store, cache = DiskStore(store_path(os.environ)), cache_path(os.environ)
    try:
        descriptor = store.resolve(text)
    except StoreError:
        from wherry.cli.pull import names_a_registry

        if not names_a_registry(text):
            raise
        return _examine_remote(Reference.parse(text), wishes)
    images = choose_platforms([(text, image) for image in read_images(store, descriptor)], wishes.platforms, text)
    bring_base_layers(store, [image for _, image in images if wishes.files or lacks_layers(store, image, cache)])
    locked = {each.platform: each for each in lock.platforms} if lock else {}
    return tuple(
        examine_image(
            describe_stored(store, image, name),
            cache,
            wishes.progress,
            files=wishes.files,
            locked=locked.get(image.platform),
            measured=wishes.measured,
            gpu=wishes.gpu,
        )
        for name, image in images
    )


def _examine_remote(reference: Reference, wishes: _Wishes) -> tuple[Report, ...]:
    from wherry.check.remote import describe_remote
    from wherry.sources.registries import access_registries

    say(f"reading {reference}")
    cache = cache_path(os.environ)
    access = access_registries(os.environ, cache=cache, plain_http=wishes.plain_http)
    try:
        subjects = [describe_remote(access, reference, each) for each in wishes.platforms or (read_host_platform(),)]
        reports = tuple(
            examine_image(subject, cache, wishes.progress, files=wishes.files, measured=wishes.measured, gpu=wishes.gpu)
            for subject in subjects
        )
        return tuple(replace(one, findings=(*one.findings, *_note_signatures(access, reference))) for one in reports)
    finally:
        access.close()


def _note_signatures(access: RegistryAccess, reference: Reference) -> tuple[Finding, ...]:
    """That there are signatures, which a check without a key does not look at."""
    from wherry.check.signatures import note_unverified
    from wherry.sources.attached_signatures import count_attachments

    try:
        count = count_attachments(access, reference)
    except FormatError as error:
        say(f"what lies beside the image as signatures cannot be read: {error.what}")
        return ()
    return (note_unverified(count),) if count else ()
