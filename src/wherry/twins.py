"""All places that a project runs in, held against its lock: the environment, the image, the kernels of both, conda's prefix.

What each place must have is read from the locked wheels and records themselves, by the plan that every place is laid out by. A
place that was not made yet is no difference. Nothing is run, made or mended.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wherry.assemble.inputs import fetch_wheels
from wherry.assemble.packages import OpenedPackages, open_packages
from wherry.assemble.record_lists import read_record_list
from wherry.assemble.records import place_files
from wherry.check.contents import LayeredContents
from wherry.check.images import describe_stored, read_digests, read_facts
from wherry.check.tree import LayeredTree
from wherry.check.twins import Expected, FolderPlace, ImagePlace, Twin, TwinPackage, compare_twin, name_distributions
from wherry.conda_side import conda_source
from wherry.environments import survey_environments
from wherry.formats.tar import TarEntry
from wherry.lock.storage import read_lock
from wherry.model.layout import environment_layout
from wherry.model.lock import LockedRecord, LockedWheel, PlatformLock
from wherry.notebook_image import SESSION_TAG
from wherry.notebook_lock import NOTEBOOK_LOCK
from wherry.notebook_overlay import overlay_place
from wherry.pipeline import LockedProject, Project, Wishes
from wherry.run.environments import FoundEnvironment
from wherry.store.host import read_host_platform
from wherry.store.images import StoredImage, read_images

_VERSION = re.compile(r"^version(?:_info)? *= *([0-9.]+)", re.MULTILINE)
_RECORD_OF_PYTHON = re.compile(r"conda-meta/python-(\d[0-9.]*)-[^/]*\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinReport:
    """What was found. `absent` are places that nobody has made yet, each with the command that makes it."""

    expected: Expected
    twins: tuple[Twin, ...]
    absent: tuple[tuple[str, str], ...]

    @property
    def equal(self) -> bool:
        return not any(twin.differences for twin in self.twins)


def compare_twins(project: Project, *, offline: bool = False) -> TwinReport:
    """Look at every place of the project on this machine, and at its image for it."""
    locked = project.ready_lock(Wishes(platforms=(read_host_platform(),), locked=True, offline=offline))
    look = _Look(project, locked, locked.value.for_platform(read_host_platform()))
    ways = (
        ("local", "wherry env create", look.at_environments),
        ("container", "wherry build", look.at_image),
        ("kernel (local)", "wherry notebook", look.at_overlay),
        ("kernel (container)", "wherry notebook --on container", look.at_session_image),
    )
    found = {name: tuple(way()) for name, _, way in ways}
    return TwinReport(
        expected=look.expected,
        twins=tuple(twin for twins in found.values() for twin in twins),
        absent=tuple((name, hint) for name, hint, _ in ways if not found[name]),
    )


def list_expected(own: PlatformLock, opened: OpenedPackages, prefix: str) -> Expected:
    """What the packages bring to every place. `opened` is their plan for one place, at `prefix`."""
    start = len(prefix) + 1
    files: dict[str, tuple[str, str]] = {}
    generated: set[str] = set()
    for wheel in own.wheels:
        for entry in opened.wheels.entries(wheel.name):
            path = entry.path[start:]
            if isinstance(entry.content, bytes):
                generated.add(path)
            else:
                files[path] = (_name(wheel), _find_digest(entry, opened.wheels.layouts[wheel.name].digests[entry.path]))
    for record in own.records:
        listed = read_record_list(opened.archives[record.name], record)
        places = partial(place_files, entry_points=(), noarch_python=record.noarch_python, minor=own.interpreter.minor)
        placed = places((path, None) for path in listed.placed).keys()
        for path in opened.records.kept[record.name]:
            digest = opened.contents[record.name].files[path]
            if digest is None or path in placed:
                generated.add(path)
            else:
                files[path] = (_name(record), digest)
    locked: tuple[LockedWheel | LockedRecord, ...] = (*own.wheels, *own.records)
    packages = tuple(TwinPackage(name=one.name, version=one.version, sha256=one.sha256) for one in locked)
    return Expected(python=own.interpreter.version, packages=packages, own=files, generated=frozenset(generated))


def _name(package: LockedWheel | LockedRecord) -> str:
    return f"{package.name} {package.version}"


def _find_digest(entry: TarEntry, recorded: str) -> str:
    """The sha256 of a wheel's file; a RECORD may have it by another algorithm."""
    algorithm, _, value = recorded.partition("=")
    if algorithm == "sha256":
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
    running = hashlib.sha256()
    for chunk in () if isinstance(entry.content, bytes) else entry.content():
        running.update(chunk)
    return running.hexdigest()


class _Look:
    """Where the places are, and what each of them must have."""

    def __init__(self, project: Project, locked: LockedProject, own: PlatformLock) -> None:
        self._project = project
        self._name = locked.declaration.name
        self._root = project.root.absolute()
        self._own = own
        self._layout = environment_layout(own.interpreter)
        self.expected = _expect_files(project, locked, own)

    def at_environments(self) -> Iterator[Twin]:
        """The project's own, and those of its that have a name."""
        for found in self._list_environments():
            own = found.prefix.is_relative_to(self._root)
            place = FolderPlace(found.prefix, self._own.interpreter.minor)
            python = found.record.python if found.state != "broken" else ""
            yield compare_twin("local" if own else found.record.name, str(found.prefix), python, self.expected, place)

    def at_overlay(self) -> Iterator[Twin]:
        """The local kernel's Python looks in two folders; the project's files are those of the environment."""
        minor = self._own.interpreter.minor
        site = overlay_place(self._root) / f"lib/python{minor}/site-packages"
        for found in self._list_environments():
            if site.is_dir() and found.prefix.is_relative_to(self._root):
                beside = name_distributions(map(str, site.iterdir()))
                place = FolderPlace(found.prefix, minor, [site])
                text = _read_text(overlay_place(self._root) / "pyvenv.cfg")
                where = str(overlay_place(self._root))
                yield compare_twin("kernel (local)", where, _read_version(text), self.expected, place, beside=beside)

    def at_image(self) -> Iterator[Twin]:
        for name, image in self._list_images("latest"):
            yield self._compare_image("container", name, image, {})

    def at_session_image(self) -> Iterator[Twin]:
        notebook = read_lock(self._root, NOTEBOOK_LOCK)
        wheels = notebook.for_platform(self._own.platform).wheels if notebook is not None else ()
        beside = {wheel.name: wheel.version for wheel in wheels}
        for name, image in self._list_images(SESSION_TAG):
            yield self._compare_image("kernel (container)", name, image, beside)

    def _list_environments(self) -> Iterator[FoundEnvironment]:
        for found in survey_environments(self._root, self._project.env, self._own.platform):
            if found.record.project == str(self._root):
                yield found

    def _list_images(self, tag: str) -> Iterator[tuple[str, StoredImage]]:
        name = f"{self._name}:{tag}"
        descriptor = self._project.store.names().get(name)
        for image in read_images(self._project.store, descriptor) if descriptor is not None else ():
            if image.platform == self._own.platform:
                yield name, image

    def _compare_image(self, twin: str, name: str, image: StoredImage, beside: Mapping[str, str]) -> Twin:
        layers = describe_stored(self._project.store, image, name).layers
        facts = read_facts(layers, self._project.cache, self._project.progress)
        digests = read_digests(layers, self._project.cache, self._project.progress)
        tree = LayeredTree(facts)
        place = ImagePlace(self._layout.prefix, LayeredContents(tree, zip(facts, digests, strict=True)), tree.entries)
        python = _read_version(tree.read_text(self._layout.configuration) or "")
        if self._layout.is_conda:
            python = next((found[1] for path in tree.entries if (found := _RECORD_OF_PYTHON.search(path))), "")
        where = f"{name} {str(image.config.digest)[:19]}"
        return compare_twin(twin, where, python, self.expected, place, beside=beside)


def _expect_files(project: Project, locked: LockedProject, own: PlatformLock) -> Expected:
    """What the locked packages bring, each file with its digest; they are fetched where they are not here."""
    finder = project.open_finder(locked.declaration, locked.value, locked.wishes)
    side = project.open_conda(locked.declaration, locked.value, locked.wishes)
    with ExitStack() as stack, finder as wheels, side as conda:
        fetch = conda_source(conda, own, locked.value).fetch
        opened = open_packages(own, own.layers, partial(fetch_wheels, wheels), fetch, stack)
        return list_expected(own, opened, environment_layout(own.interpreter).prefix)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _read_version(text: str) -> str:
    """The version that a pyvenv.cfg names."""
    found = _VERSION.search(text)
    return found[1] if found else ""
