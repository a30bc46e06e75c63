"""Solves conda specs over the indexes in the cache; runs in py-rattler's own process (see `rattler_program`).

Nothing is asked of the network, of this machine's configuration or of its hardware: channels come as files, virtual packages
as values. Channels are known here by name alone, and each stands for a made-up address, so no address and no
credential comes near the solver. Specs are sorted, so that their order in a file does not choose between equal answers.

Requests and answers are plain JSON:

    specs      [{"text": "numpy >=2", "where": "environment.yml:7", "subdir": "",
                 "channels": [those it must come from, if that was said]}]
    wishes     [["numpy ==2.1.0"], []]  constraints on what is needed, where the specs allow it: the first list that can be met is
    channels   [{"name": "conda-forge", "indexes": {"linux-64": PATH, "noarch": PATH}}]    the first one first
    virtual    [["__glibc", "2.36", "0"]]
    priority   "strict", "flexible" or "disabled"
    favoured   [{"channel": …, "subdir": …, "name": …, "file": …}]    kept where they fit and an index still has them

The answer is `{"records": [repodata's own fields, "channel" a name], "seconds": {"load": …, "solve": …}}`, or
`{"unsolved": {"tree": …, "known": {NAME: [versions, the newest last]}}}`.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rattler import (
    Channel,
    ChannelPriority,
    GenericVirtualPackage,
    MatchSpec,
    PackageName,
    RepoDataRecord,
    SparseRepoData,
    Version,
    solve_with_sparse_repodata,
)
from rattler.exceptions import InvalidMatchSpecError, InvalidPackageNameError, SolverError
from rattler.package import BuildString

from wherry.errors import DeclarationError, FormatError

_LONGEST = datetime.timedelta(seconds=240)
_PRIORITIES = {
    "strict": ChannelPriority.Strict,
    "flexible": ChannelPriority.Flexible,
    "disabled": ChannelPriority.Disabled,
}
_NAME_IN_TREE = re.compile(r"(?:found for|─|^)\s*([a-z0-9_][a-z0-9._-]*)(?=[ ,]|$)", re.MULTILINE)


def solve_records(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to one request. A spec that is none is a `DeclarationError`, a damaged index a `FormatError`."""
    try:
        return _solve(request)
    except (OSError, ValueError, RuntimeError) as error:  # what py-rattler raises for a record that it cannot read
        names = ", ".join(str(channel["name"]) for channel in request["channels"])
        said = " ".join(str(error).split())[:200]
        hint = "tell whoever runs the channel; a mirror of it may be sound"
        raise FormatError(f"an index has a record that cannot be read: {said}", where=names, hint=hint) from None


def _solve(request: dict[str, Any]) -> dict[str, Any]:
    began = time.perf_counter()
    index = _Index(request["channels"])
    specs = [_parse_spec(spec, index) for spec in sorted(request["specs"], key=lambda spec: str(spec["text"]))]
    wishes = [list(index.allowed(sorted(texts), specs)) for texts in request["wishes"]]
    virtual = [_virtual_package(*given) for given in request["virtual"]]
    favoured = [record for wanted in request["favoured"] if (record := index.find(wanted)) is not None]
    loaded = time.perf_counter()
    tree = ""
    for constraints in wishes:
        try:
            found = asyncio.run(
                solve_with_sparse_repodata(
                    specs,
                    index.loaded,
                    locked_packages=favoured,
                    virtual_packages=virtual,
                    timeout=_LONGEST,
                    channel_priority=_PRIORITIES[request["priority"]],
                    constraints=constraints,
                )
            )
        except SolverError as error:
            tree = str(error)
            continue
        seconds = {"load": loaded - began, "solve": time.perf_counter() - loaded}
        return {"records": [index.describe(record) for record in found], "seconds": seconds}
    return {"unsolved": {"tree": tree, "known": dict(index.list_versions(_NAME_IN_TREE.findall(tree)))}}


def _virtual_package(name: str, version: str, build: str) -> GenericVirtualPackage:
    return GenericVirtualPackage(PackageName(name), Version(version), BuildString(build))


def find_records(request: dict[str, Any]) -> dict[str, Any]:
    """What the indexes say of records known by place and file, in the order asked: `{"records": [fields or null]}`.

    A request has `channels` as above, and `wanted` like `favoured`.
    """
    index = _Index(request["channels"])
    found = [index.find(wanted) for wanted in request["wanted"]]
    return {"records": [index.describe(record) if record is not None else None for record in found]}


class _Index:
    """All channels' indexes, opened; a record is parsed when somebody asks for its name."""

    def __init__(self, channels: Sequence[Mapping[str, Any]]) -> None:
        self.loaded: list[SparseRepoData] = []
        self._by_place: dict[tuple[str, str], SparseRepoData] = {}
        self._names: dict[str, str] = {}
        for channel in channels:
            name = str(channel["name"])
            known = Channel(name)
            self._names[known.base_url.rstrip("/")] = name
            for subdir, path in sorted(channel["indexes"].items()):
                try:
                    opened = SparseRepoData(known, subdir, path)
                except (OSError, ValueError, RuntimeError) as error:
                    raise FormatError(f"its index cannot be read: {str(error)[:200]}", where=f"{name}/{subdir}") from None
                self.loaded.append(opened)
                self._by_place[name, subdir] = opened

    def find(self, wanted: Mapping[str, str]) -> RepoDataRecord | None:
        opened = self._by_place.get((wanted["channel"], wanted["subdir"]))
        if opened is None:
            return None
        found = self._load(opened, wanted["name"])
        return next((record for record in found if record.file_name == wanted["file"]), None)

    def has(self, channel: str, name: str) -> bool:
        return any(self._load(opened, name) for (known, _), opened in self._by_place.items() if known == channel)

    def allowed(self, wishes: Sequence[str], specs: Sequence[MatchSpec]) -> Iterator[MatchSpec]:
        """Those of the wishes that some record meets together with the specs of its name."""
        by_name: dict[str, list[MatchSpec]] = {}
        for spec in specs:
            by_name.setdefault(spec.name.normalized, []).append(spec)
        for wish in (MatchSpec(text, strict=False) for text in wishes):
            name = wish.name.normalized
            records = (record for opened in self.loaded for record in self._load(opened, name))
            asked = [wish, *by_name.get(name, ())]
            if any(all(spec.matches(record) for spec in asked) for record in records):
                yield wish

    def describe(self, record: RepoDataRecord) -> dict[str, Any]:
        """By the index that has it: of addresses and subdirs it may say anything."""
        document: dict[str, Any] = json.loads(record.to_json())
        channel, subdir = self._place_of(record)
        return {**document, "channel": channel, "subdir": subdir, "file": record.file_name}

    def _place_of(self, record: RepoDataRecord) -> tuple[str, str]:
        channel, _, subdir = record.url.removesuffix(record.file_name).rstrip("/").rpartition("/")
        if channel in self._names:
            return self._names[channel], subdir
        for place, opened in self._by_place.items():  # an index with an address of its own for its archives
            if any(known.url == record.url for known in self._load(opened, record.name.normalized)):
                return place
        raise FormatError(f"no index has {record.file_name}", where=", ".join(self._names.values()))

    def list_versions(self, names: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
        """Of each name the versions that any channel has."""
        for name in dict.fromkeys(names):
            if not name.startswith("__"):
                versions = {record.version for opened in self.loaded for record in self._load(opened, name)}
                yield name, [str(version) for version in sorted(versions)]

    @staticmethod
    def _load(opened: SparseRepoData, name: str) -> list[RepoDataRecord]:
        try:
            return opened.load_records(PackageName(name))
        except InvalidPackageNameError:
            return []


def _parse_spec(spec: Mapping[str, Any], index: _Index) -> MatchSpec:
    try:
        parsed = MatchSpec(spec["text"], strict=False)
        if not spec["channels"]:
            return parsed
        having = next((name for name in spec["channels"] if index.has(name, parsed.name.normalized)), spec["channels"][0])
        place = f"{having}/{spec['subdir']}" if spec["subdir"] else having
        return MatchSpec(f"{place}::{spec['text']}", strict=False)
    except InvalidMatchSpecError as error:
        reason = str(error).partition("\n")[0][:200]
        raise DeclarationError(
            f"conda cannot read {spec['text']!r}: {reason}", where=spec["where"] or None, hint='such as "numpy >=2,<3"'
        ) from None
