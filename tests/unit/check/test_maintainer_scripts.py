"""What maintainer scripts would have made: by the traces that they leave, and by the packages of a lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulators.debian import make_deb
from tests.unit.check.trees import Files, facts_of, make_tree, system
from wherry.check.doctor import examine_layers, examine_unpacked
from wherry.check.maintainer_scripts import judge_locked_scripts, judge_traces
from wherry.model.digest import Digest
from wherry.model.lock import LockedDeb
from wherry.model.report import Finding, Severity

FONTS = {
    "config": "db_input critical msttcorefonts/accepted-mscorefonts-eula\n",
    "postinst": "wget http://example.org/arial32.exe\n",
}


def traces(*layers: Files) -> list[tuple[str, Severity]]:
    return [(one.subject, one.severity) for one in judge_traces(make_tree(system(), *layers))]


@pytest.mark.parametrize(
    ("needs", "makes", "package"),
    [
        (
            "var/lib/dpkg/info/ttf-mscorefonts-installer.list",
            "usr/share/fonts/truetype/msttcorefonts/Arial.ttf",
            "ttf-mscorefonts-installer",
        ),
        (
            "var/lib/dpkg/status.d/ttf-mscorefonts-installer",
            "usr/share/fonts/truetype/msttcorefonts/arial.TTF",
            "ttf-mscorefonts-installer",
        ),
        ("usr/share/ca-certificates/mozilla/x.crt", "etc/ssl/certs/ca-certificates.crt", "ca-certificates"),
        ("usr/share/glib-2.0/schemas/org.gtk.gschema.xml", "usr/share/glib-2.0/schemas/gschemas.compiled", "libglib2.0-0"),
        (
            "usr/lib/x86_64-linux-gnu/gdk-pixbuf-2.0/2.10.0/loaders/libpng.so",
            "usr/lib/x86_64-linux-gnu/gdk-pixbuf-2.0/2.10.0/loaders.cache",
            "libgdk-pixbuf-2.0-0",
        ),
        ("usr/share/mime/packages/freedesktop.org.xml", "usr/share/mime/mime.cache", "shared-mime-info"),
        ("usr/lib/jvm/java-17-openjdk-amd64/bin/java", "etc/alternatives/java", "openjdk"),
        ("usr/bin/convert-im6.q16", "usr/bin/convert", "imagemagick"),
    ],
)
def test_what_a_script_left_undone(needs: str, makes: str, package: str) -> None:
    assert [subject for subject, _ in traces({needs: b"x"})] == [package]
    assert traces({needs: b"x"}, {makes: b"x"}) == []
    assert traces({makes: b"x"}) == []


def test_it_is_said_of_images_and_of_unpacked_roots() -> None:
    layers = [facts_of(system()), facts_of({"var/lib/dpkg/info/ttf-mscorefonts-installer.list": b"/.\n"})]
    both = facts_of({**system(), "var/lib/dpkg/info/ttf-mscorefonts-installer.list": b"/.\n"})
    for report in (examine_layers(layers, "x"), examine_unpacked(both, "x")):
        (found,) = [one for one in report.findings if one.rule == "maintainer-script"]
        assert "download Microsoft's fonts" in found.what
        assert "fonts-liberation" in found.remedy


def locked(cache: Path, name: str, deb: bytes) -> LockedDeb:
    found = LockedDeb(name=name, version="1.0-1", architecture="all", file=f"{name}.deb", size=len(deb), sha256=Digest.of(deb))
    path = cache / "artefacts" / "sha256" / found.sha256.hex / found.file
    path.parent.mkdir(parents=True)
    path.write_bytes(deb)
    return found


def test_the_packages_of_a_lock(tmp_path: Path) -> None:
    debs = [
        locked(tmp_path, "talker", make_deb("talker", scripts=FONTS)),
        locked(tmp_path, "quiet", make_deb("quiet")),
        locked(tmp_path, "tzdata", make_deb("tzdata", scripts=FONTS)),
        locked(tmp_path, "msttcorefonts", make_deb("msttcorefonts", scripts=FONTS)),
        locked(tmp_path, "broken", b"!<arch>\nno"),
    ]
    found: list[Finding] = list(judge_locked_scripts(debs, tmp_path))
    assert [(one.rule, one.severity, one.subject) for one in found] == [
        ("maintainer-script", Severity.WARNING, "talker"),
        ("maintainer-script", Severity.WARNING, "msttcorefonts"),
    ]
    assert found[0].what == (
        "talker 1.0-1: its maintainer scripts are not run; they would ask a question (debconf), download files"
    )
    assert "in the project" in found[0].remedy
    assert "fonts-liberation" in found[1].remedy
    assert list(judge_locked_scripts(debs, tmp_path / "elsewhere")) == []
