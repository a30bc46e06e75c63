"""YAML as people write it, to a tree of nodes that know their lines; built from the parser's events, never from objects.

Rules: a scalar is its text, whatever YAML 1.1 would make of it (``3.10`` stays ``3.10``, ``no`` stays ``no``). Refused,
with the line: what is not YAML, a key that stands twice, tags of a language's own, several documents, an alias inside
itself, a tree that is too deep or that aliases blow up. PyYAML comes with wherry's extra ``conda``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from wherry.errors import FormatError

DEPTH_LIMIT = 64
NODE_LIMIT = 2_000_000  # counted with every alias followed
MISSING = "reading YAML needs PyYAML, which this installation lacks"
EXTRA = "pip install 'wherry[conda]'"

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp"))
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlScalar:
    """`line` counts from 1, `end` is the column after the last character, in its last line, `last`."""

    text: str
    line: int
    last: int
    end: int
    plain: bool  # without quotation marks

    @property
    def is_null(self) -> bool:
        return self.plain and self.text in _NULLS


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlList:
    items: tuple[YamlNode, ...]
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlMap:
    """Keys are unique, in the file's order."""

    pairs: tuple[tuple[YamlScalar, YamlNode], ...]
    line: int

    def get(self, key: str) -> YamlNode | None:
        return next((value for name, value in self.pairs if name.text == key), None)


YamlNode = YamlScalar | YamlList | YamlMap


def parse_yaml(text: str, where: str) -> YamlNode:
    """The one document of `text`. `where` is the file's name; each `FormatError` adds the line to it."""
    if found := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise FormatError(
            f"a character that YAML does not allow: U+{ord(found.group()):04X}",
            where=f"{where}:{line}",
            hint="remove it; save the file as UTF-8",
        )
    builder = _Builder(where)
    for event in _events(text, where):
        builder.take(event)
    if builder.root is None:
        raise FormatError("an empty file", where=where, hint="remove it, or write what it is for")
    return builder.root


def scalar_of(node: YamlNode | None) -> str | None:
    """The text of a scalar; None for everything else and for null."""
    return node.text if isinstance(node, YamlScalar) and not node.is_null else None


def items_of(node: YamlNode | None) -> tuple[YamlNode, ...]:
    """The items of a list; none for everything else."""
    return node.items if isinstance(node, YamlList) else ()


def _events(text: str, where: str) -> Iterator[Any]:
    try:
        import yaml
    except ImportError as error:
        raise FormatError(MISSING, where=where, hint=EXTRA) from error
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        yield from yaml.parse(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}" if mark else where
        what = "; ".join(part for part in (error.context, error.problem) if part)
        raise FormatError(f"not YAML: {what}", where=place, hint=_hint(error.problem or "", _line_at(text, mark))) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FormatError("not YAML", where=where) from error


def _line_at(text: str, mark: Any) -> str:
    lines = text.splitlines()
    return lines[mark.line] if mark and mark.line < len(lines) else ""


def _hint(problem: str, line: str) -> str:
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "indent with spaces: YAML takes no tabs"
    if "{{" in line or "{%" in line:
        return "fill in the template first: wherry runs none"
    if "mapping values" in problem or "':'" in problem:
        return "quotation marks around a value with `: ` in it; a space behind each `:` of a key"
    return "the same indentation for all entries of a list; quotation marks around values with special characters"


@dataclass(slots=True)
class _Open:
    """A list or mapping that is being read. `size` counts its nodes, those of aliases as often as they are used."""

    line: int
    anchor: str | None
    is_map: bool
    items: list[YamlNode] = field(default_factory=list)
    size: int = 1


class _Builder:
    def __init__(self, where: str) -> None:
        self.where = where
        self.root: YamlNode | None = None
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[YamlNode, int]] = {}

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        line = event.start_mark.line + 1
        if kind == "DocumentStartEvent" and self.root is not None:
            self._refuse("a second document begins (---)", line, "one file each")
        elif kind in ("SequenceStartEvent", "MappingStartEvent"):
            self._check_tag(event, line)
            if len(self._open) >= DEPTH_LIMIT:
                self._refuse(f"nested deeper than {DEPTH_LIMIT} levels", line, None)
            self._open.append(_Open(line=line, anchor=event.anchor, is_map=kind == "MappingStartEvent"))
        elif kind in ("SequenceEndEvent", "MappingEndEvent"):
            closed = self._open.pop()
            self._add(self._close(closed), closed.size, closed.anchor, line)
        elif kind == "ScalarEvent":
            self._check_tag(event, line)
            end = event.end_mark
            plain = event.style is None or event.style == ""
            scalar = YamlScalar(text=event.value, line=line, last=end.line + 1, end=end.column, plain=plain)
            self._add(scalar, 1, event.anchor, line)
        elif kind == "AliasEvent":
            if event.anchor not in self._anchors:
                self._refuse(f"*{event.anchor} names nothing that is complete before it", line, None)
            node, size = self._anchors[event.anchor]
            self._add(node, size, None, line)

    def _add(self, node: YamlNode, size: int, anchor: str | None, line: int) -> None:
        if anchor:
            self._anchors[anchor] = (node, size)
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.items.append(node)
        parent.size += size
        if parent.size > NODE_LIMIT:
            self._refuse("aliases make this file grow beyond all measure", line, None)

    def _close(self, closed: _Open) -> YamlNode:
        if not closed.is_map:
            return YamlList(items=tuple(closed.items), line=closed.line)
        pairs: list[tuple[YamlScalar, YamlNode]] = []
        seen: dict[str, int] = {}
        for key, value in zip(closed.items[::2], closed.items[1::2], strict=True):
            if not isinstance(key, YamlScalar):
                self._refuse("a key that is not text", key.line, None)
            if key.text in seen:
                self._refuse(f"{key.text[:80]!r} stands twice, first in line {seen[key.text]}", key.line, "join the two")
            seen[key.text] = key.line
            pairs.append((key, value))
        return YamlMap(pairs=tuple(pairs), line=closed.line)

    def _check_tag(self, event: Any, line: int) -> None:
        if event.tag and event.tag != "!" and event.tag not in _TAGS:
            self._refuse(f"the tag {event.tag[:80]!r} is not followed", line, "plain text, lists and mappings")

    def _refuse(self, what: str, line: int, hint: str | None) -> NoReturn:
        raise FormatError(what, where=f"{self.where}:{line}", hint=hint)
