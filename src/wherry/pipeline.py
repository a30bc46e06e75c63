"""The stages composed; the public face of the library. Start reading here.

files ─declare→ Declaration ─lock→ Lock ─assemble→ Image

>>> from wherry import Project
>>> result = Project("examples/iot-anomaly").lock().build()
>>> result.images[0].size
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from wherry.assemble.build import assemble_layers
from wherry.assemble.layer_search import LayerSearch
from wherry.assemble.recipe import PlatformRecipe, Recipe
from wherry.bases import Bases, open_bases
from wherry.building import Building, find_stale_folders, refuse_stale
from wherry.conda_side import CondaSide, conda_source, open_conda_side
from wherry.declare.code import code_files, find_secrets, list_tokens
from wherry.declare.conda import LOCK_NAMES, NAMES
from wherry.declare.fingerprint import declaration_digest
from wherry.declare.project import read_declaration
from wherry.environments import EnvironmentSources, EnvironmentWish, find_ready, make_environment
from wherry.errors import FormatError, LockError, StoreError
from wherry.lock.resolution import is_answered, require_answered, resolve_lock
from wherry.lock.storage import LOCKFILE, read_lock, write_lock
from wherry.managed import open_managed
from wherry.model.declaration import DebianBase, Declaration
from wherry.model.digest import Digest
from wherry.model.image import BuildResult
from wherry.model.lock import BuildKind, Lock, PlatformLock, packages_digest
from wherry.model.platform import Platform
from wherry.model.progress import Progress, be_silent
from wherry.rebuild import ProjectFiles, finish_build, known_blobs
from wherry.run.environments import FoundEnvironment
from wherry.run.kept_layouts import Keeping
from wherry.scoring import bring_runtime, image_variables, with_runtime
from wherry.sources.artefacts import ArtefactFinder
from wherry.sources.package_sources import PackageSources
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform
from wherry.store.places import cache_path, store_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """uv's meanings: `locked` allows no change of the lock, `frozen` does not even look whether it would need one."""

    platforms: tuple[Platform, ...] = ()  # empty: those of the declaration
    upgrade: bool = False
    upgrade_packages: frozenset[str] = frozenset()
    locked: bool = False
    frozen: bool = False
    offline: bool = False
    find: tuple[Path, ...] = ()
    refresh_names: bool = False


_PROJECTS_OWN = EnvironmentWish()


class Project:
    """A project's folder. `env` is where wherry's, pip's and uv's variables are read; `progress` is told of long work.

    Every method raises a `WherryError` that says what is wrong, where, and what to try.
    """

    def __init__(
        self,
        root: str | Path = ".",
        *,
        env: Mapping[str, str] | None = None,
        progress: Progress = be_silent,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.root = Path(root)
        self.env = os.environ if env is None else env
        self.store = DiskStore(store_path(self.env))
        self.cache = cache_path(self.env)
        self.progress = progress
        self.say = say
        self._told: set[str] = set()  # one build may read the declaration several times

    def _say_once(self, note: str) -> None:
        if note not in self._told:
            self._told.add(note)
            self.say(note)

    def declare(self, wishes: Wishes = Wishes()) -> Declaration:
        """Read what the author asks for."""
        declared = read_declaration(self.root, self.env)
        for note in declared.notes:
            self._say_once(note)
        return replace(declared, platforms=tuple(sorted(set(wishes.platforms or declared.platforms))))

    def lock(self, wishes: Wishes = Wishes(), *, write: bool = True) -> LockedProject:
        """Resolve to exact packages; writes `wherry.lock` unless told not to."""
        since = time.time_ns()
        declared = self.declare(wishes)
        former = read_lock(self.root)
        digest = declaration_digest(declared)
        if wishes.frozen:
            if former is None:
                raise LockError("there is no lock, and --frozen makes none", where=LOCKFILE, hint="wherry lock")
            return LockedProject(self, declared, former, wishes, since)
        stale = find_stale_folders(declared, former) if former is not None else ()
        if wishes.locked:
            refuse_stale(stale)
            return LockedProject(self, declared, require_answered(declared, digest, former), wishes, since)
        with self._bases(declared, wishes) as bases:
            lock = resolve_lock(
                with_runtime(declared, self.cache),
                digest,
                former,
                upgrade=wishes.upgrade,
                upgrade_packages=wishes.upgrade_packages,
                offline=wishes.offline,
                environment=self.env,
                cache=self.cache,
                lock_base=bases.lock_base,
                open_yard=self._building(declared, bases, wishes).open_yard,
                stale=bool(stale),
                refresh_names=wishes.refresh_names,
                progress=self.progress,
                say=self._say_once,
            )
        if write and write_lock(self.root, lock):
            self.say(f"wrote {self.root / LOCKFILE}")
        return LockedProject(self, declared, lock, wishes, since)

    def build(self, wishes: Wishes = Wishes(), *, tag: str | None = None, verify: bool = False) -> BuildResult:
        """Build the image from the lock, which is made when there is none and extended by platforms it lacks."""
        project = self.ready_lock(wishes)
        return project.build(tag=tag, verify=verify, platforms=self.declare(wishes).platforms)

    def create_environment(self, wishes: Wishes = Wishes(), wish: EnvironmentWish = _PROJECTS_OWN) -> FoundEnvironment:
        """Make an environment on this machine from the lock, which is made or extended as for a build."""
        platform = read_host_platform()
        project = self.ready_lock(replace(wishes, platforms=(platform,)))
        locked, declared = project.value.for_platform(platform), project.declaration
        managed = open_managed(declared, self.env, self.cache, False, wishes.offline, self.progress, wishes.find)
        bring = partial(managed.bring, locked.interpreter, project.value) if managed else None
        files = () if builds_folders(project.value) else watched_files(declared)
        keeping = Keeping(files=files, since=project.since, frozen=wishes.frozen)
        finder, side = self.open_finder(declared, project.value, wishes), self.open_conda(declared, project.value, wishes)
        with finder as found, side as conda, self._forgetting_damage(found, locked):
            sources = EnvironmentSources(finder=found, conda=conda_source(conda, locked, project.value), bring_python=bring)
            return make_environment(declared, locked, wish, sources, self.env, self.cache, self.progress, self.say, keeping)

    def ready_environment(self, wishes: Wishes = Wishes()) -> FoundEnvironment:
        """The project's own environment, as the lock has it: the one that is there, or one made now."""
        platform = read_host_platform()
        project = self.ready_lock(replace(wishes, platforms=(platform,)))
        found = find_ready(project.declaration, project.value.for_platform(platform), self.env)
        if found is None:
            self.say("no environment of this lock yet: making it")
            found = self.create_environment(wishes)
        return found

    def packages_digest(self) -> Digest:
        """The digest of this machine's locked packages. The lock is made when there is none."""
        platform = read_host_platform()
        return packages_digest(self.ready_lock(Wishes(platforms=(platform,))).value.for_platform(platform))

    def list_watched(self) -> tuple[str, ...]:
        """The files that decide what is locked; none where a folder is built from, for all its files do."""
        lock = read_lock(self.root)
        return () if lock is None or builds_folders(lock) else watched_files(self.declare())

    def ready_lock(self, wishes: Wishes) -> LockedProject:
        """The project with its lock, which is made when there is none and extended by platforms it lacks."""
        since = time.time_ns()
        declared = self.declare(wishes)
        lock = read_lock(self.root)
        stale = find_stale_folders(declared, lock) if lock is not None and not wishes.frozen else ()
        if wishes.locked:
            refuse_stale(stale)
        if lock is None or (not wishes.frozen and not wishes.locked and (stale or self._only_lacks_platforms(declared, lock))):
            platforms = declared.platforms if lock is None else (*declared.platforms, *(one.platform for one in lock.platforms))
            return self.lock(replace(wishes, platforms=tuple(platforms)))
        if not wishes.frozen:
            require_answered(declared, declaration_digest(declared), lock)
        return LockedProject(self, declared, lock, wishes, since)

    def _building(self, declared: Declaration, bases: Bases, wishes: Wishes) -> Building:
        sources = self._sources(declared, wishes)
        return Building(declared=declared, bases=bases, sources=sources, env=self.env, find=wishes.find, say=self.say)

    def _sources(self, declared: Declaration, wishes: Wishes) -> PackageSources:
        return PackageSources(declared.root, declared.environment.indexes, self.env, self.cache, offline=wishes.offline)

    def open_conda(self, declared: Declaration, lock: Lock, wishes: Wishes) -> AbstractContextManager[CondaSide | None]:
        return open_conda_side(
            declared, lock, self.env, self.cache, offline=wishes.offline, find=wishes.find, progress=self.progress
        )

    @contextmanager
    def open_finder(self, declared: Declaration, lock: Lock, wishes: Wishes) -> Iterator[ArtefactFinder]:
        """Finds the lock's files again; what was built once and is nowhere to be found is built again."""
        sources = self._sources(declared, wishes)
        if declared.score is not None:
            bring_runtime(self.cache)
        if not any(locked.builds for locked in lock.platforms):
            yield sources.finder(wishes.find, self.progress)
            return
        with self._bases(declared, wishes) as bases:
            yield sources.finder(wishes.find, self.progress, self._building(declared, bases, wishes).rebuild_from(lock))

    @contextmanager
    def _forgetting_damage(self, finder: ArtefactFinder, locked: PlatformLock) -> Iterator[None]:
        """A file of the cache that cannot be read, because it is no longer what it was, leaves the cache."""
        try:
            yield
        except FormatError as error:
            if not (damaged := finder.drop_damaged(locked.wheels)):
                raise
            what = f"damaged, and removed from the cache: {', '.join(damaged)}"
            raise StoreError(what, where=str(self.cache), hint="the same command again fetches anew") from error

    def _drop_damaged_layers(self) -> None:
        """Read again what former builds of this project wrote; what is no longer what its digest says is made anew."""
        for digest in known_blobs(self.root, self.cache):
            if self.store.has(digest) and self.store.drop_if_damaged(digest):
                self.say(f"blob {digest} was damaged: it is made again")

    @staticmethod
    def _only_lacks_platforms(declared: Declaration, lock: Lock) -> bool:
        digest = declaration_digest(declared)
        return lock.declaration == digest and not is_answered(declared, digest, lock)

    @contextmanager
    def _bases(self, declared: Declaration, wishes: Wishes) -> Iterator[Bases]:
        upgrade = wishes.upgrade or wishes.upgrade_packages
        with open_bases(declared, self.env, self.store, self.cache, upgrade, wishes.offline, self.progress, wishes.find) as bases:
            yield bases

    def assemble(self, declared: Declaration, lock: Lock, wishes: Wishes) -> tuple[Lock, tuple[PlatformRecipe, ...]]:
        """The recipes of the declared platforms, and the lock with what was learned while making them."""
        recipes = []
        images = () if wishes.offline else declared.layers_from
        search = LayerSearch(self.store, images, declared.compression, self.env, self.cache, self.progress, self.say)
        opened = self.open_finder(declared, lock, wishes)
        side = self.open_conda(declared, lock, wishes)
        with self._bases(declared, wishes) as bases, opened as finder, side as conda, search, self.store.in_use():
            for platform in declared.platforms:
                locked = lock.for_platform(platform)
                inputs = bases.inputs(locked, lock, finder, search.find)
                source = conda_source(conda, locked, lock)
                with self._forgetting_damage(finder, locked):
                    made = assemble_layers(locked, inputs, self.store, self.cache, declared.compression, self.progress, source)
                for clash in made.clashes:
                    self.say(f"{clash.path} is in {clash.kept} and in {clash.dropped}: that of {clash.kept} is in the image")
                for note in made.notes:
                    self._say_once(note)
                recipes.append(bases.recipe(locked, made.layers))
                lock = with_layers(lock, replace(locked, layers=made.learned))
        return lock, tuple(recipes)


@dataclass(frozen=True, slots=True)
class LockedProject:
    """A project with its lock. `since` (ns) is a time before its files were read."""

    project: Project
    declaration: Declaration
    value: Lock
    wishes: Wishes
    since: int

    def build(self, *, tag: str | None = None, verify: bool = False, platforms: Sequence[Platform] | None = None) -> BuildResult:
        """Build the image into the store, named `tag` (default: NAME:latest). `verify` reads every file and layer again."""
        for path in find_secrets(self.declaration):
            self.project.say(f"{path} looks like a secret: it is left out of the image")
        for path, kinds in list_tokens(code_files(self.declaration)):
            self.project.say(
                f"{path} holds {', '.join(kinds)}, which whoever pulls the image has: hand it over by wherry run --secret"
            )
        declared = replace(self.declaration, platforms=tuple(sorted(platforms or self.declaration.platforms)))
        if verify:
            self.project._drop_damaged_layers()
        learned, made = self.project.assemble(declared, self.value, self.wishes)
        if not (self.wishes.frozen or self.wishes.locked):
            write_lock(self.project.root, learned)
        recipe = describe_image(declared, made)
        files = ProjectFiles(
            root=declared.root,
            code=declared.code,
            models=declared.models,
            watched=watched_files(declared),
            guessed=declared.models_guessed,
        )
        name = tag or f"{declared.name}:latest"
        project, usual = self.project, self._is_usual(name, declared)
        return finish_build(
            files, recipe, name, project.store, project.cache, project.env, since=self.since, usual=usual, verify=verify
        )

    def _is_usual(self, name: str, declared: Declaration) -> bool:
        """Whether a build without options would make the same. A folder that something is built from is always looked at."""
        if builds_folders(self.value):
            return False
        asked = read_declaration(self.project.root, self.project.env)
        same = (name, declared.platforms) == (f"{asked.name}:latest", tuple(sorted(asked.platforms)))
        return same and not self.wishes.frozen


def builds_folders(lock: Lock) -> bool:
    """Whether something locked is built from a folder."""
    return any(build.kind is BuildKind.FOLDER for locked in lock.platforms for build in locked.builds)


def with_layers(lock: Lock, built: PlatformLock) -> Lock:
    """The lock with what a build learned of one platform; the first build adds it, later ones were checked against it."""
    platforms = (built if locked.platform == built.platform else locked for locked in lock.platforms)
    return replace(lock, platforms=tuple(platforms))


def watched_files(declared: Declaration) -> tuple[str, ...]:
    """The files that say what the project is: those read, and those that would be read if they were there."""
    usual = ("wherry.toml", "pyproject.toml", "uv.lock", "pylock.toml", "requirements.txt", ".python-version", LOCKFILE)
    return tuple(dict.fromkeys((*usual, *LOCK_NAMES, *NAMES, *declared.environment.files)))


def describe_image(declared: Declaration, made: tuple[PlatformRecipe, ...]) -> Recipe:
    """What an image of these layers says of itself."""
    return Recipe(
        name=declared.name,
        platforms=made,
        base_name=base_name(declared),
        entrypoint=declared.entrypoint,
        env=image_variables(declared),
        labels=declared.labels,
        volumes=declared.volumes,
        ports=declared.ports,
        user=declared.user,
        workdir=declared.workdir,
        bytecode=declared.bytecode,
        compression=declared.compression,
    )


def base_name(declared: Declaration) -> str:
    """The base as the author named it."""
    return f"debian:{declared.base.suite}" if isinstance(declared.base, DebianBase) else str(declared.base.reference)
