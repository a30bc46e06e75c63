"""The shell that is mounted, never built in."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.engines.images import layer_bytes, put_image
from wherry.engines import busybox
from wherry.engines.busybox import TARGET, extend_path, find_busybox, is_static, prepare_busybox
from wherry.errors import EngineError
from wherry.run.launch import pick_runnable
from wherry.store.disk import DiskStore


def test_static_or_not() -> None:
    require_tool("busybox")
    assert is_static(Path(str(shutil.which("busybox"))).read_bytes())
    assert not is_static(Path(sys.executable).resolve().read_bytes())


@pytest.mark.parametrize(
    "data", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x02\x01" + b"\xff" * 100, b"\x7fELF\x09\x01" + bytes(100)]
)
def test_not_a_program(data: bytes) -> None:
    assert not is_static(data)


def test_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busybox, "_PLACES", ())
    with pytest.raises(EngineError) as caught:
        find_busybox({"PATH": str(tmp_path)})
    assert caught.value.hint == "apt install busybox-static"


def test_not_static(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busybox, "_PLACES", ())
    (tmp_path / "busybox").write_text("#!/bin/sh\n")
    (tmp_path / "busybox").chmod(0o755)
    with pytest.raises(EngineError, match="needs libraries of the host"):
        find_busybox({"PATH": str(tmp_path)})


def test_layout(tmp_path: Path) -> None:
    require_tool("busybox")
    mount = prepare_busybox(os.environ, tmp_path)
    assert prepare_busybox(os.environ, tmp_path) == mount
    assert (mount.target, mount.read_only) == (TARGET, True)
    folder = Path(mount.source)
    assert {"busybox", "sh", "ls"} <= {path.name for path in folder.iterdir()}
    assert (folder / "sh").readlink() == Path("busybox")
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_images_own_programs_come_first(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    put_image(store, "tiny:latest", [layer_bytes([])], env=["PATH=/opt/env/bin:/bin"])
    image = pick_runnable(store, "tiny")[1]
    assert dict(extend_path(image, ())) == {"PATH": f"/opt/env/bin:/bin:{TARGET}"}
    assert dict(extend_path(image, (("A", "1"), ("PATH", "/x")))) == {"A": "1", "PATH": f"/x:{TARGET}"}
