"""What `wherry check` does, without the command line's machinery: look at a subject, judge, set apart, find remedies, tell.

A known image without options comes straight here (`quick_check`); everything else by way of `check`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.check.folders import examine_environment, examine_root, is_environment, is_root
from wherry.check.gpu import DeclaredGpu
from wherry.check.images import choose_platforms, describe_stored, examine_archive, examine_image, lacks_layers
from wherry.check.rules import leave_out
from wherry.check.silence import find_needless, refuse_unknown, silence_findings
from wherry.check.size_gates import judge_sizes
from wherry.cli import check_report as report
from wherry.cli.base_layers import bring_base_layers
from wherry.cli.talk import print_json, say, show_progress
from wherry.errors import FormatError, StoreError, TransferError, WherryError
from wherry.model.check_settings import CheckSettings, Silence, SizeLimits
from wherry.model.lock import Lock
from wherry.model.platform import Platform
from wherry.model.progress import Progress, be_silent
from wherry.model.reference import Reference
from wherry.model.report import Finding, Report, Severity
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform
from wherry.store.images import read_images
from wherry.store.places import cache_path, store_path

if TYPE_CHECKING:
    from wherry.sources.registries import RegistryAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was asked for. `limits` are the command line's, which win over the project's; with `sizes` they are always measured."""

    platforms: tuple[Platform, ...] = ()
    plain_http: bool = False
    offline: bool = False
    files: bool = False
    sizes: bool = False
    slim: bool = False
    limits: SizeLimits = field(default_factory=SizeLimits)
    ignored: frozenset[tuple[str, str]] = frozenset()
    gpu: DeclaredGpu | None = None
    dlls: tuple[str, ...] = ()
    progress: Progress = be_silent

    @property
    def measured(self) -> bool:
        return self.sizes or self.slim or self.limits != SizeLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """`needless` are silences that nothing answers to; `limits` those that counted."""

    reports: tuple[Report, ...]
    needless: tuple[Silence, ...]
    limits: SizeLimits

    def is_well(self, grave: Sequence[Severity]) -> bool:
        return not any(one.count(severity) for one in self.reports for severity in grave)


def is_project(text: str | None) -> bool:
    """Whether a subject means the image of the project in a folder; none at all is the folder here."""
    path = Path(text or ".")
    return path.is_dir() and (text is None or not (is_environment(path) or is_root(path)))


def examine_subject(text: str | None, wishes: Wishes) -> Examination:
    """Look, judge by all rules, set apart what is accepted, and say what helps against the rest."""
    settings = CheckSettings()
    with show_progress() as progress:
        wishes = replace(wishes, progress=progress)
        if is_project(text):
            root = Path(text or ".")
            text, wishes, settings, lock = _open_project(root, wishes)
            reports = _note_stamps(root, text, _examine_image(text, wishes, lock))
        else:
            reports = _examine(str(text), wishes)
    reports = tuple(judge_sizes(one, wishes.limits, slim=wishes.slim) for one in reports)
    reports = tuple(silence_findings(leave_out(one, wishes.ignored), settings.silences) for one in reports)
    reports = tuple(_find_remedies(one, offline=wishes.offline) for one in reports)
    return Examination(reports=reports, needless=find_needless(reports, settings.silences), limits=wishes.limits)


def tell_examination(found: Examination, *, as_json: bool, slim: bool = False, verbose: bool = False) -> None:
    """Print the reports, or the document for programs."""
    for one in found.needless:
        say(f"wherry.toml silences {one.rule}{f' in {one.where}' if one.where else ''}, and there is no such finding")
    if as_json:
        print_json(report.render_reports(found.reports, found.needless))
    else:
        report.print_reports(found.reports, slim=slim, verbose=verbose)


def _open_project(root: Path, wishes: Wishes) -> tuple[str, Wishes, CheckSettings, Lock | None]:
    """The image's name, and what its project says to the check."""
    # Only here, as below: reading a declaration, and an HTTP client, take longer to import than a known image to check.
    from wherry.declare.checked import read_checked_project
    from wherry.lock.storage import read_lock

    project = read_checked_project(root)
    own, settings = wishes.limits, project.settings
    refuse_unknown(settings.silences)
    limits = SizeLimits(budget=own.budget or settings.limits.budget, layer=own.layer or settings.limits.layer)
    wishes = replace(wishes, limits=limits, gpu=wishes.gpu or DeclaredGpu(cuda=project.cuda))
    return project.name, wishes, settings, read_lock(root)


def _note_stamps(root: Path, name: str, reports: tuple[Report, ...]) -> tuple[Report, ...]:
    # Only here: of anybody else's image no stamps are known.
    from wherry.cli.model_stamps import add_stamp_findings

    return add_stamp_findings(reports, root, DiskStore(store_path(os.environ)), name)


def _examine(text: str, wishes: Wishes) -> tuple[Report, ...]:
    path = Path(text)
    if path.is_file() and path.suffix == ".whl":
        from wherry.check.wheel_file import examine_wheel
        from wherry.cli.check_target import read_target_dlls

        return (examine_wheel(path, read_target_dlls(wishes.dlls, wishes.progress, plain_http=wishes.plain_http)),)
    if path.is_file():
        cache = cache_path(os.environ)
        return examine_archive(
            path, wishes.platforms, cache, wishes.progress, files=wishes.files, measured=wishes.measured, gpu=wishes.gpu
        )
    if is_environment(path):
        return (examine_environment(path, files=wishes.files, measured=wishes.measured, gpu=wishes.gpu),)
    if is_root(path):
        return (examine_root(path, files=wishes.files, measured=wishes.measured, gpu=wishes.gpu),)
    return _examine_image(text, wishes, None)


def _examine_image(text: str, wishes: Wishes, lock: Lock | None) -> tuple[Report, ...]:
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


def _examine_remote(reference: Reference, wishes: Wishes) -> tuple[Report, ...]:
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
        notes = _note_signatures(access, reference)
        return tuple(replace(one, findings=(*one.findings, *notes)) for one in reports)
    finally:
        access.close()


def _note_signatures(access: RegistryAccess, reference: Reference) -> tuple[Finding, ...]:
    """That there are signatures, which a check without a key does not look at."""
    from wherry.check.signatures import note_unverified
    from wherry.sources.attached_signatures import count_attachments

    try:
        count = count_attachments(access, reference)
    except (FormatError, TransferError) as error:
        say(f"what lies beside the image as signatures cannot be read: {error.what}")
        return ()
    return (note_unverified(count),) if count else ()


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
