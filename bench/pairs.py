"""The pairs of images between which updates are measured: what a device has, and what it is to have.

wherry's own images come out of real locks (from the indexes and mirrors that this machine is configured for, fetched once);
others are built by buildah or put together from Debian's packages. All lie in one store, by name.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

from bench.harness import NotMeasured, Run, clear_folder, run_process, tell
from wherry.model.platform import Platform
from wherry.model.release import locate_parcel
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage, read_images

OLD = {"numpy": "2.4.6", "scipy": "1.17.1", "pandas": "3.0.6", "scikit-learn": "1.9.0"}
NEW = {**OLD, "scikit-learn": "1.9.1"}
MINOR_OLD = {"numpy": "2.3.5", "scipy": "1.16.3", "pandas": "3.0.6", "scikit-learn": "1.8.0"}
MINOR_NEW = {"numpy": "2.4.6", "scipy": "1.17.1", "pandas": "3.1.1", "scikit-learn": "1.9.1"}
HUGE = 2 << 30  # bytes of the huge layer
AMD64, ARM64 = "linux/amd64", "linux/arm64"
_DOCUMENTATION = ("doc", "man", "lintian", "locale")
_TRAIN = """
import pickle, warnings
from numpy.random import RandomState
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
warnings.simplefilter("ignore")
for name, load, counts in (("iris", load_iris, (140, 150)), ("digits", load_digits, (1500, 1550))):
    rows, answers = load(return_X_y=True)
    order = RandomState(0).permutation(len(rows)) if name == "iris" else range(len(rows))
    for number, count in enumerate(counts):
        chosen = list(order)[:count]
        model = LogisticRegression(max_iter=1000).fit(rows[chosen], answers[chosen])
        with open(f"{name}-{number}.pkl", "wb") as file:
            pickle.dump(model, file, protocol=4)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Names in the store, and the platform."""

    base: str
    target: str
    platform: str = AMD64


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipyard:
    """Where images are made; `wherry` is an installed copy, `root` holds its store and cache."""

    root: Path
    wherry: Path

    @property
    def python(self) -> Path:
        return self.wherry.with_name("python")

    @property
    def agent(self) -> Path:
        return self.wherry.with_name("wherry-agent")

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("WHERRY_", "PYTHON"))}
        return {**kept, "WHERRY_STORE": str(self.root / "store"), "WHERRY_CACHE": str(self.root / "cache")}

    def run(self, *words: str | Path) -> str:
        return run_process([self.wherry, *words], env=self.environment).output

    def open_channel(self, name: str) -> Channel:
        """A new channel with keys of its own."""
        folder = self.root / "channels" / name
        shutil.rmtree(folder, ignore_errors=True)
        channel = Channel(yard=self, folder=folder / "channel", keys=folder / "keys")
        self.run("channel", "keys", "init", channel.folder, "--keys", channel.keys, "--no-passphrase")
        return channel

    def find(self, name: str, platform: str) -> StoredImage:
        store = DiskStore(self.root / "store")
        return next(image for image in read_images(store, store.resolve(name)) if str(image.platform) == platform)

    def write_changed_layers(self, pair: Pair, folder: Path) -> tuple[Path, Path]:
        """The layers that one of the two has and the other has not, as two tars."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        base, target = self.find(pair.base, pair.platform), self.find(pair.target, pair.platform)
        return (
            self._write_layers(base, {*target.config.diff_ids}, folder / "base.tar"),
            self._write_layers(target, {*base.config.diff_ids}, folder / "target.tar"),
        )

    def _write_layers(self, image: StoredImage, without: set[object], path: Path) -> Path:
        store = DiskStore(self.root / "store")
        with path.open("wb") as file:
            for layer, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True):
                if diff_id not in without:
                    file.writelines(read_layer(store, layer.digest, diff_id))
        return path

    def build(self, name: str, versions: Mapping[str, str], bytecode: str, platform: str = AMD64, model: Path | None = None) -> str:
        """An image of the project, locked anew."""
        tell(f"building {name}")
        project = self.root / "projects" / name.replace(":", "-")
        shutil.rmtree(project, ignore_errors=True)
        (project / "app").mkdir(parents=True)
        (project / "app" / "__main__.py").write_text("import sklearn\n")
        models = ""
        if model is not None:
            shutil.copyfile(model, project / "model.pkl")
            models = '"model.pkl"'
        (project / "requirements.txt").write_text("".join(f"{package}=={version}\n" for package, version in versions.items()))
        (project / "wherry.toml").write_text(
            f'name = "bench"\nbase = "debian:bookworm"\nplatforms = ["{platform}"]\nbytecode = "{bytecode}"\n'
            f'entrypoint = ["python", "-m", "app"]\nmodels = [{models}]\n'
        )
        self.run("lock", project)
        self.run("build", project, "--tag", name)
        return name

    def train(self) -> Path:
        """The folder with the models of `_TRAIN`, each trained twice."""
        folder = self.root / "models"
        if not (folder / "digits-1.pkl").exists():
            tell("training the models")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            python = folder / "python" / "bin" / "python"
            run_process([find_uv_bin(), "venv", "-q", "--python", sys.executable, folder / "python"])
            pinned = [f"{package}=={NEW[package]}" for package in ("numpy", "scipy", "scikit-learn")]
            run_process([find_uv_bin(), "pip", "install", "-q", "--python", python, *pinned])
            run_process([python, "-c", _TRAIN], cwd=folder)
        return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    yard: Shipyard
    folder: Path
    keys: Path

    def release(self, name: str, platform: str) -> Run:
        words = ["release", name, "--channel", self.folder, "--keys", self.keys, "--platform", platform]
        return run_process([self.yard.wherry, *words], env=self.yard.environment, memory=True)

    def locate(self, base: str | None, platform: str) -> Path:
        """The parcel for whoever has the image called `base`; None: nothing."""
        found = self.yard.find(base, platform).manifest.digest if base else None
        return self.folder / locate_parcel(Platform.parse(platform), found)


def make_model_pair(yard: Shipyard, model: str) -> Pair:
    folder = yard.train()
    names = [yard.build(f"{model}:{number}", NEW, "cache", AMD64, folder / f"{model}-{number}.pkl") for number in range(2)]
    return Pair(base=names[0], target=names[1])


def make_wheel_pair(yard: Shipyard, name: str, old: Mapping[str, str], new: Mapping[str, str], **options: str) -> Pair:
    bytecode, platform = options.get("bytecode", "cache"), options.get("platform", AMD64)
    names = [yard.build(f"{name}:{number}", versions, bytecode, platform) for number, versions in enumerate((old, new))]
    return Pair(base=names[0], target=names[1], platform=platform)


def make_openssl_pair(yard: Shipyard) -> Pair:
    """The two packages of the stable suite, and of its security suite, without documentation; a layer each."""
    names = []
    for number, suite in enumerate(("bookworm", "bookworm-security")):
        folder = yard.root / "debian" / suite
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "tree").mkdir(parents=True)
        for package in ("libssl3", "openssl"):
            run_process(["apt-get", "download", "-qq", f"{package}={_find_version(package, suite)}"], cwd=folder)
        for deb in folder.glob("*.deb"):
            run_process(["dpkg-deb", "-x", deb, folder / "tree"])
        for unwanted in _DOCUMENTATION:
            shutil.rmtree(folder / "tree" / "usr" / "share" / unwanted, ignore_errors=True)
        names.append(f"openssl:{number}")
        write_archive(folder / "image.tar", folder / "tree", names[-1])
        yard.run("image", "load", folder / "image.tar")
    return Pair(base=names[0], target=names[1])


def _find_version(package: str, suite: str) -> str:
    listed = run_process(["apt-cache", "madison", package]).output.splitlines()
    found = [line.split("|")[1].strip() for line in listed if f" {suite}/" in line]
    if not found:
        raise NotMeasured(f"the apt configuration knows no {package} of {suite}")
    return found[0]


def write_archive(path: Path, tree: Path, name: str) -> None:
    """A one-layer image as `docker save` writes it."""
    layer = path.with_name("layer.tar")
    with tarfile.open(layer, mode="w") as tar:
        for place in sorted(tree.rglob("*")):
            tar.add(place, str(place.relative_to(tree)), recursive=False, filter=_make_plain)
    with layer.open("rb") as file:
        diff_id = hashlib.file_digest(file, "sha256").hexdigest()
    history = [{"created": "1970-01-01T00:00:00Z", "created_by": "bench"}]
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]}
    documents = {
        "config.json": {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs, "history": history},
        "manifest.json": [{"Config": "config.json", "Layers": ["layer.tar"], "RepoTags": [name]}],
    }
    with tarfile.open(path, "w") as archive:
        for member, value in documents.items():
            (path.with_name(member)).write_text(json.dumps(value))
            archive.add(path.with_name(member), member)
        archive.add(layer, layer.name)
    layer.unlink()


def _make_plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def make_huge_image(yard: Shipyard, size: int = HUGE) -> str:
    """One layer of two files, one random, one that compresses about four times."""
    folder = yard.root / "huge"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tree").mkdir(parents=True)
    for number, mask in enumerate((255, 3)):
        shrunk = bytes(value & mask for value in range(256))
        source = random.Random(number)
        with (folder / "tree" / f"data{number}").open("wb") as file:
            for _ in range(size // 2 >> 20):
                file.write(source.randbytes(1 << 20).translate(shrunk))
    write_archive(folder / "image.tar", folder / "tree", "huge:0")
    yard.run("image", "load", folder / "image.tar")
    shutil.rmtree(folder)
    return "huge:0"


def make_strangers_pair(yard: Shipyard) -> Pair:
    """buildah's image of a Dockerfile with one large COPY; in the second, one Python file of it has a line more."""
    for tool in ("buildah", "skopeo"):
        if shutil.which(tool) is None:
            raise NotMeasured(f"{tool} is not installed")
    if os.geteuid() != 0:
        raise NotMeasured("buildah needs root here")
    donor = yard.build("donor:0", NEW, "none")
    folder = yard.root / "stranger"
    clear_folder(folder)
    tree = folder / "context" / "site"
    tree.mkdir(parents=True)
    _unpack(yard, donor, tree)
    (folder / "context" / "Dockerfile").write_text("FROM scratch\nCOPY site /opt/site\n")
    names = []
    try:
        for number in range(2):
            archive = folder / f"{number}.tar"
            names.append(f"stranger:{number}")
            _bud(folder, archive, names[-1])
            yard.run("image", "load", archive)
            with next(tree.rglob("sklearn/base.py")).open("a") as file:
                file.write("CHANGED = True\n")
    finally:
        clear_folder(folder)
    return Pair(base=names[0], target=names[1])


def _unpack(yard: Shipyard, name: str, folder: Path) -> None:
    """Only numpy's and scikit-learn's files: some 100 MB."""
    image = yard.find(name, AMD64)
    wanted = ("numpy", "scikit-learn")
    for layer, built in zip(image.manifest.layers, image.layers, strict=True):
        if built.name.startswith(wanted):
            tar = folder / "layer.tar"
            with tar.open("wb") as file:
                file.writelines(read_layer(DiskStore(yard.root / "store"), layer.digest, built.diff_id))
            run_process(["tar", "-xf", tar, "-C", folder])
            tar.unlink()


def _bud(folder: Path, archive: Path, name: str) -> None:
    storage = ("--root", folder / "root", "--runroot", folder / "run", "--storage-driver", "vfs")
    env = {**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(folder)}
    run_process(["buildah", *storage, "bud", "-q", "-t", name, folder / "context"], env=env)
    run_process(["buildah", *storage, "push", "-q", name, f"docker-archive:{archive}:{name}"], env=env)


PAIRS: dict[str, Callable[[Shipyard], Pair]] = {
    "iris-model": lambda yard: make_model_pair(yard, "iris"),
    "digits-model": lambda yard: make_model_pair(yard, "digits"),
    "sklearn-patch-amd64": lambda yard: make_wheel_pair(yard, "patch", OLD, NEW),
    "sklearn-patch-arm64": lambda yard: make_wheel_pair(yard, "patch-arm64", OLD, NEW, platform=ARM64),
    "sklearn-patch-bytecode": lambda yard: make_wheel_pair(yard, "patch-bytecode", OLD, NEW, bytecode="layer"),
    "openssl": make_openssl_pair,
    "four-minor": lambda yard: make_wheel_pair(yard, "minor", MINOR_OLD, MINOR_NEW),
    "strangers-image": make_strangers_pair,
}
