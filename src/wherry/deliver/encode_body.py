"""Writes one plan's body: index, streams and groups, each packed by itself, and which of the base's files are listed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

from wherry.deliver.encode_patch import Patch
from wherry.deliver.encode_plan import Choice
from wherry.deliver.encode_sections import Packed, pack_group, pack_section, pack_spread, weigh_binary
from wherry.deliver.encode_target import Target
from wherry.formats.delta import MAX_PREFIX, Limits, Part, render_head
from wherry.formats.delta_bytes import render_number
from wherry.formats.delta_columns import MAX_SCOPES
from wherry.formats.delta_index import GROUPED, Index, Piece, Source, check_paths, render_index, sort_key
from wherry.formats.delta_sums import file_number, sum_files
from wherry.formats.tar import EntryKind
from wherry.store.layer_tree import Tree, TreeFile
from wherry.store.spooled import SpooledFile

MAX_GROUP = 4 << 20  # bytes a group unpacks to: the window has to hold them all, to keep the prefix within reach
_SMALL_WINDOW = 20  # log2; for the streams that are short
_MOST_SCOPES = 1 << 10
_MAX_SPREAD = 256 << 20  # bytes of a difference with its zeros
_SAMPLED_SPREAD = 8 << 20  # beyond this, some of the patches tell whether it is worth trying
_SPREAD_SAMPLE, _SPREAD_GAIN = 4 << 20, 0.97
_DENSE = 64  # bytes from the base for each byte of runs, at most, for this to be worth trying


def write_body(target: Target, base: Tree, plan: Sequence[Choice], pool: ThreadPoolExecutor) -> SpooledFile | None:
    """None for what a reader with the usual limits would refuse."""
    limits = Limits()
    listed, scopes = _choose_list(base, {choice.base for choice in plan if choice.base is not None})
    operations = sum(patch.operations for patch in _patches(plan))
    if len(listed) > limits.listed or len(scopes) > MAX_SCOPES or max(len(plan), len(target.pieces)) > limits.entries:
        return None
    pieces = _number_pieces(target, plan, {file.path: number for number, file in enumerate(listed)})
    groups = _cut_groups(plan, base)
    used = sorted({piece.base for piece in pieces if piece.base is not None})
    index = Index(
        scopes=scopes,
        listed=len(listed),
        check=check_paths(file.path for file in listed),
        sums=_sum_used(listed, used, derived=target.derived) if len(used) > 1 else None,
        derived=target.derived,
        pieces=tuple(pieces),
        groups=tuple(len(group) for group in groups),
    )
    rendered = render_index(index, listed)
    if len(rendered) > limits.index_size or operations > limits.operations:
        return None
    streams = _write_streams(target, base, plan, rendered)
    jobs = _pack_streams(streams, pool)
    spread_jobs = {part: pool.submit(pack_spread, raw, window_log=22) for part, raw in _spread_difference(plan).items()}
    group_jobs = [pool.submit(_pack_members, target, base, members) for members in groups]
    parts = _choose_difference(
        {part: job.result() for part, job in jobs.items()}, {part: job.result() for part, job in spread_jobs.items()}
    )
    packed_groups = [job.result() for job in group_jobs]
    head = render_head(
        target_size=target.tar.size,
        entries=len(pieces),
        operations=operations,
        prefix=max((_prefix_size(base, members) for members in groups), default=0),
        parts={part: packed.section for part, packed in parts.items()},
        groups=[packed.section for packed in packed_groups],
    )
    return join_body(head, (*(parts[part] for part in Part if part in parts), *packed_groups))


_WINDOWS = {Part.DIFFERENCE: 22, Part.LITERAL: 22, Part.SKELETON: 21}


def _pack_streams(streams: dict[Part, SpooledFile], pool: ThreadPoolExecutor) -> dict[Part, Future[Packed]]:
    return {part: pool.submit(pack_section, raw, window_log=_WINDOWS.get(part, _SMALL_WINDOW)) for part, raw in streams.items()}


def _write_streams(target: Target, base: Tree, plan: Sequence[Choice], index: bytes) -> dict[Part, SpooledFile]:
    """The sections' raw bytes; those that have none are left out."""
    patches = _patches(plan)
    chunks: dict[Part, Iterable[bytes]] = {
        Part.INDEX: (index,),
        Part.SKELETON: ()
        if target.derived
        else target.skeleton(base.files[one.base] if one.base is not None else None for one in plan),
        Part.CONTROL: (patch.control for patch in patches),
        Part.RUNS: (patch.runs for patch in patches),
        Part.DIFFERENCE: (patch.difference for patch in patches),
        Part.LITERAL: _literals(target, plan),
    }
    return _spool(chunks)


def _spread_difference(plan: Sequence[Choice]) -> dict[Part, SpooledFile]:
    """Runs and difference with all zeros in the difference: smaller where they are many and short, since they keep its rhythm."""
    patches = [patch for patch in _patches(plan) if patch.added]
    added, runs_size = sum(patch.added for patch in patches), sum(len(patch.runs) for patch in patches)
    if not 0 < added <= min(_MAX_SPREAD, runs_size * _DENSE) or (added > _SAMPLED_SPREAD and not _is_better_spread(patches)):
        return {}
    runs = (render_number(0) + render_number(patch.added) for patch in patches)
    return _spool({Part.RUNS: runs, Part.DIFFERENCE: (chunk for patch in patches for chunk in patch.spread())})


def _is_better_spread(patches: Sequence[Patch]) -> bool:
    """Whether it is for some patches: the smaller ones, for which looking is quick."""
    chosen, added = [], 0
    for patch in sorted(patches, key=lambda patch: patch.added):
        added += patch.added
        if added > _SPREAD_SAMPLE:
            break
        chosen.append(patch)
    whole = b"".join(chunk for patch in chosen for chunk in patch.spread())
    usual = b"".join(patch.runs for patch in chosen), b"".join(patch.difference for patch in chosen)
    return bool(whole) and weigh_binary(whole) < _SPREAD_GAIN * sum(map(weigh_binary, usual))


def _choose_difference(parts: dict[Part, Packed], spread: dict[Part, Packed]) -> dict[Part, Packed]:
    """The parts with the smaller of the two forms; the other is closed."""
    usual = {part: parts[part] for part in (Part.RUNS, Part.DIFFERENCE) if part in parts}
    better = spread and sum(packed.data.size for packed in spread.values()) < sum(packed.data.size for packed in usual.values())
    for packed in (usual if better else spread).values():
        packed.data.close()
    return {**parts, **spread} if better else parts


def _patches(plan: Sequence[Choice]) -> list[Patch]:
    return [choice.patch for choice in plan if choice.source is Source.PATCH and choice.patch]


def _spool(chunks: dict[Part, Iterable[bytes]]) -> dict[Part, SpooledFile]:
    spooled = {part: SpooledFile(raw) for part, raw in chunks.items()}
    return {part: raw for part, raw in spooled.items() if raw.size}


def _literals(target: Target, plan: Sequence[Choice]) -> Iterator[bytes]:
    for choice in plan:
        if choice.source is Source.LITERAL:
            yield from target.tar.chunks(choice.file.offset, choice.file.size)
        elif choice.source is Source.PATCH and choice.patch:
            yield choice.patch.literal


def _number_pieces(target: Target, plan: Sequence[Choice], numbers: dict[str, int]) -> list[Piece]:
    chosen = iter(plan)
    pieces = []
    for piece in target.pieces:
        if piece.kind is not EntryKind.FILE:
            pieces.append(piece)
            continue
        choice = next(chosen)
        pieces.append(replace(piece, source=choice.source, base=None if choice.base is None else numbers[choice.base]))
    return pieces


def _sum_used(listed: Sequence[TreeFile], used: Sequence[int], *, derived: bool) -> tuple[int, int]:
    files = (listed[number] for number in used)
    return sum_files([file_number(bytes.fromhex(file.digest.hex), file.mode if derived else None) for file in files])


# -- groups


def _cut_groups(plan: Sequence[Choice], base: Tree) -> list[list[Choice]]:
    """Consecutive files, as long as their base fits before them and they fit into the window."""
    groups: list[list[Choice]] = []
    prefix = size = 0
    for choice in plan:
        if choice.source not in GROUPED:
            continue
        more = base.files[choice.base].size if choice.base is not None else 0
        if not groups or prefix + more > MAX_PREFIX or size + choice.file.size > MAX_GROUP:
            groups.append([])
            prefix = size = 0
        groups[-1].append(choice)
        prefix, size = prefix + more, size + choice.file.size
    return groups


def _members_base(members: Sequence[Choice]) -> list[str]:
    return list(dict.fromkeys(choice.base for choice in members if choice.base is not None))


def _prefix_size(base: Tree, members: Sequence[Choice]) -> int:
    return sum(base.files[path].size for path in _members_base(members))


def _pack_members(target: Target, base: Tree, members: Sequence[Choice]) -> Packed:
    prefix = b"".join(base.read_file(path) for path in _members_base(members))
    return pack_group(SpooledFile(target.read(choice.file) for choice in members), prefix)


# -- which files of the base are listed


def _choose_list(base: Tree, used: set[str]) -> tuple[list[TreeFile], tuple[str, ...]]:
    """The scopes whose files are listed, so that each used one is, and few others; and that list in its order."""
    scopes = _choose_scopes(base, used)
    found = {file.path for scope in scopes for file in base.list_files(scope, len(base.files))}
    return [base.files[path] for path in sorted(found, key=sort_key)], scopes


def _choose_scopes(base: Tree, used: set[str]) -> tuple[str, ...]:
    """From the root down: a folder of whose files at least a quarter is used, else what is in it."""
    held, wanted = _count_below(base.files), _count_below(used)
    inner: dict[str, list[str]] = {}
    for path in sorted(wanted, key=sort_key):
        if path:
            inner.setdefault(path.rpartition("/")[0], []).append(path)
    for share in (4, 16, 256, 1 << 60):
        scopes: list[str] = []
        waiting = inner.get("", [])[::-1]
        while waiting:
            path = waiting.pop()
            if path in used or wanted[path] * share >= held[path]:
                scopes.append(path)
            else:
                waiting.extend(inner[path][::-1])
        if len(scopes) <= _MOST_SCOPES:
            break
    return tuple(scopes)


def _count_below(paths: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for path in paths:
        at = path
        while at:
            counts[at] = counts.get(at, 0) + 1
            at = at.rpartition("/")[0]
    return counts


def join_body(head: bytes, parts: Iterable[Packed]) -> SpooledFile:
    """The whole body; what it was made of is closed."""
    with ExitStack() as stack:
        kept = [stack.enter_context(part.data) for part in parts]
        return SpooledFile(_chain(head, kept))


def _chain(head: bytes, parts: Iterable[SpooledFile]) -> Iterator[bytes]:
    yield head
    for part in parts:
        yield from part.chunks()
