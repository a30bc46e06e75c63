"""Layers' folders read as the overlay file system shows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import cannot_run
from wherry.engines.layer_folders import LayersBase
from wherry.errors import EngineError, TrustError


def lay(root: Path, **files: str | None) -> Path:
    """A layer of files; ``__`` in a name stands for a slash, None for a folder."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("wh_", ".wh.")
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_text(text)
    root.mkdir(exist_ok=True)
    return root


def show(*layers: Path, scope: str = "", limit: int = 100) -> dict[str, str]:
    base = LayersBase(layers)
    found = {}
    for file in base.list_files(scope, limit):
        with base.open_file(file.path) as opened:
            found[file.path] = opened.read().decode()
        assert file.size == len(found[file.path])
    return found


def test_the_topmost_counts(tmp_path: Path) -> None:
    low = lay(tmp_path / "low", a="1", d__b="2", d__c="3")
    top = lay(tmp_path / "top", d__b="4", e="5")
    assert show(top, low) == {"a": "1", "d/b": "4", "d/c": "3", "e": "5"}
    assert show(top, low, scope="d") == {"d/b": "4", "d/c": "3"}
    assert show(top, low, scope="d/c") == {"d/c": "3"}
    assert show(top, low, scope="d/c/x") == show(top, low, scope="none") == show(top, low, scope="../low") == {}
    assert len(show(top, low, limit=2)) == 2


def test_whiteouts_of_carried_layers(tmp_path: Path) -> None:
    low = lay(tmp_path / "low", a="1", d__b="2", f__g__h="3", k="4")
    middle = lay(tmp_path / "middle", wh_a="", d__new="n", d__wh_b="", f__g__new="n")
    (middle / "f/.wh..wh..opq").write_text("")
    top = lay(tmp_path / "top", a="back")
    assert show(middle, low) == {"d/new": "n", "f/g/new": "n", "k": "4"}
    assert show(top, middle, low)["a"] == "back"


def test_a_file_over_a_folder_and_the_other_way(tmp_path: Path) -> None:
    low = lay(tmp_path / "low", x__y="1", z="2")
    top = lay(tmp_path / "top", x="file", z__inner="3")
    assert show(top, low) == {"x": "file", "z/inner": "3"}
    under = lay(tmp_path / "under", x__deep="0")
    assert show(low, lay(tmp_path / "mid", x="file"), under)["x/y"] == "1"
    assert "x/deep" not in show(low, lay(tmp_path / "mid", x="file"), under)


def test_the_kernel_s_whiteouts(tmp_path: Path) -> None:
    low = lay(tmp_path / "low", a="1", d__b="2")
    top = lay(tmp_path / "top", d__c="3")
    try:
        os.mknod(top / "a", 0o20644, os.makedev(0, 0))
        os.setxattr(top / "d", "trusted.overlay.opaque", b"y")
    except OSError as error:
        cannot_run(f"no whiteouts here: {error}")
    assert show(top, low) == {"d/c": "3"}
    os.setxattr(top / "d", "trusted.overlay.redirect", b"/elsewhere")
    with pytest.raises(EngineError):
        show(top, low)


def test_links_are_never_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("s")
    low = lay(tmp_path / "low", d__b="1")
    (low / "link").symlink_to(tmp_path / "outside")
    (low / "d/file").symlink_to(tmp_path / "outside/secret")
    assert show(low) == {"d/b": "1"}
    for path in ("link/secret", "d/file", "link", "d", ".", "..", "d/../d/b", ""):
        with pytest.raises(TrustError):
            LayersBase([low]).open_file(path)


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        show(tmp_path / "none")
