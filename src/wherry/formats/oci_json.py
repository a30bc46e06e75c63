"""OCI's JSON documents (image-spec 1.1) and docker's elder twins: bytes to values and back.

Read: what was parsed keeps its raw bytes, and unknown fields are left alone. Refused: more than 4 MiB, JSON that says
a thing twice, a document that is manifest and index at once (CVE-2021-41190), digests other than sha256.
Written: one canonical form (sorted keys, no spaces, UTF-8, no empty members), so equal values give equal digests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from wherry.errors import FormatError
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    Descriptor,
    History,
    ImageConfig,
    Index,
    Manifest,
)
from wherry.model.platform import Platform

MAX_DOCUMENT = 4 << 20  # what the distribution specification lets a registry refuse above
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_T = TypeVar("_T")


def parse_json(raw: bytes, where: str = "document", limit: int = MAX_DOCUMENT) -> dict[str, Any]:
    """A JSON object from a stranger. Duplicate members, NaN, halves of surrogate pairs, deep nesting and non-objects are a
    `FormatError`."""
    if len(raw) > limit:
        raise FormatError(f"{len(raw)} bytes of JSON, at most {limit} are read", where=where)
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
        if _SURROGATE.search(raw):
            json.dumps(value, ensure_ascii=False).encode()  # raises for what could never be written again
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not valid JSON: {str(error)[:200]}", where=where) from error
    return _typed(value, dict, where)


def render_json(value: Mapping[str, Any]) -> bytes:
    """The canonical bytes of a document."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse_manifest(raw: bytes, where: str = "manifest") -> Manifest:
    """Read an image manifest."""
    document = parse_any_manifest(raw, where=where)
    if isinstance(document, Index):
        raise FormatError("an image index where an image manifest is expected", where=where)
    return document


def parse_index(raw: bytes, where: str = "index") -> Index:
    """Read an image index or docker's manifest list."""
    document = parse_any_manifest(raw, where=where)
    if isinstance(document, Manifest):
        raise FormatError("an image manifest where an image index is expected", where=where)
    return document


def parse_any_manifest(raw: bytes, media_type: str | None = None, where: str = "manifest") -> Manifest | Index:
    """Read whichever it is. `media_type` is what the outside said; a document that says something else is refused."""
    value = parse_json(raw, where)
    if "manifests" in value and ("layers" in value or "config" in value):
        raise FormatError("both a manifest and an index", where=where)
    is_index = "manifests" in value
    own = _optional(value, "mediaType", str, where) or media_type or (INDEX if is_index else MANIFEST)
    expected = (INDEX, DOCKER_INDEX) if is_index else (MANIFEST, DOCKER_MANIFEST)
    if own not in expected or (media_type is not None and media_type != own):
        raise FormatError(f"media type {media_type or own!r} does not fit the document", where=where)
    if value.get("schemaVersion") != 2:
        raise FormatError(f"schemaVersion {value.get('schemaVersion')!r}, expected 2", where=where)
    if is_index:
        return Index(
            raw=raw,
            media_type=own,
            manifests=_descriptors(value, "manifests", where),
            annotations=_strings(value, "annotations", where),
        )
    subject = _optional(value, "subject", dict, where)
    return Manifest(
        raw=raw,
        media_type=own,
        config=parse_descriptor(_required(value, "config", dict, where), f"{where}.config"),
        layers=_descriptors(value, "layers", where),
        annotations=_strings(value, "annotations", where),
        subject=parse_descriptor(subject, f"{where}.subject") if subject else None,
        artifact_type=_optional(value, "artifactType", str, where),
    )


def parse_config(raw: bytes, where: str = "config") -> ImageConfig:
    """Read an image's config."""
    value = parse_json(raw, where)
    rootfs = _required(value, "rootfs", dict, where)
    run = _optional(value, "config", dict, where) or {}
    place = f"{where}.config"
    return ImageConfig(
        raw=raw,
        platform=_platform(value, where),
        created=_optional(value, "created", str, where) or "",
        diff_ids=tuple(
            _digest(DiffId.parse, text, f"{where}.rootfs.diff_ids[{number}]")
            for number, text in enumerate(_texts(rootfs, "diff_ids", f"{where}.rootfs"))
        ),
        history=_history(value, where),
        entrypoint=_texts(run, "Entrypoint", place),
        cmd=_texts(run, "Cmd", place),
        env=_texts(run, "Env", place),
        user=_optional(run, "User", str, place) or "",
        workdir=_optional(run, "WorkingDir", str, place) or "",
        labels=_strings(run, "Labels", place),
        volumes=tuple(sorted(_optional(run, "Volumes", dict, place) or {})),
        ports=tuple(sorted(_optional(run, "ExposedPorts", dict, place) or {})),
    )


def parse_descriptor(value: Mapping[str, Any], where: str) -> Descriptor:
    platform = _optional(value, "platform", dict, where)
    size = _required(value, "size", int, where)
    if size < 0:
        raise FormatError(f"a size of {size} bytes", where=f"{where}.size")
    return Descriptor(
        media_type=_required(value, "mediaType", str, where),
        digest=_digest(Digest.parse, _required(value, "digest", str, where), f"{where}.digest"),
        size=size,
        annotations=_strings(value, "annotations", where),
        platform=_platform(platform, f"{where}.platform") if platform else None,
        artifact_type=_optional(value, "artifactType", str, where),
    )


def render_manifest(
    *,
    config: Descriptor,
    layers: Iterable[Descriptor],
    annotations: Mapping[str, str] | None = None,
    subject: Descriptor | None = None,
    artifact_type: str | None = None,
) -> bytes:
    return render_json(
        _present(
            schemaVersion=2,
            mediaType=MANIFEST,
            artifactType=artifact_type,
            config=descriptor_json(config),
            layers=[descriptor_json(layer) for layer in layers],
            subject=descriptor_json(subject) if subject else None,
            annotations=dict(annotations or {}),
        )
    )


def render_index(manifests: Iterable[Descriptor], annotations: Mapping[str, str] | None = None) -> bytes:
    return render_json(
        _present(
            schemaVersion=2,
            mediaType=INDEX,
            manifests=[descriptor_json(manifest) for manifest in manifests],
            annotations=dict(annotations or {}),
        )
    )


def render_config(
    *,
    platform: Platform,
    created: str,
    diff_ids: Sequence[DiffId],
    history: Sequence[History] = (),
    entrypoint: Sequence[str] = (),
    cmd: Sequence[str] = (),
    env: Sequence[str] = (),
    user: str = "",
    workdir: str = "",
    labels: Mapping[str, str] | None = None,
    volumes: Sequence[str] = (),
    ports: Sequence[str] = (),
) -> bytes:
    """The config's bytes. `created` is RFC 3339 and stands in every history entry too."""
    run = _present(
        Entrypoint=list(entrypoint),
        Cmd=list(cmd),
        Env=list(env),
        User=user,
        WorkingDir=workdir,
        Labels=dict(labels or {}),
        Volumes={volume: {} for volume in volumes},
        ExposedPorts={port: {} for port in ports},
    )
    return render_json(
        _present(
            architecture=platform.architecture,
            os=platform.os,
            variant=platform.variant,
            created=created,
            config=run,
            rootfs={"type": "layers", "diff_ids": [str(diff_id) for diff_id in diff_ids]},
            history=[
                _present(created=created, created_by=entry.created_by, comment=entry.comment, empty_layer=entry.empty_layer)
                for entry in history
            ],
        )
    )


def descriptor_json(descriptor: Descriptor) -> dict[str, Any]:
    """A descriptor as a JSON object."""
    platform = descriptor.platform
    return _present(
        mediaType=descriptor.media_type,
        digest=str(descriptor.digest),
        size=descriptor.size,
        artifactType=descriptor.artifact_type,
        annotations=dict(descriptor.annotations),
        platform=_present(os=platform.os, architecture=platform.architecture, variant=platform.variant) if platform else None,
    )


def _present(**members: Any) -> dict[str, Any]:
    """Only the members that say something; an empty list of layers does, and so does a size of zero."""
    said = {"layers", "manifests", "size"}
    return {name: value for name, value in members.items() if name in said or value not in (None, "", [], {}, False)}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a member stands there twice")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _typed(value: Any, kind: type[_T], where: str) -> _T:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise FormatError(f"expected {_NAMES[kind]}, got {type(value).__name__}", where=where)
    return value


_NAMES: dict[type, str] = {dict: "an object", list: "a list", str: "a string", int: "a whole number", bool: "true or false"}


def _optional(value: Mapping[str, Any], key: str, kind: type[_T], where: str) -> _T | None:
    member = value.get(key)
    return None if member is None else _typed(member, kind, f"{where}.{key}")


def _required(value: Mapping[str, Any], key: str, kind: type[_T], where: str) -> _T:
    if value.get(key) is None:
        raise FormatError(f"no {key!r}", where=where)
    return _typed(value[key], kind, f"{where}.{key}")


def _texts(value: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    members = _optional(value, key, list, where) or []
    return tuple(_typed(member, str, f"{where}.{key}[{number}]") for number, member in enumerate(members))


def _strings(value: Mapping[str, Any], key: str, where: str) -> Mapping[str, str]:
    members = _optional(value, key, dict, where) or {}
    return {name: _typed(member, str, f"{where}.{key}.{name}") for name, member in members.items()}


def _digest(parse: Any, text: str, where: str) -> Any:
    try:
        return parse(text)
    except FormatError as error:
        raise FormatError(error.what, where=where) from None


def _descriptors(value: Mapping[str, Any], key: str, where: str) -> tuple[Descriptor, ...]:
    members = _required(value, key, list, where)
    return tuple(
        parse_descriptor(_typed(member, dict, f"{where}.{key}[{number}]"), f"{where}.{key}[{number}]")
        for number, member in enumerate(members)
    )


def _platform(value: Mapping[str, Any], where: str) -> Platform:
    """A platform as written, also one that wherry cannot build for. ``arm64/v8`` is ``arm64``."""
    architecture = _required(value, "architecture", str, where)
    variant = _optional(value, "variant", str, where) or ""
    return Platform(_required(value, "os", str, where), architecture, "" if (architecture, variant) == ("arm64", "v8") else variant)


def _history(value: Mapping[str, Any], where: str) -> tuple[History, ...]:
    entries = []
    for number, member in enumerate(_optional(value, "history", list, where) or []):
        place = f"{where}.history[{number}]"
        entry = _typed(member, dict, place)
        entries.append(
            History(
                created_by=_optional(entry, "created_by", str, place) or "",
                comment=_optional(entry, "comment", str, place) or "",
                empty_layer=_optional(entry, "empty_layer", bool, place) or False,
            )
        )
    return tuple(entries)
