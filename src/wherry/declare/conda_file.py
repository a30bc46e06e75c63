"""environment.yml and conda_dependencies.yml as people have them, to an `Environment` of kind CONDA.

Keys: ``channels``, ``dependencies`` with a ``pip:`` section, ``variables``, ``platforms`` (conda-lock's), ``channel_priority``.
``name`` and ``prefix`` are about somebody's machine and read over. What conda would take silently and another machine could
not follow is refused with file, line and a way out; the pip section follows the rules of requirements files.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from wherry.declare.conda_selectors import SUBDIRS, read_selector
from wherry.declare.conda_specs import check_python, parse_spec
from wherry.declare.redaction import redact
from wherry.declare.requirement_lines import decode_requirements
from wherry.declare.requirements import read_embedded_requirements
from wherry.errors import DeclarationError, FormatError
from wherry.formats.conda_address import name_channel
from wherry.formats.urls import strip_channel_credentials
from wherry.formats.yaml_document import YamlList, YamlMap, YamlNode, YamlScalar, parse_yaml, scalar_of
from wherry.model.declaration import ChannelPriority, CondaRequest, CondaSpec, Environment, EnvironmentKind
from wherry.model.platform import Platform

_SIZE_LIMIT = 4 << 20
_KEYS = ("channels", "dependencies", "variables", "platforms", "channel_priority", "channel-priority", "name", "prefix")
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<bare>[A-Za-z_][A-Za-z0-9_]*))")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_NO_CHANNEL = re.compile(r"[\s\\\x00-\x1f\x7f]|^[.~]|^[A-Za-z]:")  # also folders of Windows, which no Linux host has
_PYTHON = re.compile(r"python(?![A-Za-z0-9_.-])", re.IGNORECASE)
_PRIORITIES = {"strict": "strict", "flexible": "flexible", "disabled": "disabled", "true": "flexible", "false": "disabled"}
_LISTED = "dependencies:\n  - numpy=1.26"


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaFile:
    """`python` is the minor that the file asks for, where it is one. `platforms` and `variables` are defaults."""

    environment: Environment
    variables: tuple[tuple[str, str], ...]
    platforms: tuple[Platform, ...]
    python: str | None
    notes: tuple[str, ...]


def read_conda_file(root: Path, file: str, env: Mapping[str, str], builds: frozenset[str] = frozenset()) -> CondaFile:
    """Read ``root/file``, and the requirements files that its pip section names. `builds` are the names of what may be built."""
    text = _read_text(root / file, file)
    try:
        document = parse_yaml(text, file)
    except FormatError as error:
        raise DeclarationError(error.what, where=error.where, hint=error.hint) from error
    if not isinstance(document, YamlMap):
        raise DeclarationError("not an environment of conda: a list or a text alone", where=f"{file}:{document.line}", hint=_LISTED)
    reader = _Reader(file=file, lines=re.split(r"\r\n|\r|\n", text), env=env)
    return reader.read(document, root, builds)


def _read_text(path: Path, file: str) -> str:
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            raise DeclarationError(f"larger than {_SIZE_LIMIT >> 20} MiB", where=file)
        return decode_requirements(path.read_bytes(), file)
    except OSError as error:
        raise DeclarationError(f"cannot be read: {error.strerror}", where=file) from error


@dataclass(slots=True, kw_only=True)
class _Reader:
    file: str
    lines: list[str]
    env: Mapping[str, str]
    specs: list[CondaSpec] = field(default_factory=list)
    pip: list[tuple[int, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)

    def read(self, document: YamlMap, root: Path, builds: frozenset[str]) -> CondaFile:
        self.check_keys(document)
        for entry in self.entries(document.get("dependencies"), "dependencies"):
            self.take_dependency(entry)
        python = self.find_python()
        pip = read_embedded_requirements(root, self.file, self.pip, self.env, builds)
        request = CondaRequest(
            channels=self.read_channels(document.get("channels")),
            specs=self.unique_specs(),
            priority=self.read_priority(document),
            places=tuple(self.places.items()),
        )
        environment = Environment(
            kind=EnvironmentKind.CONDA,
            files=pip.files,
            requirements=pip.requirements,
            constraints=pip.constraints,
            indexes=pip.indexes,
            conda=request,
        )
        return CondaFile(
            environment=environment,
            variables=self.read_variables(document.get("variables")),
            platforms=self.read_platforms(document.get("platforms")),
            python=python,
            notes=(*self.notes, *pip.notes),
        )

    def unique_specs(self) -> tuple[CondaSpec, ...]:
        """Each once, where it stands first."""
        found: dict[tuple[str, tuple[str, ...]], CondaSpec] = {}
        for spec in self.specs:
            found.setdefault((spec.text, spec.subdirs), spec)
        return tuple(found.values())

    def at(self, node: YamlNode) -> str:
        return f"{self.file}:{node.line}"

    def refuse(self, what: str, node: YamlNode, hint: str) -> DeclarationError:
        return DeclarationError(what, where=self.at(node), hint=hint)

    def check_keys(self, document: YamlMap) -> None:
        known = [key for key, _ in document.pairs if key.text in _KEYS]
        if not known:
            raise self.refuse("not an environment of conda: none of its keys is here", document, _LISTED)
        for key, _ in document.pairs:
            if key.text not in _KEYS:
                near = difflib.get_close_matches(key.text.lower(), _KEYS[:4], n=1, cutoff=0.7)
                if near and document.get(near[0]) is None:
                    raise self.refuse(f"unknown key {key.text[:80]!r}", key, near[0])
                self.notes.append(f"{self.at(key)}: {key.text[:80]} is not followed")

    def entries(self, node: YamlNode | None, key: str) -> Iterator[YamlNode]:
        """The entries of a list; an empty one is passed over with a note."""
        if node is None or (isinstance(node, YamlScalar) and node.is_null):
            return
        if not isinstance(node, YamlList):
            raise self.refuse(f"{key}: not a list", node, f"{key}:\n  - …, each entry with a dash")
        for entry in node.items:
            if isinstance(entry, YamlScalar) and not entry.text.strip():
                self.notes.append(f"{self.at(entry)}: an empty entry")
            else:
                yield entry

    def take_dependency(self, entry: YamlNode) -> None:
        if isinstance(entry, YamlScalar):
            self.specs.append(parse_spec(entry.text, self.at(entry), self.selected(entry)))
        elif isinstance(entry, YamlMap) and all(key.text == "pip" for key, _ in entry.pairs):
            for _, listed in entry.pairs:
                self.take_pip(listed)
        elif isinstance(entry, YamlMap) and (key := next(key for key, _ in entry.pairs if key.text != "pip")):
            hint = f"- {key.text}=VERSION" if key.text.isidentifier() else "- NAME=VERSION, or quotation marks around the entry"
            raise self.refuse(f"{redact(key.text)}: only pip: has a list of its own", key, hint)
        else:
            raise self.refuse("a list inside the list", entry, "one entry a line, or `- pip:` above the inner list")

    def take_pip(self, listed: YamlNode) -> None:
        if isinstance(listed, YamlScalar) and not listed.is_null:
            listed = YamlList(items=(listed,), line=listed.line)
        for entry in self.entries(listed, "pip"):
            if not isinstance(entry, YamlScalar):
                raise self.refuse("not a requirement", entry, "quotation marks around an entry with `: ` in it")
            if _PYTHON.match(entry.text.strip()):
                raise self.refuse("Python itself is not pip's to install", entry, "- python=3.11 among conda's, above `- pip:`")
            subdirs = self.selected(entry)
            machines = [platform.machine for subdir in subdirs if (platform := Platform.of_subdir(subdir))]
            every = sum(1 for subdir in SUBDIRS if subdir.startswith("linux-"))
            if subdirs and not machines:
                self.notes.append(f"{self.at(entry)}: {redact(entry.text)} is for other systems than Linux and left out")
            elif subdirs and len(machines) < every:
                self.pip.append((entry.line, _with_marker(entry.text, machines)))
            else:
                self.pip.append((entry.line, entry.text))

    def selected(self, entry: YamlScalar) -> tuple[str, ...]:
        line = self.lines[entry.last - 1] if entry.last <= len(self.lines) else ""
        return read_selector(line[entry.end :])

    def find_python(self) -> str | None:
        minors = set()
        for spec in self.specs:
            if spec.name == "python" and not spec.subdirs:
                pythons, note = check_python(spec)
                minors.add(pythons.only)
                self.notes += [note] if note else []
        return minors.pop() if len(minors) == 1 else None

    def read_channels(self, node: YamlNode | None) -> tuple[str, ...]:
        if isinstance(node, YamlScalar) and not node.is_null:
            node = YamlList(items=(node,), line=node.line)
        found: list[str] = []
        without_defaults: YamlNode | None = None
        for entry in self.entries(node, "channels"):
            if (text := scalar_of(entry)) is None:
                raise self.refuse("not a channel", entry, "- conda-forge")
            if text == "nodefaults":
                without_defaults = entry
            else:
                found.append(self.read_channel(text.strip(), entry))
                self.places.setdefault(found[-1], self.at(entry))
        if not found and without_defaults is not None:
            raise self.refuse("nodefaults, and no channel besides", without_defaults, "- conda-forge above it")
        if not found:
            self.notes.append(f"{self.file}: no channel is named: conda's defaults are taken")
        return tuple(dict.fromkeys(found)) or ("defaults",)

    def read_channel(self, text: str, entry: YamlNode) -> str:
        expanded = _VARIABLE.sub(lambda found: self.env.get(found["braced"] or found["bare"], found[0]), text)
        channel = name_channel(expanded)
        if unset := _VARIABLE.search(channel):
            raise self.refuse(f"the channel needs {unset[0]}, which is not set", entry, f"export {unset[0].strip('${}')}=…")
        if not channel or _NO_CHANNEL.search(channel):
            what = f"{redact(text)!r} is neither the name nor the address of a channel"
            raise self.refuse(what, entry, "conda-forge, https://HOST/CHANNEL or file:///FOLDER")
        if "://" in expanded and strip_channel_credentials(expanded) != expanded:
            self.notes.append(f"{self.at(entry)}: the login in the channel's address is not kept; conda's configuration gives it")
        return channel

    def read_priority(self, document: YamlMap) -> ChannelPriority:
        node = document.get("channel_priority") or document.get("channel-priority")
        if node is None:
            return ChannelPriority.STRICT
        if (text := (scalar_of(node) or "").lower()) not in _PRIORITIES:
            raise self.refuse("not a priority of channels", node, "strict, flexible or disabled")
        return ChannelPriority(_PRIORITIES[text])

    def read_variables(self, node: YamlNode | None) -> tuple[tuple[str, str], ...]:
        if node is None or (isinstance(node, YamlScalar) and node.is_null):
            return ()
        if not isinstance(node, YamlMap):
            raise self.refuse("variables: not a mapping", node, "variables:\n  NAME: value")
        found = {}
        for key, value in node.pairs:
            if not _NAME.fullmatch(key.text):
                raise self.refuse(f"{key.text[:80]!r} is not the name of an environment variable", key, "NAME: value")
            if not isinstance(value, YamlScalar):
                raise self.refuse(f"{key.text}: not a text", value, "NAME: value")
            found[key.text] = scalar_of(value) or ""
            if "\0" in found[key.text]:
                raise self.refuse(f"{key.text}: has a zero byte", value, "NAME: value")
        return tuple(sorted(found.items()))

    def read_platforms(self, node: YamlNode | None) -> tuple[Platform, ...]:
        found = []
        for entry in self.entries(node, "platforms"):
            text = scalar_of(entry) or ""
            if text not in SUBDIRS:
                raise self.refuse(f"{text[:80]!r} is not a platform of conda's", entry, "linux-64, linux-aarch64")
            if platform := Platform.of_subdir(text):
                found.append(platform)
            else:
                self.notes.append(f"{self.at(entry)}: images are for Linux, not for {text}")
        return tuple(dict.fromkeys(found))


def require_python(environment: Environment, asked: str | None, minor: str, where: str) -> Environment:
    """The environment with the Python that the author wrote elsewhere; `asked` is that of the file, where it names one.

    A `DeclarationError` where the two contradict each other. What is resolved already stays as it is.
    """
    if asked not in (None, minor):
        what = f"python is {minor}, but {environment.files[0]} asks for {asked}"
        raise DeclarationError(what, where=where, hint="name it in one of the two")
    if environment.conda is None:
        return environment
    spec = CondaSpec(text=f"python {minor}.*", name="python", where=where)
    return replace(environment, conda=replace(environment.conda, specs=(*environment.conda.specs, spec)))


def _with_marker(text: str, machines: list[str]) -> str:
    """A requirement for some machines alone, in pip's grammar."""
    chosen = " or ".join(f"platform_machine == '{machine}'" for machine in machines)
    plain = re.sub(r"\s+#.*$", "", text)
    requirement, semicolon, marker = plain.partition(" ;" if " ;" in plain else ";")
    return f"{requirement} ; ({marker.strip()}) and ({chosen})" if semicolon else f"{plain} ; {chosen}"
