"""An image that buildah and pip made of Debian packages, checked without its builder: what is wrong is named, and no more."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import cannot_run, require_tool
from tests.engines.strangers import SITE, build_stranger, make_debian
from wherry.errors import CheckError

pytestmark = [pytest.mark.engine, pytest.mark.network]
PROGRAM = Path(sys.executable).with_name("wherry")


@pytest.fixture(scope="module")
def debian(request: pytest.FixtureRequest) -> Path:
    """Made once and kept in pytest's cache."""
    require_tool("mmdebstrap", "buildah")
    if os.geteuid() != 0:
        cannot_run("buildah needs root here")
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("debian-python")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "python.tar").exists():
            make_debian(folder / "python.tar")
    return folder / "python.tar"


def test_a_strangers_image(debian: Path, tmp_path: Path) -> None:
    """Sound packages and Debian's files give no error; a library that Debian lacks, and files that were edited, are named."""
    edits = (
        f"RUN cd /{SITE}/markupsafe; echo x >> __init__.py; rm _native.py; echo x >> /usr/share/perl5/Debconf/Base.pm",
        "ENV DB_PASSWORD=hunter22",
    )
    archive = build_stranger(debian, tmp_path, ["markupsafe", "lightgbm"], *edits)
    done = subprocess.run(
        [PROGRAM, "check", "--files", "--json", "--offline", archive], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == CheckError.exit_code, done.stderr
    (report,) = json.loads(done.stdout)["reports"]
    assert report["release"] == "debian:bookworm"
    assert report["seen"]["distributions"] >= 2
    assert report["seen"]["modules"] > 10
    found: dict[str, list[dict[str, Any]]] = {}
    for one in report["findings"]:
        found.setdefault(one["rule"], []).append(one)
    (missing,) = [one for one in report["findings"] if one["severity"] == "error" and one["rule"] == "missing-library"]
    assert (missing["subject"], missing["owner"].split()[0]) == ("libgomp.so.1", "lightgbm")
    altered = " ".join(one["what"] for one in found["altered-file"])
    assert "MarkupSafe" in altered or "markupsafe" in altered
    assert any("/usr/share/perl5/Debconf/Base.pm" in one["where"] for one in found["altered-file"])
    assert any(f"/{SITE}/markupsafe/_native.py" in one["where"] for one in found["missing-file"])
    assert {"root-user", "secret-name"} <= found.keys()
    errors = {one["rule"] for one in report["findings"] if one["severity"] == "error"}
    assert errors <= {"missing-library", "altered-file", "missing-file", "secret"}
