"""What refers to an image in a registry: signatures, sources and the like (distribution-spec 1.1, "Listing Referrers").

A registry that knows of subjects says so when such a manifest is stored, and lists them itself. For one that does not, the
list is an index under the tag ``sha256-HEX``, which whoever attaches something keeps (the "referrers tag schema"). Two that
attach at the same moment there may lose one entry; attaching again mends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from wherry.errors import FormatError
from wherry.formats.oci_json import parse_index, render_index
from wherry.model.digest import Digest
from wherry.model.oci import INDEX, MANIFEST, Descriptor
from wherry.store.registry import RegistryStore

_NONE: Mapping[str, str] = MappingProxyType({})


def attach_referrer(
    repository: RegistryStore,
    raw: bytes,
    subject: Digest,
    artifact_type: str,
    annotations: Mapping[str, str] = MappingProxyType({}),
) -> Descriptor:
    """Store a manifest whose `subject` this is, so that `list_referrers` finds it. What it points at must be there.

    `annotations` are the manifest's own: a list that a registry keeps itself has them, too.
    """
    digest = Digest.of(raw)
    attached = Descriptor(media_type=MANIFEST, digest=digest, size=len(raw), artifact_type=artifact_type, annotations=annotations)
    if repository.put_referrer(raw, MANIFEST):
        return attached
    listed = _read_tag(repository, subject)
    if all(one.digest != digest for one in listed):
        repository.put_manifest(render_index((*listed, attached)), INDEX, fallback_tag(subject))
    return attached


def list_referrers(repository: RegistryStore, subject: Digest, *artifact_types: str) -> tuple[Descriptor, ...]:
    """What of these kinds refers to a manifest, the latest last as far as the registry keeps an order."""
    pages = repository.read_referrers(subject) or ()
    found = [one for raw in pages for one in parse_index(raw, where=f"{repository}: referrers").manifests]
    # A registry that learned of referrers lately may still have those that were attached before under the tag.
    merged = {one.digest: one for one in (*_read_tag(repository, subject), *found)}
    return tuple(replace(one, annotations={}) for one in merged.values() if one.artifact_type in artifact_types)


def fallback_tag(subject: Digest) -> str:
    return f"sha256-{subject.hex}"


def _read_tag(repository: RegistryStore, subject: Digest) -> tuple[Descriptor, ...]:
    tag = fallback_tag(subject)
    if repository.find_manifest(tag) is None:
        return ()
    _, raw = repository.read_manifest(tag)
    try:
        return parse_index(raw, where=f"{repository}:{tag}").manifests
    except FormatError as error:
        raise FormatError(f"no list of referrers: {error.what}", where=f"{repository}:{tag}") from error
