"""Decides for each file of a target where its bytes come from. Reads contents; writes nothing.

Equal files are named. A changed text goes into a group, or becomes a patch; a changed binary becomes a patch, or, when it
is small, goes into a group: whichever alone is smaller. What has no likeness in the base goes into a group (text) or the
literal stream (binary).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from wherry.deliver.encode_patch import End, Patch, make_patch
from wherry.deliver.encode_sections import weigh
from wherry.deliver.encode_target import Target, TargetFile
from wherry.deliver.matching import MAX_SKETCHED, Matcher
from wherry.formats.delta import MAX_PREFIX
from wherry.formats.delta_index import GROUPED, Source
from wherry.store.layer_tree import Tree

_TINY = 8  # bytes; cheaper to tell than to name
_MAX_GROUPED = 4 << 20  # a file larger than this goes into no group
_PROBE = 8192
_MAX_TRIED = 4 << 20  # bytes in groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """`base` is the path of a file of the base."""

    file: TargetFile
    source: Source
    base: str | None = None
    patch: Patch | None = None


def plan_sources(target: Target, base: Tree, matcher: Matcher, pool: ThreadPoolExecutor) -> tuple[tuple[Choice, ...], ...]:
    """The plans worth writing out; each has one choice a file, in the target's order."""
    equal = {file.offset: matcher.find_equal(file) for file in target.files if file.size}
    matched = _match_changed(target, matcher, equal)
    jobs = []
    for file in target.files:
        same = equal.get(file.offset) if file.size else _same_empty(base, file)
        if same is not None and (file.size > _TINY or same == file.path):
            jobs.append(pool.submit(_name_equal, file, same))
        else:
            jobs.append(pool.submit(_choose, target, base, file, matched.get(file.offset)))
    chosen = [job.result() for job in jobs]
    plans = [tuple(smallest for smallest, _ in chosen)]
    grouped = tuple(other for _, other in chosen)
    # The second is for what neighbours in a group save of one another; where much changed it takes long and gained 0.3 % at most.
    large = sum(choice.file.size for choice in grouped if choice.source in GROUPED) > _MAX_TRIED
    return (plans[0],) if large or grouped == plans[0] else (*plans, grouped)


def _same_empty(base: Tree, file: TargetFile) -> str | None:
    held = base.files.get(file.path)
    return file.path if held and not held.size else None


def _match_changed(target: Target, matcher: Matcher, equal: dict[int, str | None]) -> dict[int, str]:
    changed = [file for file in target.files if file.size and equal[file.offset] is None]
    matched = {file.offset: path for file in changed if (path := matcher.find_by_path(file)) is not None}
    kept = frozenset(file.digest for file in target.files if file.size and equal[file.offset] is not None)
    lost = [file for file in changed if file.offset not in matched and file.size <= MAX_SKETCHED]
    alike = matcher.find_alike(((file, target.read(file)) for file in lost), kept)
    return matched | {file.offset: alike[file.path] for file in lost if file.path in alike}


def _name_equal(file: TargetFile, path: str) -> tuple[Choice, Choice]:
    choice = Choice(file=file, source=Source.EQUAL, base=path)
    return choice, choice


def _choose(target: Target, base: Tree, file: TargetFile, over: str | None) -> tuple[Choice, Choice]:
    """The means that is smaller for this file alone, and the one that puts it into a group if it may."""
    text = is_text(target.tar.read(file.offset, min(file.size, _PROBE)))
    if not file.size or over is None or not base.files[over].size:
        source = Source.GROUP if text and 0 < file.size <= _MAX_GROUPED else Source.LITERAL
        choice = Choice(file=file, source=source)
        return choice, choice
    held = base.files[over].size
    patch = _patch_over(target, base, file, over)
    plain = Choice(file=file, source=Source.LITERAL)
    patched = Choice(file=file, source=Source.PATCH, base=over, patch=patch) if patch and patch.size < file.size else plain
    if held > MAX_PREFIX or file.size > _MAX_GROUPED:
        return patched, patched
    in_group = Choice(file=file, source=Source.GROUP_OVER, base=over)
    alone = weigh(target.read(file), base.read_file(over))
    smaller = in_group
    if patched.patch:
        streams = (patched.patch.control, patched.patch.runs, patched.patch.difference, patched.patch.literal)
        smaller = patched if weigh(b"".join(streams), b"") < alone else in_group
    return smaller, in_group if text else smaller


def _patch_over(target: Target, base: Tree, file: TargetFile, over: str) -> Patch | None:
    with closing(base.open_file(over)) as reader:

        def read_base(offset: int, size: int) -> bytes:
            reader.seek(offset)
            return reader.read(size)

        ends = End(size=base.files[over].size, read=read_base), End(size=file.size, read=target.reader(file))
        return make_patch(*ends)


def is_text(start: bytes) -> bool:
    """Whether a file that begins so is told as text: no NUL byte in it."""
    return b"\0" not in start
