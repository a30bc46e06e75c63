"""What all builders are given: the wheels on a loopback index, the base image, the locked versions of the project.

The base is what wherry assembles for a project without packages: Debian, Python, the standard library's bytecode. The
rivals get these very layers as their base image, so that all images have the same content below the wheels. Wheels are
fetched once, from the indexes that this machine is configured for, and kept in the work folder.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uv import find_uv_bin

from bench.harness import NotMeasured, run_process, tell
from bench.mirror import serve_wheels
from bench.project import VERSIONS, loose_requirements, write_project
from wherry.formats.lockfile import parse_lock
from wherry.model.digest import Digest

_TOML = 'name = "bench"\nbase = "debian:bookworm"\nentrypoint = ["python", "-m", "app"]\nmodels = ["models/model.pkl"]\n'
_BASE_TOML = 'name = "bench-base"\nbase = "debian:bookworm"\nenvironment = false\ncode = false\nmodels = []\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to set wherry: lines of its `wherry.toml`."""

    name: str
    settings: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """`index` is the loopback index; `tools` an environment with wherry and uv in it."""

    root: Path
    index: str
    tools: Path

    @property
    def wherry(self) -> Path:
        return self.tools / "bin" / "wherry"

    @property
    def uv(self) -> Path:
        return self.tools / "bin" / "uv"

    @property
    def environment(self) -> dict[str, str]:
        """This process's, without what would point pip, uv or wherry elsewhere than to the loopback index."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_", "WHERRY_", "PYTHON"))}
        return {**kept, "UV_DEFAULT_INDEX": self.index, "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": self.index}

    def prepare(self, variant: Variant, versions: int) -> Prepared:
        """Lock and build the versions once, and the base by itself, each in folders of its own."""
        tell(f"preparing {variant.name}: base, {versions} locks")
        folder = self.root / "prepared" / variant.name
        shutil.rmtree(folder, ignore_errors=True)
        base, project = folder / "base-project", folder / "project"
        base.mkdir(parents=True)
        (base / "wherry.toml").write_text(_BASE_TOML + variant.settings)
        base_env = {**self.environment, **places(folder / "base")}
        run_process([self.wherry, "lock", base], env=base_env)
        run_process([self.wherry, "build", base], env=base_env)
        write_project(project)
        (project / "wherry.toml").write_text(_TOML + variant.settings)
        env = {**self.environment, "WHERRY_STORE": str(folder / "full/store"), "WHERRY_CACHE": str(folder / "base/cache")}
        locks = []
        keep_only(folder / "base/cache", "artefacts", "debian", "layers")
        shutil.copytree(folder / "base/cache", folder / "full/cache")
        env["WHERRY_CACHE"] = str(folder / "full/cache")
        for version in VERSIONS[:versions]:
            (project / "requirements.txt").write_text(loose_requirements(version))
            run_process([self.wherry, "lock", project], env=env)
            run_process([self.wherry, "build", project], env=env)  # puts the diff_ids in, as a lock under version control has
            locks.append((project / "wherry.lock").read_text())
        return Prepared(folder=folder, settings=variant.settings, locks=tuple(locks))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A variant's locks, and a store and a cache that know the base alone, in `base/store` and `base/cache`."""

    folder: Path
    settings: str
    locks: tuple[str, ...]

    def write_declaration(self, project: Path) -> None:
        (project / "wherry.toml").write_text(_TOML + self.settings)

    def write_version(self, project: Path, number: int) -> None:
        (project / "requirements.txt").write_text(loose_requirements(VERSIONS[number]))
        (project / "wherry.lock").write_text(self.locks[number])

    def pinned_requirements(self, number: int) -> str:
        """The same lock as pip and uv read it: each package with its version and digest."""
        locked = parse_lock(self.locks[number], "wherry.lock").platforms[0]
        return "".join(f"{one.name}=={one.version} --hash=sha256:{one.sha256.hex}\n" for one in locked.wheels)

    def write_base_layout(self, layout: Path) -> None:
        """The base as an OCI layout, named `base`, for root and with nothing that wherry's own images set."""
        shutil.rmtree(layout, ignore_errors=True)
        store = self.folder / "base" / "store"
        entry = json.loads((store / "index.json").read_bytes())["manifests"][0]
        image = json.loads(_blob(store, entry["digest"]).read_bytes())
        if "manifests" in image:
            image = json.loads(_blob(store, image["manifests"][0]["digest"]).read_bytes())
        given = json.loads(_blob(store, image["config"]["digest"]).read_bytes())
        (layout / "blobs" / "sha256").mkdir(parents=True)
        for layer in image["layers"]:
            shutil.copyfile(_blob(store, layer["digest"]), _blob(layout, layer["digest"]))
        config = {
            "architecture": given["architecture"],
            "os": "linux",
            "config": {"Env": ["PATH=/opt/env/bin:/usr/local/bin:/usr/bin:/bin"], "WorkingDir": "/app"},
            "rootfs": given["rootfs"],
            "history": [{"created": given["created"], "created_by": "base"} for _ in image["layers"]],  # buildah insists
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _put(layout, config, "application/vnd.oci.image.config.v1+json"),
            "layers": image["layers"],
        }
        descriptor = _put(layout, manifest, str(manifest["mediaType"]))
        descriptor["annotations"] = {"org.opencontainers.image.ref.name": "base"}
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))
        (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


@contextmanager
def open_workshop(root: Path, source: Path) -> Iterator[Workshop]:
    """Install the wherry of `source` as a user would, fetch what is needed, and serve the wheels.

    What is measured is the copy: an edit of the sources while the bench runs changes nothing.
    """
    wherry = install_wherry(root, source)
    wheels = root / "wheels"
    if not (wheels / ".complete").exists():
        _collect_wheels(root, wheels, wherry)
    with serve_wheels(wheels) as index:
        yield Workshop(root=root, index=index, tools=wherry.parents[1])


def install_wherry(root: Path, source: Path, extra: str = "") -> Path:
    """The program, in an environment of its own below `root`; with the packages of one of its extras, where one is named."""
    tell("installing wherry")
    root.mkdir(parents=True, exist_ok=True)
    tools = root / "tools"
    run_process([find_uv_bin(), "venv", "-q", "--clear", "--python", sys.executable, tools])
    into = ("--python", tools / "bin" / "python", "--reinstall-package", "wherry", "--compile-bytecode")
    run_process([find_uv_bin(), "pip", "install", "-q", *into, f"{source}[{extra}]" if extra else source], env=os.environ)
    return tools / "bin" / "wherry"


def _collect_wheels(root: Path, wheels: Path, wherry: Path) -> None:
    """The wheels of all versions, as wherry itself locks and fetches them from the configured indexes."""
    tell("fetching the wheels, once")
    folder = root / "collect"
    shutil.rmtree(folder, ignore_errors=True)
    write_project(folder / "project")
    (folder / "project" / "wherry.toml").write_text(_TOML + 'bytecode = "none"\n')
    env = {**os.environ, **places(folder)}
    for version in VERSIONS:
        (folder / "project" / "requirements.txt").write_text(loose_requirements(version))
        run_process([wherry, "lock", folder / "project"], env=env)
        run_process([wherry, "build", folder / "project"], env=env)
    wheels.mkdir(exist_ok=True)
    for path in (folder / "cache" / "artefacts").rglob("*.whl"):
        shutil.copyfile(path, wheels / path.name)
    run_process(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", wheels, "pip>=25"], env=os.environ
    )
    shutil.rmtree(folder)
    (wheels / ".complete").touch()


def places(folder: Path) -> dict[str, str]:
    return {"WHERRY_STORE": str(folder / "store"), "WHERRY_CACHE": str(folder / "cache")}


def keep_only(folder: Path, *names: str) -> None:
    for path in folder.iterdir():
        if path.name not in names:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def copy_tree(source: Path, target: Path) -> None:
    """A copy that shares blocks where the file system can."""
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    run_process(["cp", "-a", "--reflink=auto", source, target])


def find_wheel(workshop: Workshop, name: str) -> Path:
    found = sorted((workshop.root / "wheels").glob(f"{name}-*.whl"))
    if not found:
        raise NotMeasured(f"there is no wheel of {name}")
    return found[-1]


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _put(layout: Path, value: Any, media_type: str) -> dict[str, Any]:
    data = json.dumps(value, sort_keys=True).encode()
    digest = str(Digest.of(data))
    _blob(layout, digest).write_bytes(data)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}
