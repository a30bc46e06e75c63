"""Builds one wheel out of one source archive (docs/spec/builds.md).

The tools of a build are locked wheels. A first build is made twice, and refused when the two differ; one that was made before on
this machine is found again by what went into it. What needs a compiler, or comes out for some platforms only, is refused by name.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename

from wherry.errors import LockError, WherryError
from wherry.formats.built_wheel import CompiledError, check_tags, rewrite_wheel
from wherry.formats.source_archive import SourceTree, stream_source, survey_source
from wherry.lock.build_sandbox import BuildPython, BuildSandbox, SourceArchive, compiled_refusal, open_output
from wherry.model.digest import Digest
from wherry.model.lock import LockedBuild, LockedWheel
from wherry.store.posix import sync_folder, write_hint

RECIPE = 1
_MAX_WHEEL = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltWheel:
    """A wheel in the cache, and what it was made of."""

    name: str
    version: str
    path: Path
    size: int
    sha256: Digest
    source: SourceArchive
    tools: tuple[LockedWheel, ...]

    def as_locked(self) -> LockedBuild:
        source = self.source
        return LockedBuild(
            name=self.name,
            version=self.version,
            kind=source.kind,
            file=source.file,
            size=source.size,
            sha256=source.sha256,
            recipe=RECIPE,
            commit=source.commit,
            tools=self.tools,
        )


# Resolves what a build asks for to wheels.
ResolveTools = Callable[[Sequence[str]], tuple[LockedWheel, ...]]


class Builder:
    """Builds for one Python. `open_python` is asked when something is to be built."""

    def __init__(
        self,
        cache: Path,
        open_python: Callable[[], BuildPython],
        sandbox: BuildSandbox,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._cache = cache
        self._open_python = open_python
        self._sandbox = sandbox
        self._say = say

    def build_first(self, source: SourceArchive, resolve_tools: ResolveTools) -> BuiltWheel:
        """Build a source for the first time: find its tools, and see that it gives the same wheel twice."""
        python = self._open_python()
        known = self._recall(source, python)
        if known is not None:
            return known
        self._say(f"building {source.name} out of {source.file}, in a sandbox without network")
        tree = _survey(source)
        tools = resolve_tools(tree.requires)
        asked = self._ask_requires(source, tree, python, tools)
        if asked:
            tools = resolve_tools((*tree.requires, *asked))
        built = self._build(source, tree, python, tools)
        again = self._build(source, tree, python, tools)
        if again.sha256 != built.sha256:
            difference = _find_difference(built, again)
            again.path.unlink(missing_ok=True)
            built.path.unlink(missing_ok=True)
            raise LockError(
                f"{source.name} does not build to the same wheel twice: {difference}",
                hint="a release that has a wheel, or tell its authors: reproducible-builds.org",
            )
        self._remember(built, python)
        return built

    def build_again(self, build: LockedBuild, source: SourceArchive) -> BuiltWheel:
        """Build as it was built before; whether the outcome is the same is for the caller to see."""
        if build.recipe != RECIPE:
            raise LockError(
                f"{build.name} {build.version} was built by rules {build.recipe}, and this wherry builds by rules {RECIPE}",
                where="wherry.lock",
                hint=f"wherry lock --upgrade-package {build.name}",
            )
        self._say(f"building {build.name} {build.version} again, in a sandbox without network")
        return self._build(source, _survey(source), self._open_python(), build.tools)

    def _ask_requires(
        self, source: SourceArchive, tree: SourceTree, python: BuildPython, tools: Sequence[LockedWheel]
    ) -> tuple[str, ...]:
        with tempfile.TemporaryDirectory(prefix="build-", dir=self._make_scratch()) as scratch:
            answer = self._sandbox.call("requires", source, tree, python, tools, Path(scratch))
        if not isinstance(answer, list) or not all(isinstance(text, str) for text in answer):
            raise LockError(f"the build backend of {source.name} does not say what it needs")
        return tuple(answer)

    def _build(self, source: SourceArchive, tree: SourceTree, python: BuildPython, tools: Sequence[LockedWheel]) -> BuiltWheel:
        with tempfile.TemporaryDirectory(prefix="build-", dir=self._make_scratch()) as scratch:
            folder = Path(scratch)
            file = self._sandbox.call("wheel", source, tree, python, tools, folder)
            if not isinstance(file, str) or "/" in file or not file.endswith(".whl"):
                raise LockError(f"the build backend of {source.name} names no wheel: {str(file)[:80]!r}")
            try:
                check_tags(file)
            except CompiledError as error:
                raise compiled_refusal(source.name, error.what) from None
            name, version = parse_wheel_filename(file)[:2]
            if name != canonicalize_name(source.name):
                raise LockError(f"{source.file} builds {name}, not {source.name}", hint=f'allow-build = ["{name}"]')
            made = folder / file
            with open_output(folder / "out", file, _MAX_WHEEL) as written, made.open("xb") as sink:
                rewrite_wheel(written, file, python.minor, sink)
            path, digest = self._keep(made)
        return BuiltWheel(
            name=name,
            version=str(version),
            path=path,
            size=path.stat().st_size,
            sha256=digest,
            source=replace(source, name=name),
            tools=tuple(replace(tool, requires=(), requested=False) for tool in sorted(tools, key=lambda tool: tool.name)),
        )

    def _make_scratch(self) -> Path:
        folder = self._cache / "building"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _keep(self, made: Path) -> tuple[Path, Digest]:
        """Move a wheel to its place in the cache."""
        with made.open("rb") as file:
            digest = Digest(hashlib.file_digest(file, "sha256").hexdigest())
            os.fsync(file.fileno())
        target = self._cache / "artefacts" / "sha256" / digest.hex / made.name
        target.parent.mkdir(parents=True, exist_ok=True)
        made.replace(target)
        sync_folder(target.parent)
        return target, digest

    def _place_of(self, source: SourceArchive, python: BuildPython) -> Path:
        key = json.dumps([RECIPE, source.sha256.hex, source.subfolder, python.version, python.path, source.name])
        return self._cache / "built-wheels" / hashlib.sha256(key.encode()).hexdigest()

    def _remember(self, built: BuiltWheel, python: BuildPython) -> None:
        document = {
            "version": built.version,
            "file": built.path.name,
            "sha256": built.sha256.hex,
            "tools": [
                {"name": tool.name, "version": tool.version, "file": tool.file, "size": tool.size, "sha256": tool.sha256.hex}
                for tool in built.tools
            ],
        }
        write_hint(self._place_of(built.source, python), json.dumps(document).encode())

    def _recall(self, source: SourceArchive, python: BuildPython) -> BuiltWheel | None:
        """What was built here before out of the same; believed only as long as the wheel is what it was."""
        try:
            document = json.loads(self._place_of(source, python).read_bytes())
            digest = Digest(document["sha256"])
            path = self._cache / "artefacts" / "sha256" / digest.hex / document["file"]
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest.hex:
                    return None
            tools = tuple(LockedWheel(**{**tool, "sha256": Digest(tool["sha256"])}) for tool in document["tools"])
            return BuiltWheel(
                name=source.name,
                version=document["version"],
                path=path,
                size=path.stat().st_size,
                sha256=digest,
                source=source,
                tools=tools,
            )
        except (OSError, ValueError, KeyError, TypeError, WherryError):
            return None


def _survey(source: SourceArchive) -> SourceTree:
    with source.path.open("rb") as stream:
        return survey_source(stream_source(stream, source.file, source.size), source.file, source.subfolder)


def _find_difference(first: BuiltWheel, second: BuiltWheel) -> str:
    with zipfile.ZipFile(first.path) as one, zipfile.ZipFile(second.path) as other:
        if set(one.namelist()) != set(other.namelist()):
            return "other files"
        names = [name for name in one.namelist() if not name.endswith("/RECORD") and one.read(name) != other.read(name)]
    return ", ".join(names[:3]) or "other modes"
