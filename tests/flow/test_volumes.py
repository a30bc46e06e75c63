"""A declared volume is a folder that the image's user may write to, also when an engine makes the volume anew."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from tests.flow.conftest import Wherry, layers_of, write_project
from wherry.formats.untar import TarMember, read_members

pytestmark = pytest.mark.network


def members_of(wherry: Wherry, made: dict[str, Any]) -> dict[str, TarMember]:
    code = next(layer for layer in layers_of(made) if layer["cause"] == "code")
    blob = (wherry.store / "blobs/sha256" / code["digest"].removeprefix("sha256:")).read_bytes()
    return {member.path: member for member in read_members([gzip.decompress(blob)], "code")}


def test_volumes_are_folders_that_anybody_may_write_to(wherry: Wherry, tmp_path: Path) -> None:
    settings = 'bytecode = "none"\nvolumes = ["/data", "/app/cache"]\n'
    project = write_project(tmp_path / "project", {"wherry.toml": settings, "cache/kept.txt": "here\n"})
    first = members_of(wherry, wherry.build(project))
    assert {path: first[path].mode for path in ("data", "app/cache", "app")} == {"data": 0o1777, "app/cache": 0o1777, "app": 0o755}
    (project / "wherry.toml").write_text(settings.replace("/data", "/srv/other"))
    second = members_of(wherry, wherry.build(project))
    assert second["srv/other"].mode == 0o1777
    assert "data" not in second
    assert second["srv"].mode == 0o755
