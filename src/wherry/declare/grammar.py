"""The grammar of wherry.toml and of ``[tool.wherry]``: a TOML table to `Written`, values checked one by one.

Rules: every key is optional; an unknown key is an error with the nearest known one; paths are POSIX, relative and stay
inside the project; nothing is guessed here (defaults.py does that). docs/reference/wherry-toml.md describes it for
readers.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from packaging.utils import canonicalize_name, is_normalized_name

from wherry.declare.check_settings import parse_check
from wherry.declare.entrypoint import ScoreEntrypoint, ScoreTable, parse_command, parse_score
from wherry.declare.paths import relative_path
from wherry.declare.secret_files import is_secret_name
from wherry.declare.targets import parse_targets
from wherry.errors import DeclarationError, WherryError
from wherry.model.check_settings import CheckSettings
from wherry.model.cuda import find_cuda
from wherry.model.declaration import (
    Bytecode,
    CodeSelection,
    Compression,
    DebianBase,
    InterpreterSource,
    ModelFile,
    ReferenceBase,
)
from wherry.model.job import Target
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.model.scoring import ScoreService

SUITES = {"bookworm": "3.11", "trixie": "3.13"}  # Debian release: the Python that it brings
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_PYTHON = re.compile(r"3\.[0-9]{1,2}")
_CUDA = re.compile(r"[0-9]{1,2}\.[0-9]{1,2}")
_USER = re.compile(r"(?:[0-9]{1,10}|[a-z_][a-z0-9_-]{0,31})(?::(?:[0-9]{1,10}|[a-z_][a-z0-9_-]{0,31}))?")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


class _Table(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    pass


class _Model(_Table, frozen=True, kw_only=True):
    path: str
    optional: bool = False


class _Environment(_Table, frozen=True, kw_only=True):
    file: str
    extras: list[str] = []
    groups: list[str] = []


class _Code(_Table, frozen=True, kw_only=True):
    include: list[str] = []
    exclude: list[str] = []


class _Debian(_Table, frozen=True, kw_only=True):
    mirror: str | None = None


class _Document(_Table, frozen=True, kw_only=True):
    name: str | None = None
    python: str | None = None
    interpreter: InterpreterSource | None = None
    base: str | None = None
    platforms: list[str] | None = None
    environment: str | bool | _Environment | None = None
    system_packages: list[str] = []
    code: bool | _Code | None = None
    models: list[str | _Model] | None = None
    entrypoint: str | list[str] | ScoreEntrypoint | None = None
    score: ScoreTable | None = None
    env: dict[str, str | int] = {}
    labels: dict[str, str] = {}
    volumes: list[str] = []
    ports: list[int | str] = []
    bytecode: Bytecode = Bytecode.LAYER
    compression: Compression = Compression.GZIP
    user: str | int = "10001:10001"
    workdir: str = "/app"
    layers_from: list[str] = []
    allow_build: list[str] = []
    cuda: str | None = None
    driver: str | None = None
    debian: _Debian = _Debian()
    targets: dict[str, Any] = {}
    sweeps: dict[str, Any] = {}
    check: dict[str, Any] = {}


_INNER: Mapping[str, type[msgspec.Struct]] = {
    "environment": _Environment,
    "code": _Code,
    "debian": _Debian,
    "entrypoint": ScoreEntrypoint,
    "score": ScoreTable,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenEnvironment:
    """`file` is None for ``environment = false``: no packages at all."""

    file: str | None
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What the author wrote; None where nothing was written and a default is looked for."""

    name: str | None = None
    python: str | None = None
    interpreter: InterpreterSource | None = None
    base: DebianBase | ReferenceBase | None = None
    platforms: tuple[Platform, ...] | None = None
    environment: WrittenEnvironment | None = None
    system_packages: tuple[str, ...] = ()
    code: CodeSelection = field(default_factory=CodeSelection)
    models: tuple[ModelFile, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    score: ScoreService | None = None
    env: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    volumes: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    bytecode: Bytecode = Bytecode.LAYER
    compression: Compression = Compression.GZIP
    user: str = "10001:10001"
    workdir: str = "/app"
    layers_from: tuple[str, ...] = ()
    allow_build: tuple[str, ...] = ()
    cuda: str | None = None
    debian_mirror: str | None = None
    targets: tuple[Target, ...] = ()
    check: CheckSettings = field(default_factory=CheckSettings)


def parse_written(table: Mapping[str, Any], origin: str) -> Written:
    """Check a decoded table. `origin` names the file (``wherry.toml``) in every `DeclarationError`."""
    check_keys(table, origin)
    try:
        document = msgspec.convert(table, _Document, strict=True)
    except msgspec.ValidationError as error:
        raise _decoding_error(error, origin) from error
    score = parse_score(document.entrypoint, document.score, origin)
    return Written(
        name=None if document.name is None else parse_name(document.name, origin),
        python=None if document.python is None else _parse_python(document.python, origin),
        interpreter=document.interpreter,
        base=None if document.base is None else parse_base(document.base, f"{origin}: base"),
        platforms=_parse_platforms(document.platforms, origin),
        environment=_parse_environment(document.environment, origin),
        system_packages=_parse_packages(document.system_packages, origin),
        code=_parse_code(document.code, origin),
        models=_parse_models(document.models, origin),
        entrypoint=None if score is not None else parse_command(document.entrypoint, f"{origin}: entrypoint"),
        score=score,
        env=tuple(sorted((_env_name(key, origin), str(value)) for key, value in document.env.items())),
        labels=tuple(sorted(document.labels.items())),
        volumes=tuple(_absolute(path, f"{origin}: volumes") for path in document.volumes),
        ports=tuple(_parse_port(port, f"{origin}: ports") for port in document.ports),
        bytecode=document.bytecode,
        compression=document.compression,
        user=_parse_user(document.user, origin),
        workdir=_absolute(document.workdir, f"{origin}: workdir"),
        layers_from=tuple(_layers_from(text, origin) for text in document.layers_from),
        allow_build=_parse_builds(document.allow_build, origin),
        cuda=_parse_cuda(document.cuda, document.driver, origin),
        debian_mirror=_parse_mirror(document.debian.mirror, origin),
        targets=parse_targets(document.targets, origin),
        check=parse_check(document.check, origin),
    )


def check_keys(table: Mapping[str, Any], origin: str) -> None:
    """Unknown keys, all at once, each with the nearest known one."""
    unknown = _unknown_keys(table, _Document, "")
    for key, struct in _INNER.items():
        if isinstance(inner := table.get(key), Mapping):
            unknown += _unknown_keys(inner, struct, f"{key}.")
    models = table.get("models")
    for position, model in enumerate(models if isinstance(models, list) else ()):
        if isinstance(model, Mapping):
            unknown += _unknown_keys(model, _Model, f"models[{position}].")
    if unknown:
        what = "unknown key " + ", ".join(repr(key) for key, _ in unknown)
        near = [f"{guess} instead of {key}" for key, guess in unknown if guess]
        known = ", ".join(_Document.__struct_encode_fields__)
        raise DeclarationError(what, where=origin, hint="; ".join(near) or f"one of {known}")


def _unknown_keys(table: Mapping[str, Any], struct: type[msgspec.Struct], prefix: str) -> list[tuple[str, str]]:
    known = struct.__struct_encode_fields__
    found = []
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key.lower().replace("_", "-"), known, n=1, cutoff=0.6)
            found.append((prefix + key, prefix + near[0] if near else ""))
    return found


def _decoding_error(error: msgspec.ValidationError, origin: str) -> DeclarationError:
    what, _, path = str(error).partition(" - at `")
    place = path.rstrip("`").removeprefix("$.").removeprefix("$")
    what = what.replace("`", "").replace(" | null", "").replace("object", "a table").replace("null", "nothing")
    hint = 'write the value in quotation marks: "1"' if place.startswith(("env", "labels")) else None
    return DeclarationError(what[:1].lower() + what[1:], where=f"{origin}: {place}" if place else origin, hint=hint)


def parse_name(text: str, origin: str) -> str:
    if not _NAME.fullmatch(text) or len(text) > 128:
        raise DeclarationError(
            f"{text!r} cannot be the name of an image",
            where=f"{origin}: name",
            hint="lower-case letters, digits, and - _ . between them",
        )
    return text


def _parse_python(text: str, origin: str) -> str:
    if not _PYTHON.fullmatch(text):
        raise DeclarationError(f"{text!r} is not a Python version", where=f"{origin}: python", hint='python = "3.11"')
    return text


def parse_base(text: str, where: str) -> DebianBase | ReferenceBase:
    """``debian:bookworm`` and ``debian:trixie`` are put together from packages; all else is a registry reference."""
    hint = f"{' or '.join(f'debian:{suite}' for suite in SUITES)}, or a reference such as docker.io/library/python:3.11-slim"
    if text.startswith("debian:") or text == "debian":
        suite = text.removeprefix("debian").removeprefix(":")
        if suite not in SUITES:
            raise DeclarationError(
                f"{text!r}: no Debian release that wherry puts together", where=where, hint=f"{hint}, or docker.io/library/{text}"
            )
        return DebianBase(suite=suite)
    try:
        reference = Reference.parse(text)
    except WherryError as error:
        raise DeclarationError(f"{text!r} is neither a Debian release nor an image reference", where=where, hint=hint) from error
    if reference.repository == "library/scratch":
        raise DeclarationError("scratch holds no Python", where=where, hint=hint)
    return ReferenceBase(reference=reference)


def _parse_platforms(texts: list[str] | None, origin: str) -> tuple[Platform, ...] | None:
    if texts is None:
        return None
    if not texts:
        raise DeclarationError("no platform at all", where=f"{origin}: platforms", hint='platforms = ["linux/amd64"]')
    return tuple(dict.fromkeys(Platform.parse(text, f"{origin}: platforms") for text in texts))


def _parse_environment(value: str | bool | _Environment | None, origin: str) -> WrittenEnvironment | None:
    if value is None:
        return None
    if value is False:
        return WrittenEnvironment(file=None)
    if value is True:
        raise DeclarationError(
            "true names no file", where=f"{origin}: environment", hint='environment = "requirements.txt", or false for no packages'
        )
    if isinstance(value, str):
        value = _Environment(file=value)
    file = relative_path(value.file, f"{origin}: environment", inside=False)
    return WrittenEnvironment(file=file, extras=tuple(value.extras), groups=tuple(value.groups))


def _parse_packages(names: list[str], origin: str) -> tuple[str, ...]:
    for name in names:
        if not _PACKAGE.fullmatch(name):
            raise DeclarationError(
                f"{name!r} is not the name of a Debian package",
                where=f"{origin}: system-packages",
                hint='names alone, as in ["libgomp1"]; versions are fixed by the lock',
            )
    return tuple(dict.fromkeys(names))


def _parse_builds(names: list[str], origin: str) -> tuple[str, ...]:
    for name in names:
        if not is_normalized_name(canonicalize_name(name)):
            raise DeclarationError(
                f"{name!r} is not the name of a Python package",
                where=f"{origin}: allow-build",
                hint='names alone, as in ["paho-mqtt"]; where they come from the requirements say',
            )
    return tuple(sorted({canonicalize_name(name) for name in names}))


def _parse_code(value: bool | _Code | None, origin: str) -> CodeSelection:
    if value is None or value is True:
        return CodeSelection()
    if value is False:
        return CodeSelection(exclude=("*",))
    for pattern in (*value.include, *value.exclude):
        if not pattern.strip() or pattern.startswith("!") or "\n" in pattern:
            raise DeclarationError(
                f"{pattern!r} is not a pattern", where=f"{origin}: code", hint='gitignore patterns: "src/", "*.ipynb"'
            )
    return CodeSelection(include=tuple(value.include), exclude=tuple(value.exclude))


def _parse_models(values: list[str | _Model] | None, origin: str) -> tuple[ModelFile, ...] | None:
    if values is None:
        return None
    found: dict[str, ModelFile] = {}
    for position, value in enumerate(values):
        where = f"{origin}: models[{position}]"
        path = relative_path(value if isinstance(value, str) else value.path, where)
        if is_secret_name(path):
            raise DeclarationError(f"{path} looks like a secret and never enters an image", where=where)
        if path in found:
            raise DeclarationError(f"{path} is named twice", where=where)
        found[path] = ModelFile(path=path, optional=not isinstance(value, str) and value.optional)
    for path in found:
        for other in found:
            if path.startswith(f"{other}/"):
                raise DeclarationError(
                    f"{path} lies in {other}, which is a model too",
                    where=f"{origin}: models",
                    hint="name either the folder or its files",
                )
    return tuple(found.values())


def _env_name(name: str, origin: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise DeclarationError(f"{name!r} is not the name of an environment variable", where=f"{origin}: env")
    return name


def _absolute(path: str, where: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not path.startswith("/") or ".." in parts or not parts or not path.isprintable():
        raise DeclarationError(f"{path!r} is not an absolute path inside the image", where=where, hint='such as "/data"')
    return "/" + "/".join(parts)


def _parse_port(value: int | str, where: str) -> str:
    number, _, protocol = str(value).partition("/")
    protocol = protocol or "tcp"
    if not re.fullmatch(r"[0-9]{1,5}", number) or not 0 < int(number) < 65536 or protocol not in ("tcp", "udp", "sctp"):
        raise DeclarationError(f"{value!r} is not a port", where=where, hint='8080 or "53/udp"')
    return f"{int(number)}/{protocol}"


def _parse_user(value: str | int, origin: str) -> str:
    text = str(value)
    if not _USER.fullmatch(text):
        raise DeclarationError(f"{text!r} is not a user", where=f"{origin}: user", hint='"10001:10001"')
    return text


def _layers_from(text: str, origin: str) -> str:
    try:
        Reference.parse(text)
    except WherryError as error:
        raise DeclarationError(f"{text!r} is not an image reference", where=f"{origin}: layers-from") from error
    return text


def _parse_cuda(text: str | None, driver: str | None, origin: str) -> str | None:
    """The CUDA version of the target's driver, given as such or by the driver's own version."""
    if text is not None and not _CUDA.fullmatch(text):
        raise DeclarationError(f"{text!r} is not a version of CUDA", where=f"{origin}: cuda", hint='cuda = "12.4"')
    if driver is None:
        return text
    if text is not None:
        raise DeclarationError("cuda and driver say the same", where=f"{origin}: driver", hint="one of them")
    try:
        found = find_cuda(driver)
    except ValueError:
        found = None
    if found is None:
        raise DeclarationError(
            f"{driver!r} is no driver of NVIDIA's that is known", where=f"{origin}: driver", hint='driver = "550.54"'
        )
    return found


def _parse_mirror(url: str | None, origin: str) -> str | None:
    if url is not None and not re.match(r"(?:https?|file)://\S+$", url):
        raise DeclarationError("not the address of a mirror", where=f"{origin}: debian.mirror", hint="https://HOST/debian")
    return url.rstrip("/") if url else url
