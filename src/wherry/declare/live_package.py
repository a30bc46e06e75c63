"""One distribution of a live environment, judged: what another machine can be given in its place.

*Kept* (``name==version``, or a wheel at a URL pinned by its digest), *changed* (it came from a file, from conda, from Debian
or from ``pip install --user``; the release of that version stands in for it) or *impossible* (editable installs, version
control, damaged records).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from wherry.declare.distributions import Distribution
from wherry.declare.redaction import redact
from wherry.formats.urls import strip_login


class Fate(Enum):
    KEPT = "kept"
    CHANGED = "changed"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePackage:
    """`requirement` is the line to write, empty when impossible; `why` says what was changed, or why it cannot be had.

    `of_conda`: the line is a spec of conda's. `selector` says which platforms a spec can be for, empty for all.
    """

    name: str
    version: str
    fate: Fate
    requirement: str = ""
    why: str = ""
    of_conda: bool = False
    selector: str = ""


def judge_distribution(item: Distribution, of_user: bool, of_conda: bool) -> LivePackage:
    """`of_user`: ``pip install --user`` put it there. `of_conda`: a package of conda's brought it."""
    if item.damaged:
        return impossible_package(item, item.damaged)
    if item.direct_url:
        return _judge_direct(item)
    if of_user:
        return changed_package(item, "was installed with pip install --user")
    if of_conda:
        return changed_package(item, "was conda's")
    if item.installer == "debian":
        return changed_package(item, "was Debian's")
    if item.legacy:
        return changed_package(item, "was installed by setup.py or Debian")
    return LivePackage(name=item.name, version=item.version, fate=Fate.KEPT, requirement=f"{item.name}=={item.version}")


def changed_package(item: Distribution, why: str) -> LivePackage:
    if not item.version:
        return impossible_package(item, why)
    return LivePackage(name=item.name, version=item.version, fate=Fate.CHANGED, requirement=f"{item.name}=={item.version}", why=why)


def impossible_package(item: Distribution, why: str) -> LivePackage:
    return LivePackage(name=item.name, version=item.version, fate=Fate.IMPOSSIBLE, why=why)


def direct_part(item: Distribution, key: str) -> dict[str, Any]:
    """A table of direct_url.json; empty where there is none."""
    value = item.direct_url.get(key)
    return value if isinstance(value, dict) else {}


def _judge_direct(item: Distribution) -> LivePackage:
    """PEP 610: where a distribution came from when it was not an index."""
    url = str(item.direct_url["url"])
    if direct_part(item, "dir_info").get("editable"):
        return impossible_package(item, f"an editable install of {redact(url.removeprefix('file://'))}")
    vcs = direct_part(item, "vcs_info")
    if vcs:
        return impossible_package(item, f"from {vcs.get('vcs', 'version control')}: {redact(url)}")
    if url.startswith("file:"):
        return changed_package(item, "came from a file of this machine")
    hashes = direct_part(item, "archive_info").get("hashes")
    digest = hashes.get("sha256") if isinstance(hashes, dict) else None
    if digest is None:
        digest = str(direct_part(item, "archive_info").get("hash", "")).removeprefix("sha256=")
    if url.split("?")[0].endswith(".whl") and re.fullmatch(r"[0-9a-f]{64}", str(digest)):
        text = f"{item.name} @ {strip_login(url)}#sha256={digest}"
        return LivePackage(name=item.name, version=item.version, fate=Fate.KEPT, requirement=text)
    return changed_package(item, f"came from {redact(url)}")
