"""A build says what maintainer scripts would have done."""

from __future__ import annotations

from pathlib import Path

from tests.simulators.debian import make_deb
from wherry.assemble.maintainer_scripts import describe_maintainer_scripts
from wherry.model.digest import Digest
from wherry.model.lock import LockedDeb


def test_each_package_whose_scripts_matter(tmp_path: Path) -> None:
    scripts = {
        "talker": {"postinst": "adduser --system talker\n"},
        "quiet": {"postinst": "ldconfig\n"},
        "tzdata": {"postinst": "wget x\n"},
        "ttf-mscorefonts-installer": {"postinst": "/usr/lib/msttcorefonts/update-ms-fonts\n"},
    }
    debs = []
    for name, texts in scripts.items():
        data = make_deb(name, scripts=texts)
        (tmp_path / name).write_bytes(data)
        deb = LockedDeb(name=name, version="1.0-1", architecture="all", file=name, size=len(data), sha256=Digest.of(data))
        debs.append((deb, tmp_path / name))
    talker, fonts = describe_maintainer_scripts(debs)
    assert talker.startswith("talker 1.0-1: its maintainer scripts are not run; they would: make a user; try: run it as")
    assert "they would: download files; try: fonts-liberation among system-packages" in fonts
