"""The command line on small real projects: each test has its own store; base layers and downloads are made once.

The wheels come from an index on loopback (so that they are known to the byte), the base from the mirrors of this
machine's apt. What a test damages or fills is its own: `wherry` has a store of hard links, `alone` a cache of copies too.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.simulators.python_index import PythonIndex, Wheel, make_wheel

PROGRAM = Path(sys.executable).with_name("wherry")
MAIN = 'import json\nimport tinyone\nprint(json.dumps({"one": tinyone.VERSION, "answer": 41}))\n'
BOTH = ("--platform", "linux/amd64", "--platform", "linux/arm64")


@dataclass(frozen=True, kw_only=True)
class Wherry:
    """The command line with its own places. A failure that was not asked for fails the test with what was said."""

    store: Path
    cache: Path
    env: Mapping[str, str] = field(repr=False)

    def start(self, *words: str | Path, cwd: Path, **options: Any) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([PROGRAM, *words], cwd=cwd, env=self.environment(), **(pipes | options))

    def run(self, *words: str | Path, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
        argv = [*options.pop("prefix", ()), PROGRAM, *words]
        kept: dict[str, Any] = {"capture_output": True, "text": True, "check": False, "timeout": 300}
        return subprocess.run(argv, cwd=cwd, env=self.environment(), **(kept | options))

    def ok(self, *words: str | Path, cwd: Path, **options: Any) -> str:
        done = self.run(*words, cwd=cwd, **options)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def build(self, project: Path, *words: str, **options: Any) -> dict[str, Any]:
        """``wherry build --json``. Flags besides lead past the quick front; without any it is taken where it can be."""
        return dict(json.loads(self.ok("build", *words, "--json", cwd=project, **options)))

    def refused(self, *words: str | Path, cwd: Path, code: int, **options: Any) -> str:
        """Run what must fail with an error of ours; gives what was said."""
        done = self.run(*words, cwd=cwd, **options)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        assert done.stderr.startswith("error: ") or "\nerror: " in done.stderr, done.stderr
        assert done.stdout == ""
        return done.stderr

    def environment(self) -> dict[str, str]:
        return {**self.env, "WHERRY_STORE": str(self.store), "WHERRY_CACHE": str(self.cache)}

    def with_env(self, **more: str) -> Wherry:
        return replace(self, env={**self.env, **more})


@dataclass(frozen=True, kw_only=True)
class Seed:
    """What is made once: an index, a cache and a store that have the bases of both platforms, and their lock."""

    index: PythonIndex
    wherry: Wherry
    project: Path


def write_project(folder: Path, files: Mapping[str, str | bytes] | None = None) -> Path:
    """A project: main.py and requirements.txt, and `files` over it."""
    folder.mkdir(parents=True, exist_ok=True)
    named: dict[str, str | bytes] = {"main.py": MAIN, "requirements.txt": "tinyone==1.0\n", **(files or {})}
    for path, content in named.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def tree_of(*roots: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below the roots with mode and content, large ones by size; locks that processes hold left out."""
    found = {}
    for root in roots:
        for path in sorted(root.rglob("*")):
            if path.is_symlink() or not path.is_file() or path.name in ("use.lock", "index.lock"):
                continue
            state = path.stat()
            content = str(state.st_size).encode() if state.st_size > 1 << 20 else path.read_bytes()
            found[str(path)] = (state.st_mode, content)
    return found


def assert_valid_store(store: Path) -> None:
    """What other tools and the next build rely on: whole blobs under their digests, a list of images that are all here."""
    assert json.loads((store / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    blobs = store / "blobs/sha256"
    for blob in blobs.iterdir():
        if blob.stat().st_nlink == 1:  # the others are the session's, checked by whoever wrote them
            with blob.open("rb") as file:
                assert hashlib.file_digest(file, "sha256").hexdigest() == blob.name
    waiting = [entry["digest"] for entry in json.loads((store / "index.json").read_bytes())["manifests"]]
    while waiting:
        blob = blobs / waiting.pop().removeprefix("sha256:")
        assert blob.is_file(), f"named, and not here: {blob.name}"
        if blob.stat().st_size < 1 << 20 and blob.read_bytes()[:1] == b"{":
            document = json.loads(blob.read_bytes())
            members = [*document.get("manifests", ()), *document.get("layers", ()), document.get("config", {})]
            waiting += [member["digest"] for member in members if isinstance(member, dict) and "digest" in member]


def layers_of(result: Mapping[str, Any], platform: str = "linux/amd64") -> list[dict[str, Any]]:
    return list(next(image["layers"] for image in result["images"] if image["platform"] == platform))


def usual_wheels() -> tuple[Wheel, ...]:
    return (
        make_wheel("tinyone", "1.0"),
        make_wheel("tinyone", "1.1"),
        make_wheel("tinytwo", "1.0", requires=("tinyone>=1.0",)),
        make_wheel("tinytwo", "2.0", requires=("tinyone>=1.1",)),
    )


def _environment(home: Path, index: PythonIndex) -> dict[str, str]:
    dropped = ("WHERRY_", "UV_", "PIP_", "SOURCE_DATE_EPOCH", "COV_", "PYTEST_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    home.mkdir(parents=True, exist_ok=True)
    return {**env, "HOME": str(home), "UV_DEFAULT_INDEX": index.url, "UV_CACHE_DIR": str(home / "uv"), "NO_COLOR": "1"}


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Several workers of one session fill one cache; the second finds it filled."""
    with (folder / "flow.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def index() -> Iterator[PythonIndex]:
    with PythonIndex() as simulator:
        simulator.add(*usual_wheels())
        yield simulator


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory, index: PythonIndex, worker_id: str = "master") -> Seed:
    """Build the smallest project once for both platforms, with the bytecode of the standard library."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    places = shared / "flow"
    places.mkdir(exist_ok=True)
    env = _environment(base / "home", index)
    wherry = Wherry(store=places / "store", cache=places / "cache", env=env)
    project = places / "seed"
    with _one_at_a_time(places):
        if not (project / "wherry.lock").exists():
            write_project(project)
            wherry.ok("build", *BOTH, cwd=project)
    return Seed(index=index, wherry=wherry, project=project)


@pytest.fixture
def wherry(seed: Seed, tmp_path: Path) -> Wherry:
    """A store that has the base layers but no image, and the session's cache."""
    copy_store(seed.wherry.store, tmp_path / "store")
    return replace(seed.wherry, store=tmp_path / "store")


@pytest.fixture
def alone(wherry: Wherry, tmp_path: Path) -> Wherry:
    """A cache too that the test may damage."""
    kept = shutil.ignore_patterns("roots", "containers", "builds", "volumes")
    shutil.copytree(wherry.cache, tmp_path / "cache", symlinks=True, ignore=kept)
    return replace(wherry, cache=tmp_path / "cache")


@pytest.fixture
def empty(wherry: Wherry, tmp_path: Path) -> Wherry:
    """No cache and no store at all: as on the first day, but for the network."""
    return replace(wherry, store=tmp_path / "empty-store", cache=tmp_path / "empty-cache")


@pytest.fixture
def project(seed: Seed, tmp_path: Path) -> Path:
    """The smallest project, locked."""
    return locked_project(seed, tmp_path / "project")


def locked_project(seed: Seed, folder: Path, files: Mapping[str, str | bytes] | None = None) -> Path:
    """A project with the seed's lock, which answers it as long as its requirements are the seed's."""
    write_project(folder, files)
    shutil.copy(seed.project / "wherry.lock", folder)
    return folder


def copy_store(source: Path, target: Path) -> None:
    """Blobs by hard link (they are never changed in place), and no names."""
    (target / "blobs/sha256").mkdir(parents=True)
    (target / "ingest").mkdir()
    for blob in (source / "blobs/sha256").iterdir():
        os.link(blob, target / "blobs/sha256" / blob.name)
    shutil.copy(source / "oci-layout", target)
    (target / "index.json").write_text('{"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}')
