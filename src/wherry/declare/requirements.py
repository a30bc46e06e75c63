"""requirements.txt as found in the wild, to requirements, constraints and index options.

The grammar is pip's: hashes, markers, extras, nested ``-r`` and ``-c`` (relative to the file that names them), index
options, options of a single requirement. What it refuses, by name and all at once: editable installs, folders, archives
and version control, unless they may be built (build_lines.py), URLs without a sha256, ``-r`` of a URL. Lines are never
shown with credentials.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wherry.declare.build_lines import AllowedBuilds, Refused
from wherry.declare.conda import is_explicit_list
from wherry.declare.redaction import redact
from wherry.declare.refusals import Refusal, refuse
from wherry.declare.requirement import parse_editable, parse_requirement_line
from wherry.declare.requirement_lines import decode_requirements, logical_lines
from wherry.errors import DeclarationError
from wherry.formats.urls import strip_login
from wherry.model.declaration import IndexOptions, Requirement

_SIZE_LIMIT = 16 << 20
_DEPTH_LIMIT = 32

# Options of a whole file. True: takes a value.
_OPTIONS = {
    "-r": True,
    "--requirement": True,
    "-c": True,
    "--constraint": True,
    "-e": True,
    "--editable": True,
    "-i": True,
    "--index-url": True,
    "--extra-index-url": True,
    "-f": True,
    "--find-links": True,
    "--no-index": False,
    "--pre": False,
    "--no-binary": True,
    "--only-binary": True,
    "--prefer-binary": False,
    "--require-hashes": False,
    "--trusted-host": True,
    "--use-feature": True,
    "--config-settings": True,
    "--always-unzip": False,
    "-Z": False,
    "--use-wheel": False,
    "--no-use-wheel": False,
    "--allow-external": True,
    "--allow-all-external": False,
    "--allow-unverified": True,
    "--process-dependency-links": False,
    "--no-deps": False,
    "--no-build-isolation": False,
}
_LONG = {"-r": "--requirement", "-c": "--constraint", "-e": "--editable", "-i": "--index-url", "-f": "--find-links"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementsFile:
    """What a requirements file and all files it names ask for; `files` in the order of reading, relative to the root."""

    files: tuple[str, ...]
    requirements: tuple[Requirement, ...]
    constraints: tuple[Requirement, ...]
    indexes: IndexOptions
    notes: tuple[str, ...] = ()


def read_requirements(root: Path, file: str, env: Mapping[str, str], builds: frozenset[str] = frozenset()) -> RequirementsFile:
    """Read ``root/file`` and what it names. Every problem of content is in one `DeclarationError`.

    `builds` are the names of what may be built.
    """
    reader = _Reader(root=root, env=env, allowed=AllowedBuilds(root=root, names=builds))
    reader.read_file(file, asked_by=None, constraint=False, chain=())
    return reader.finish()


def read_embedded_requirements(
    root: Path,
    file: str,
    entries: Sequence[tuple[int, str]],
    env: Mapping[str, str],
    builds: frozenset[str] = frozenset(),
) -> RequirementsFile:
    """The same for lines that stand in another file, each with its number there: conda's ``pip:`` section."""
    reader = _Reader(root=root, env=env, allowed=AllowedBuilds(root=root, names=builds), files=[file])
    for number, text in entries:
        for _, line in logical_lines(text, env):
            reader.read_line(line, f"{file}:{number}", file=file, constraint=False, chain=(file,))
    return reader.finish()


@dataclass(slots=True, kw_only=True)
class _Reader:
    root: Path
    env: Mapping[str, str]
    allowed: AllowedBuilds
    files: list[str] = field(default_factory=list)
    done: set[tuple[str, bool]] = field(default_factory=set)
    requirements: list[Requirement] = field(default_factory=list)
    constraints: list[Requirement] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    index_url: str | None = None
    extra_index_urls: list[str] = field(default_factory=list)
    find_links: list[str] = field(default_factory=list)
    no_index: bool = False
    pre: bool = False
    places: dict[str, str] = field(default_factory=dict)

    def finish(self) -> RequirementsFile:
        """All that was read; one `DeclarationError` for all lines that cannot be taken."""
        refuse(self.refusals)
        return RequirementsFile(
            files=tuple(dict.fromkeys(self.files)),
            requirements=tuple(self.requirements),
            constraints=tuple(self.constraints),
            indexes=IndexOptions(
                index_url=self.index_url,
                extra_index_urls=tuple(dict.fromkeys(self.extra_index_urls)),
                find_links=tuple(dict.fromkeys(self.find_links)),
                no_index=self.no_index,
                pre=self.pre,
                places=tuple(self.places.items()),
            ),
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def read_file(self, file: str, *, asked_by: str | None, constraint: bool, chain: tuple[str, ...]) -> None:
        if file in chain:
            steps = " → ".join((*chain[chain.index(file) :], file))
            raise DeclarationError(f"the files name each other in a circle: {steps}", where=asked_by, hint="remove one -r")
        if len(chain) >= _DEPTH_LIMIT:
            raise DeclarationError(f"-r nested deeper than {_DEPTH_LIMIT} files", where=asked_by)
        if (file, constraint) in self.done:
            return
        self.done.add((file, constraint))
        self.files.append(file)
        text = decode_requirements(_read_bytes(self.root, file, asked_by), file)
        if is_explicit_list(text):
            hint = f'environment = "{file}" reads it alone'
            raise DeclarationError("this is conda's list of packages (@EXPLICIT), not pip's", where=file, hint=hint)
        for number, line in logical_lines(text, self.env):
            self.read_line(line, f"{file}:{number}", file=file, constraint=constraint, chain=(*chain, file))

    def read_line(self, line: str, where: str, *, file: str, constraint: bool, chain: tuple[str, ...]) -> None:
        if line.startswith("-"):
            for option, value in _split_options(line, where):
                if option in ("--requirement", "--constraint") and "://" in value:
                    self.refusals.append(_refuse_remote(value, where))
                    return  # what follows may be somebody's own: "-r https://… [--no-deps]"
                if option in ("--requirement", "--constraint"):
                    nested = _nested_path(file, value, where)
                    is_constraint = constraint or option == "--constraint"
                    self.read_file(nested, asked_by=where, constraint=is_constraint, chain=chain)
                else:
                    self.take_option(option, value, where, file)
            return
        try:
            requirement = parse_requirement_line(line, where, self.allowed)
        except Refused as refused:
            self.refusals.append(refused.refusal)
            return
        (self.constraints if constraint else self.requirements).append(requirement)

    def take_editable(self, value: str, where: str) -> None:
        try:
            self.requirements.append(parse_editable(value, where, self.allowed))
        except Refused as refused:
            self.refusals.append(refused.refusal)

    def take_option(self, option: str, value: str, where: str, file: str) -> None:
        if option == "--editable":
            self.take_editable(value, where)
        elif option == "--index-url":
            self.index_url = value
            self.places[strip_login(value)] = where
        elif option == "--extra-index-url":
            self.extra_index_urls.append(value)
            self.places[strip_login(value)] = where
        elif option == "--find-links":
            self.find_links.append(_find_links_place(file, value))
        elif option == "--no-index":
            self.no_index = True
        elif option == "--pre":
            self.pre = True
        elif option in ("--no-binary", "--no-use-wheel") and value != ":none:":
            self.notes.append(f"{where}: {option} is not followed: only wheels are taken")
        elif option in ("--no-deps", "--trusted-host", "--config-settings", "--no-build-isolation"):
            self.notes.append(f"{where}: {option} has no meaning here and is not followed")


def _refuse_remote(value: str, where: str) -> Refusal:
    return Refusal(
        where=where,
        subject=redact(value),
        reason="a requirements file on the network is not read, it can change at any time",
        remedy="save it beside this one and name the copy",
    )


def _read_bytes(root: Path, file: str, asked_by: str | None) -> bytes:
    path = root / file
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "there is no such file"
            raise DeclarationError(f"{redact(file)}: {what}", where=asked_by, hint="put the file there, or remove the line")
        if path.stat().st_size > _SIZE_LIMIT:
            raise DeclarationError(f"{redact(file)}: larger than {_SIZE_LIMIT >> 20} MiB", where=asked_by)
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file name"
        raise DeclarationError(f"{redact(file)}: cannot be read: {reason}", where=asked_by) from error


def _split_options(line: str, where: str) -> Iterator[tuple[str, str]]:
    """``--long=value``, ``--long value``, ``-s value`` and ``-svalue``, several to a line as pip allows."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise DeclarationError("a quotation mark is not closed", where=where) from error
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:3], word[2:])
        if not word.startswith("--") and value.startswith("="):
            value = value[1:]
        if option not in _OPTIONS:
            hint = "one requirement or option to a line" if not word.startswith("-") else None
            raise DeclarationError(f"unknown option {redact(option)}", where=where, hint=hint)
        if _OPTIONS[option] and not equals:
            if not words:
                raise DeclarationError(f"{option} needs a value", where=where)
            value = words.pop(0)
        yield _LONG.get(option, option), value


def _nested_path(file: str, value: str, where: str) -> str:
    if not value or posixpath.isabs(value):
        raise DeclarationError(f"{redact(value)!r} is not a path relative to this file", where=where)
    return posixpath.normpath(posixpath.join(posixpath.dirname(file), value.replace("\\", "/")))


def _find_links_place(file: str, value: str) -> str:
    """A relative folder is relative to the file that names it; a URL or an absolute path stays."""
    if "://" in value or value.startswith("file:") or posixpath.isabs(value):
        return value
    return posixpath.normpath(posixpath.join(posixpath.dirname(file), value))
