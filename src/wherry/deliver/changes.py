"""What changed between two states of a project, in the author's words: packages with both versions, files by their path.

Pure. Members of layers are read as docs/spec/layers.md writes them: ``name version`` for packages, a path for the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wherry.formats.urls import strip_credentials
from wherry.model.declaration import CondaRequest, CondaSpec, Environment, IndexOptions
from wherry.model.lock import LayerKind

# Kinds whose members are packages; the same package may move from one of these layers to another.
PACKAGES = frozenset(
    {LayerKind.BASE, LayerKind.INTERPRETER, LayerKind.RECORD, LayerKind.RECORDS, LayerKind.WHEEL, LayerKind.WHEELS}
)
_NAMED = 4  # so many changes stand in a cause; the rest is counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A thing that is not the same at both ends. None: it is absent there; empty: it is there and has no version."""

    name: str
    base: str | None
    target: str | None

    @property
    def text(self) -> str:
        """``pandas 2.2.2 → 2.2.3``, ``scipy 1.17.1 added``, ``six removed``, ``models/model.pkl``."""
        if self.base is None:
            return f"{self.name} {self.target} added" if self.target else f"{self.name} added"
        if self.target is None:
            return f"{self.name} removed"
        if self.base == self.target:
            return f"{self.name} {self.target}".rstrip()
        return f"{self.name} {self.base or '(any)'} → {self.target or '(any)'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What made bytes move. Changes that share a layer share its bytes: a split between them would be invented."""

    text: str
    size: int
    kind: LayerKind
    layers: tuple[str, ...]
    changes: tuple[Change, ...]


def join_changes(changes: Sequence[Change]) -> str:
    """The changes in one line; a long list is cut and the rest counted."""
    named = ", ".join(change.text for change in changes[:_NAMED])
    return named if len(changes) <= _NAMED else f"{named} and {len(changes) - _NAMED} more"


def split_member(member: str) -> tuple[str, str]:
    """Name and version of a package; a member without a version keeps its whole text."""
    name, space, version = member.rpartition(" ")
    return (name, version) if space else (member, "")


def versions_of(members: Iterable[str]) -> dict[str, str]:
    return dict(split_member(member) for member in members)


def compare_versions(base: Mapping[str, str], target: Mapping[str, str]) -> tuple[Change, ...]:
    """One change for each name that is not the same on both sides, sorted by name."""
    return tuple(
        Change(name=name, base=base.get(name), target=target.get(name))
        for name in sorted(base.keys() | target.keys())
        if base.get(name) != target.get(name)
    )


def merge_causes(causes: Iterable[Cause]) -> tuple[Cause, ...]:
    """Causes of one text and kind become one; the largest comes first. The sum of the sizes stays."""
    groups: dict[tuple[str, LayerKind], list[Cause]] = defaultdict(list)
    for cause in causes:
        groups[cause.text, cause.kind].append(cause)
    merged = [
        Cause(
            text=text,
            size=sum(cause.size for cause in group),
            kind=kind,
            layers=tuple(layer for cause in group for layer in cause.layers),
            changes=tuple(dict.fromkeys(change for cause in group for change in cause.changes)),
        )
        for (text, kind), group in groups.items()
    ]
    return tuple(sorted(merged, key=lambda cause: (-cause.size, cause.text, cause.kind.value)))


def diff_environments(base: Environment, target: Environment) -> tuple[Change, ...]:
    """What is asked for otherwise: requirements, constraints as ``constraint NAME``, indexes; of conda also specs and channels.

    A `Change`'s versions are what stands behind the name: ``>=2,<3``, extras and markers included. Where an environment is
    conda's, the requirements of its pip section are ``pip NAME``, for a package may move from the one to the other.
    """
    asked = compare_versions(_asked(base), _asked(target))
    indexes = compare_versions(_describe_indexes(base.indexes), _describe_indexes(target.indexes))
    return (*_compare_channels(base.conda, target.conda), *asked, *indexes)


def _compare_channels(base: CondaRequest | None, target: CondaRequest | None) -> tuple[Change, ...]:
    if base is None or target is None:
        return ()
    pairs = [
        ("channels", ", ".join(base.channels), ", ".join(target.channels)),
        ("channel priority", base.priority.value, target.priority.value),
    ]
    return tuple(Change(name=name, base=before, target=after) for name, before, after in pairs if before != after)


def _asked(environment: Environment) -> dict[str, str]:
    asked: dict[str, list[str]] = defaultdict(list)
    of_pip = "" if environment.conda is None else "pip "
    for prefix, group in ((of_pip, environment.requirements), ("constraint ", environment.constraints)):
        for requirement in group:
            asked[prefix + requirement.name].append(_behind_name(requirement.text))
    for spec in environment.conda.specs if environment.conda else ():
        asked[spec.name].append(_describe_spec(spec))
    return {name: " or ".join(sorted(texts)) for name, texts in asked.items()}


def _describe_indexes(indexes: IndexOptions) -> dict[str, str]:
    """By the names of pip's options. No login is told."""
    options = {
        "--index-url": (indexes.index_url or "",),
        "--extra-index-url": indexes.extra_index_urls,
        "--find-links": indexes.find_links,
        "--no-index": ("yes",) if indexes.no_index else (),
        "--pre": ("yes",) if indexes.pre else (),
    }
    told = {name: ", ".join(strip_credentials(value) for value in values) for name, values in options.items()}
    return {name: text for name, text in told.items() if text}


def _describe_spec(spec: CondaSpec) -> str:
    """Version and build of a spec, the channel it is bound to, and the platforms it is for."""
    channel, bound, plain = spec.text.rpartition("::")
    parts = [_behind_name(plain), f"from {channel}" if bound else "", f"for {', '.join(spec.subdirs)}" if spec.subdirs else ""]
    return " ".join(part for part in parts if part)


def _behind_name(text: str) -> str:
    """A requirement's text without its name, which PEP 508 puts first."""
    end = next((at for at, letter in enumerate(text) if not (letter.isalnum() or letter in "._-")), len(text))
    return text[end:].strip()
