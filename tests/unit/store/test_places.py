from __future__ import annotations

from pathlib import Path

import pytest

from wherry.errors import StoreError
from wherry.store.places import cache_path, store_path


def test_own_variables_win() -> None:
    env = {"WHERRY_STORE": "/a/s", "WHERRY_CACHE": "/a/c", "XDG_DATA_HOME": "/x", "XDG_CACHE_HOME": "/y", "HOME": "/h"}
    assert (store_path(env), cache_path(env)) == (Path("/a/s"), Path("/a/c"))


def test_then_the_xdg_folders_if_absolute() -> None:
    env = {"XDG_DATA_HOME": "/x", "XDG_CACHE_HOME": "relative", "HOME": "/h"}
    assert store_path(env) == Path("/x/wherry/store")
    assert cache_path(env) == Path("/h/.cache/wherry")


def test_then_home() -> None:
    assert store_path({"HOME": "/h", "WHERRY_STORE": ""}) == Path("/h/.local/share/wherry/store")


def test_without_a_home_the_remedy_is_named() -> None:
    with pytest.raises(StoreError, match="set WHERRY_STORE"):
        store_path({})
