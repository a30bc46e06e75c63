"""Built twice, by others, elsewhere and at another time: the same image, the same lock, to the byte."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from tests.conftest import require_tool
from tests.flow.conftest import BOTH, Seed, Wherry, copy_store, write_project
from tests.simulators.python_index import PythonIndex

pytestmark = pytest.mark.network

_DIGEST = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
_LAYER = {
    "type": "object",
    "additionalProperties": False,
    "required": ["diff_id", "digest", "size", "cause"],
    "properties": {
        "diff_id": _DIGEST,
        "digest": _DIGEST,
        "size": {"type": "integer", "minimum": 1},
        "cause": {"type": "string", "minLength": 1},
    },
}
_IMAGE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["platform", "manifest", "config", "layers"],
    "properties": {
        "platform": {"type": "string", "pattern": "^linux/[a-z0-9/]+$"},
        "manifest": _DIGEST,
        "config": _DIGEST,
        "layers": {"type": "array", "minItems": 1, "items": _LAYER},
    },
}
BUILD_JSON = {
    "type": "object",
    "additionalProperties": False,
    "required": ["schema", "index", "images"],
    "properties": {"schema": {"const": 1}, "index": _DIGEST, "images": {"type": "array", "items": _IMAGE}},
}
FILES = {
    "requirements.txt": "tinytwo\n",
    "wherry.toml": 'name = "twin"\nlabels = { b = "2", a = "1" }\nenv = { Z = "1", A = "2" }\n',
    "pkg/__init__.py": "",
    "pkg/käse.py": "X = 'ß'\n",
    "run.sh": "#!/bin/sh\n",
    "model.pkl": bytes(range(256)) * 20,
}


def other_user(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Another user where we may become one: the start of the command line, and their environment.

    They may read everything, for the program may lie in our home folder, and write only what is theirs.
    """
    if os.geteuid() != 0:
        return [], {}
    require_tool("setpriv")
    home = folder / "nobody"
    home.mkdir()
    prefix = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", "-all,+dac_read_search"]
    prefix += ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    return prefix, {"HOME": str(home), "USER": "nobody", "LOGNAME": "nobody", "UV_CACHE_DIR": str(home / "uv")}


def give_away(folder: Path) -> None:
    """To the other user, where there is one."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)


@pytest.fixture
def strangers_place() -> Iterator[Path]:
    """A folder that others can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="wherry-flow-") as name:
        place = Path(name)
        place.chmod(0o755)
        yield place / "a longer ‘place’ than ours"


def test_two_builds_by_strangers_are_equal(wherry: Wherry, seed: Seed, tmp_path: Path, strangers_place: Path) -> None:
    ours = write_project(tmp_path / "ours" / "twin", FILES)
    first = wherry.with_env(TZ="UTC", LC_ALL="C.UTF-8", PYTHONHASHSEED="0").build(ours, *BOTH, umask=0o022)

    folder = strangers_place
    theirs = write_project(folder / "project of a friend", dict(reversed(FILES.items())))
    os.utime(theirs / "pkg/käse.py", (1, 1))
    copy_store(seed.wherry.store, folder / "store")
    shutil.copytree(
        wherry.cache, folder / "cache", symlinks=True, ignore=shutil.ignore_patterns("layers", "builds", "roots", "containers")
    )
    prefix, env = other_user(folder)
    for blob in (folder / "store/blobs/sha256").iterdir():
        shutil.copy(blob, folder / "copy")
        (folder / "copy").replace(blob)  # their own files, not our hard links
    give_away(folder)
    stranger = replace(wherry, store=folder / "store", cache=folder / "cache").with_env(
        TZ="Pacific/Kiritimati", LC_ALL="C", LANG="de_DE.ISO-8859-1", PYTHONHASHSEED="4711", **env
    )
    second = stranger.build(theirs, *BOTH, umask=0o077, prefix=prefix)

    assert second == first
    assert (theirs / "wherry.lock").read_bytes() == (ours / "wherry.lock").read_bytes()
    jsonschema.validate(first, BUILD_JSON)


def test_nothing_of_host_or_time_is_in_the_images(wherry: Wherry, project: Path, tmp_path: Path) -> None:
    """Every document of the image and the lock, looked through for what must not be in it."""
    result = wherry.build(project)
    documents = [(project / "wherry.lock").read_text()]
    for digest in (result["index"], *(image[key] for image in result["images"] for key in ("manifest", "config"))):
        documents.append((wherry.store / "blobs/sha256" / digest.removeprefix("sha256:")).read_text())
    host = os.uname().nodename
    for text in documents:
        assert str(tmp_path) not in text
        assert "127.0.0.1" not in text
        assert "://" not in text
        assert not re.search(rf"(?<![\w.-]){re.escape(host)}(?![\w.-])", text)
        assert not re.search(r"20[2-9]\d-\d\d-\d\dT", text)


def test_source_date_epoch_is_the_created_time(wherry: Wherry, project: Path) -> None:
    fixed = wherry.build(project)
    dated = wherry.with_env(SOURCE_DATE_EPOCH="1700000000").build(project)
    assert dated["index"] != fixed["index"]
    assert [layer["diff_id"] for layer in dated["images"][0]["layers"]] == [
        layer["diff_id"] for layer in fixed["images"][0]["layers"]
    ]
    config = wherry.store / "blobs/sha256" / dated["images"][0]["config"].removeprefix("sha256:")
    assert "2023-11-14T22:13:20Z" in config.read_text()
    assert wherry.build(project) == fixed


def test_the_index_a_lock_was_made_from_leaves_no_trace(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    """Another index with the same files, other pages and other order: the same lock."""
    one = write_project(tmp_path / "one" / "same", {"requirements.txt": "tinytwo\n"})
    two = write_project(tmp_path / "two" / "same", {"requirements.txt": "tinytwo\n"})
    wherry.ok("lock", cwd=one)
    with PythonIndex(json_pages=True) as other:
        other.add(*reversed(seed.index.wheels))
        wherry.with_env(UV_DEFAULT_INDEX=other.url, UV_CACHE_DIR=str(tmp_path / "uv")).ok("lock", cwd=two)
    assert (one / "wherry.lock").read_bytes() == (two / "wherry.lock").read_bytes()
