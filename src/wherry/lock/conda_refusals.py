"""Why conda's packages cannot be had together: the solver's tree, shortened to what the author can act on.

The tree keeps its branches, in fewer words: packages that fail alike are one line, and what is deeper than a reader follows is
counted instead of shown. The place is the line of the first spec that it is about; the hint is for the first cause that has one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from wherry.errors import LockError
from wherry.model.declaration import CondaSpec
from wherry.model.platform import Platform

_LONGEST = 16  # lines of a tree
_SHOWN = 6  # versions
_INDENT = re.compile(r"^(?:[│ ] {2})*(?:[├└]─ )?")
_BRANCH = re.compile(r"[├└]─ $")
_ABSENT = re.compile(
    r"^(?P<spec>\S.*?),? (?:for )?which no candidates were found\.?$|^No candidates were found for (?P<alone>.+?)\.?$"
)
_ADDRESS = re.compile(r"'?https://conda\.anaconda\.org/([^']*?)/?'?(?=$|[\s,])")
_NEEDS, _COULD_BE, _THERE_ARE = "needs", "could be", ", for which there is"
_PHRASES = (
    ("The following packages are incompatible", ""),
    ("cannot be installed because there are no viable options", "has no version that fits"),
    ("which cannot be installed because there are no viable options", "which has no version that fits"),
    (", which can be installed with any of the following options", _THERE_ARE),
    ("can be installed with any of the following options", _COULD_BE),
    ("would require", _NEEDS),
    (", which conflicts with the versions reported above", ": conflicts with the above"),
    (
        "is excluded because due to strict channel priority not using this option from:",
        "is left out, by strict channel priority, of",
    ),
    ("is excluded because candidate not in requested channel:", "is not in the channel that is asked for,"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsolved:
    """What the solver said (`tree`), and of the names in it the versions that the channels have (`known`)."""

    tree: str
    known: Mapping[str, Sequence[str]]
    specs: Sequence[CondaSpec]
    channels: Sequence[str]
    platform: Platform


@dataclass(slots=True)
class _Node:
    text: str
    children: list[_Node] = field(default_factory=list)


def explain_unsolved(unsolved: Unsolved) -> LockError:
    """The error to raise."""
    tree = _parse_tree(unsolved.tree)
    leaves = [leaf for node in tree for leaf in _leaves(node)]
    absent = [spec for leaf in leaves if (spec := _absent_spec(leaf.text))]
    about = [_name_in(node.text) for node in tree] + [_name_in(spec) for spec in absent]
    where = next((spec.where for name in about for spec in unsolved.specs if spec.name == name and spec.where), None)
    hint = next((hint for spec in absent if (hint := _hint_for_absent(spec, unsolved))), None) or _hint_for_tree(unsolved, tree)
    if len(tree) == 1 and not tree[0].children and absent:
        return LockError(_tell_absent(absent[0], unsolved), where=where, hint=hint)
    lines = [line for node in tree for line in _render(_merge_alike(node), 1)]
    if len(lines) > _LONGEST:
        lines = [*lines[: _LONGEST - 1], f"  … ({len(lines) - _LONGEST + 1} more lines)"]
    what = f"conda's packages cannot be had together for {unsolved.platform}:"
    return LockError("\n".join((what, *lines)), where=where, hint=hint)


def _parse_tree(text: str) -> list[_Node]:
    """The solver's lines as nodes; what stands alone is a node without branches."""
    body = text.removeprefix("Cannot solve the request because of: ").strip()
    roots: list[_Node] = []
    open_nodes: list[tuple[int, _Node]] = []
    for line in body.splitlines():
        head = _INDENT.match(line)
        indent = head[0] if head is not None else ""
        said = line[len(indent) :].strip()
        if not said or said == _PHRASES[0][0]:
            continue
        depth = len(indent) // 3
        node = _Node(said)
        while open_nodes and open_nodes[-1][0] >= depth:
            open_nodes.pop()
        (open_nodes[-1][1].children if open_nodes else roots).append(node)
        open_nodes.append((depth, node))
    return roots


def _merge_alike(node: _Node) -> _Node:
    """Versions of one package that fail for the same reason become one line."""
    children = [_merge_alike(child) for child in node.children]
    merged: list[_Node] = []
    for child in children:
        twin = next((other for other in merged if other.children == child.children and _alike(other.text, child.text)), None)
        if twin is None:
            merged.append(child)
        elif twin.text != child.text:
            twin.text = _join_versions(twin.text, child.text)
    return _Node(node.text, merged)


def _alike(first: str, second: str) -> bool:
    tails = [text.partition(" would require")[1] for text in (first, second)]
    return first == second or (all(tails) and _name_in(first) == _name_in(second))


def _join_versions(first: str, second: str) -> str:
    name = _name_in(first)
    versions = [text.partition(" would require")[0].removeprefix(name).strip() for text in (first, second)]
    return f"{name} {' | '.join(versions)} would require"


def _render(node: _Node, depth: int) -> Iterator[str]:
    """Two spaces a step; a chain of one requirement each stands in one line."""
    text = _say(node.text)
    while len(node.children) == 1 and text.endswith((_NEEDS, _THERE_ARE, _COULD_BE)):
        if text.endswith(_COULD_BE) and node.children[0].children:
            break
        node = node.children[0]
        if text.endswith(_THERE_ARE):
            versions, needs, _ = _say(node.text).removeprefix(f"{_name_in(node.text)} ").partition(f" {_NEEDS}")
            text = f"{text.removesuffix(_THERE_ARE)} ({versions}){f', which {_NEEDS}' if needs else ''}"
        else:
            text = f"{text} {_say(node.text)}"
    yield f"{'  ' * depth}{text}{':' if node.children else ''}"
    for child in node.children:
        yield from _render(child, depth + 1)


def _say(text: str) -> str:
    for theirs, ours in _PHRASES[1:]:
        text = text.replace(theirs, ours)
    text = _ADDRESS.sub(r"\1", text).rstrip(":. ")
    text = re.sub(r"(?<=[\w.-]) \*(?=[ ,]|$)", "", text)
    return re.sub(r", (?:for )?which no candidates were found", ", which there is not", text)


def _leaves(node: _Node) -> Iterator[_Node]:
    if not node.children:
        yield node
    for child in node.children:
        yield from _leaves(child)


def _absent_spec(text: str) -> str:
    found = _ABSENT.match(text.replace(", for which", " for which"))
    return (found["spec"] or found["alone"] or "").removesuffix(" for").strip() if found is not None else ""


def _name_in(text: str) -> str:
    return text.partition(" ")[0].rpartition("::")[2].partition("[")[0].lower()


def _tell_absent(spec: str, unsolved: Unsolved) -> str:
    name, versions = _name_in(spec), unsolved.known.get(_name_in(spec), ())
    there = f"for {unsolved.platform.subdir} in {', '.join(unsolved.channels)}"
    if not versions:
        return f"there is no {name} {there}"
    older = f", and {len(versions) - _SHOWN} older" if len(versions) > _SHOWN else ""
    return f"there is no {spec.removesuffix(' *')} {there}; there are {', '.join(versions[-_SHOWN:])}{older}"


def _hint_for_absent(spec: str, unsolved: Unsolved) -> str | None:
    name = _name_in(spec)
    if name == "__cuda":
        return 'cuda = "12.4" in wherry.toml, the version that the driver on the target has; or a build for the processor (*cpu*)'
    if name == "__glibc":
        return "a newer base, such as debian:trixie, or an older version of what asks for it"
    if name == "__archspec":
        return "a build for every processor of the kind: what the target's has is not known here"
    if name.startswith("__"):
        return f"a build for Linux: {name} is another system's"
    if not unsolved.known.get(name):
        return f"check the name, add the channel that has {name}, or name it below pip: if it is on a Python index"
    return f"another version of {name}"


def _hint_for_tree(unsolved: Unsolved, tree: Sequence[_Node]) -> str:
    if "strict channel priority" in unsolved.tree:
        return "put that channel first, write CHANNEL::NAME, or channel_priority: flexible"
    if "not in requested channel" in unsolved.tree:
        return "leave the channel out of the spec, or ask for a version that it has"
    names = sorted({_name_in(node.text) for node in tree} & {spec.name for spec in unsolved.specs})
    return f"loosen one of: {', '.join(names)}" if names else "loosen a spec"
