"""Judges what Debian's maintainer scripts would have made and is not there: in images whose packages were unpacked, not installed.

Most effects leave traces: the files that a script works on, and those that it makes of them. A root that has the former without
the latter was put together without running scripts (wherry's, distroless ones, an extracted tarball), or a script failed as some
do silently: Microsoft's fonts are not fetched unless somebody answered a question first. What leaves no trace is read from the
packages themselves, where a lock names them and they are in the cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wherry.check.tree import Tree
from wherry.errors import FormatError
from wherry.formats.deb import open_deb
from wherry.formats.maintainer_script import HANDLED, INSTALLERS, list_effects, summarise_effects
from wherry.model.lock import LockedDeb
from wherry.model.report import Finding, Severity

_BASE_WITH_IT = "a base image in which the package was installed"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trace:
    """`needs` are paths that a script works on, `makes` those that it makes; `would` follows "its script would"."""

    package: str
    needs: str
    makes: str
    would: str
    remedy: str = _BASE_WITH_IT
    severity: Severity = Severity.WARNING


_TRACES = (
    _Trace(
        package="ttf-mscorefonts-installer",
        needs=r"usr/lib/msttcorefonts/update-ms-fonts|var/lib/dpkg/(?:status\.d/|info/)ttf-mscorefonts-installer(?:\.list)?",
        makes=r"usr/share/fonts/truetype/msttcorefonts/[^/]+\.[Tt][Tt][Ff]",
        would="ask for a licence (debconf) and download Microsoft's fonts",
        remedy=INSTALLERS["ttf-mscorefonts-installer"],
    ),
    _Trace(
        package="ca-certificates",
        needs=r"usr/share/ca-certificates/.+\.crt",
        makes=r"etc/ssl/certs/ca-certificates\.crt",
        would="put the certificates together: nothing can be verified over TLS",
    ),
    _Trace(
        package="libglib2.0-0",
        needs=r"usr/share/glib-2\.0/schemas/.+\.gschema\.xml",
        makes=r"usr/share/glib-2\.0/schemas/gschemas\.compiled",
        would="compile GLib's schemas: programs that read settings end",
    ),
    _Trace(
        package="libgdk-pixbuf-2.0-0",
        needs=r"usr/lib/[^/]+/gdk-pixbuf-2\.0/[^/]+/loaders/[^/]+\.so",
        makes=r"usr/lib/[^/]+/gdk-pixbuf-2\.0/[^/]+/loaders\.cache",
        would="list the loaders of image formats: GTK reads no image",
    ),
    _Trace(
        package="shared-mime-info",
        needs=r"usr/share/mime/packages/[^/]+\.xml",
        makes=r"usr/share/mime/mime\.cache",
        would="build the database of file types",
        severity=Severity.NOTE,
    ),
    _Trace(
        package="openjdk",
        needs=r"usr/lib/jvm/[^/]+/bin/java",
        makes=r"(?:usr|usr/local|opt/[^/]+)/bin/java|etc/alternatives/java",
        would="link /usr/bin/java",
        remedy="the folder of /usr/lib/jvm/…/bin in PATH ([env] of wherry.toml)",
        severity=Severity.NOTE,
    ),
    _Trace(
        package="ca-certificates-java",
        needs=r"usr/share/ca-certificates-java/.+",
        makes=r"etc/ssl/certs/java/cacerts",
        would="put Java's certificates together: Java verifies nothing over TLS",
    ),
    _Trace(
        package="imagemagick",
        needs=r"usr/bin/convert-im6\.q16(?:hdri)?",
        makes=r"usr/bin/convert|etc/alternatives/convert",
        would="link /usr/bin/convert and its like",
        remedy="call convert-im6.q16",
    ),
)
_PATHS = re.compile("|".join(f"(?P<needs{at}>{one.needs})|(?P<makes{at}>{one.makes})" for at, one in enumerate(_TRACES)))


def judge_traces(tree: Tree) -> Iterator[Finding]:
    """Findings about any root."""
    seen: dict[str, str] = {}
    for path in tree.entries:
        found = _PATHS.fullmatch(path) if path.startswith(("usr/", "etc/", "var/lib/dpkg/", "opt/")) else None
        if found and found.lastgroup:
            seen.setdefault(found.lastgroup, path)
    for number, trace in enumerate(_TRACES):
        if f"needs{number}" in seen and f"makes{number}" not in seen:
            yield Finding(
                rule="maintainer-script",
                severity=trace.severity,
                subject=trace.package,
                what=f"{trace.package}: its maintainer script has not run, or failed; it would {trace.would}",
                where=(f"/{seen[f'needs{number}']}",),
                remedy=trace.remedy,
            )


def judge_locked_scripts(debs: Sequence[LockedDeb], cache: Path) -> Iterator[Finding]:
    """Findings about the packages of a lock, as far as they lie in the cache."""
    told = {trace.package for trace in _TRACES}
    for deb in debs:
        path = cache / "artefacts" / "sha256" / deb.sha256.hex / deb.file
        if deb.name in HANDLED | told:
            continue
        try:
            with path.open("rb") as stream:
                effects = list_effects(open_deb(stream, deb.file).scripts)
        except (OSError, FormatError):
            continue  # not here, or another file: a build verifies it
        if effects:
            what, remedy = summarise_effects(effects)
            yield Finding(
                rule="maintainer-script",
                severity=Severity.WARNING,
                subject=deb.name,
                what=f"{deb.name} {deb.version}: its maintainer scripts are not run; they would {what}",
                where=(f"/var/lib/dpkg/status.d/{deb.name}",),
                remedy=INSTALLERS.get(deb.name, remedy),
            )
