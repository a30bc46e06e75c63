"""What is said, or refused, where an image ships a model that was made in another environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wherry.cli.talk import say
from wherry.errors import CheckError, StoreError
from wherry.model.platform import Platform
from wherry.model.report import Report, order_findings
from wherry.stamping import judge_stamps
from wherry.store.disk import DiskStore
from wherry.store.images import read_images


def add_stamp_findings(reports: Sequence[Report], root: Path, store: DiskStore, name: str) -> tuple[Report, ...]:
    """The reports on a project's image, with findings about its models' stamps."""
    try:
        images = {image.platform: image for image in read_images(store, store.resolve(name))}
    except StoreError:
        return tuple(reports)  # it was examined in its registry
    added = []
    for report in reports:
        image = images.get(report.platform) if report.platform else None
        found = judge_stamps(image, root, store, os.environ) if image else ()
        added.append(replace(report, findings=order_findings([*report.findings, *found])) if found else report)
    return tuple(added)


def warn_of_stamps(store: DiskStore, name: str, platforms: Sequence[Platform], *, strict: bool) -> None:
    """Before an image leaves: say which models of it were made in another environment than this folder's lock.

    With `strict` the first of them is a `CheckError`.
    """
    try:
        images = read_images(store, store.resolve(name))
    except StoreError:
        return  # an archive, or in a registry: it is not of this project
    found = {}
    for image in images:
        if not platforms or image.platform in platforms:
            found.update({finding.what: finding for finding in judge_stamps(image, Path(), store, os.environ)})
    for finding in found.values():
        if strict:
            raise CheckError(finding.what, where=finding.where[0], hint=finding.remedy)
        say(f"warning: {finding.what}")
