"""An image of people who never heard of wherry, checked as it is: is what was planted in it found, and what is sound passed?"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.engines.strangers import SITE, build_stranger, make_debian

from bench.harness import NotMeasured, clear_folder, run_process, tell
from bench.results import Figure, figure

_PACKAGES = ("markupsafe", "numpy", "lxml", "lightgbm")
_BASE = "/usr/share/perl5/Debconf/Base.pm"
_EDITS = f"RUN cd /{SITE}/markupsafe; echo x >> __init__.py; rm _native.py; echo x >> {_BASE}"
# The rule, and what the finding is about: Debian's slim base has no libgomp, and lightgbm's wheel leaves it to the system.
_PLANTED = (
    ("missing-library", "libgomp.so.1"),
    ("altered-file", f"/{SITE}/markupsafe/__init__.py"),
    ("missing-file", f"/{SITE}/markupsafe/_native.py"),
    ("altered-file", _BASE),
)


def measure_stranger(case: str, wherry: Path, work: Path, env: Mapping[str, str]) -> Iterator[Figure]:
    """Every file of it is held against dpkg's lists and the wheels' RECORDs, too."""
    for tool in ("buildah", "mmdebstrap"):
        if shutil.which(tool) is None:
            raise NotMeasured(f"{tool} is not installed")
    if os.geteuid() != 0:
        raise NotMeasured("buildah needs root here")
    folder = work / "stranger"
    clear_folder(folder)
    folder.mkdir(parents=True)
    try:
        make_debian(folder / "python.tar")
        archive = build_stranger(folder / "python.tar", folder, _PACKAGES, _EDITS)
        words = ["sh", "-c", '"$@" || test $? -eq 20', "sh", wherry, "check", "--files", "--json", archive]
        done = run_process(words, env=env)
    finally:
        clear_folder(folder)
    (report,) = json.loads(done.output)["reports"]
    missed = [planted for planted in _PLANTED if not any(_is_about(one, *planted) for one in report["findings"])]
    errors = [one for one in report["findings"] if one["severity"] == "error"]
    others = [one for one in errors if not any(_is_about(one, *planted) for planted in _PLANTED)]
    for one in (*missed, *others):
        tell(str(one))
    yield figure(case, "wherry", "checked", [int(not missed and not others)], "")
    yield figure(case, "wherry", "missed", [len(missed)], "")
    yield figure(case, "wherry", "other_errors", [len(others)], "")
    yield figure(case, "wherry", "modules", [report["seen"]["modules"]], "")
    yield figure(case, "wherry", "distributions", [report["seen"]["distributions"]], "")
    yield figure(case, "wherry", "seconds", [done.seconds], "s")


def _is_about(finding: Mapping[str, Any], rule: str, subject: str) -> bool:
    return finding["rule"] == rule and (finding["subject"] == subject or subject in finding["where"])
