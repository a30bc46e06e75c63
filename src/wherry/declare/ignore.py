"""Ignore files: gitignore's patterns and .dockerignore's, as rules over POSIX paths.

Follows gitignore(5), "PATTERN FORMAT", and the .dockerignore section of Dockerfile's reference (moby's patternmatcher).
They differ: docker anchors every pattern at the root and lets ``!`` bring back a file below an ignored folder; git's
pattern without a slash matches at any depth, ``!`` cannot reach below an ignored folder, and nested files add rules.

A folder's path is given with a slash at its end. Nothing is read here; imports stay lean for the 0.1 s rebuild.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence

# Runs of patterns of one polarity, the last first: (a path matches, what that means).
_Runs = list[tuple[re.Pattern[str], bool]]


class GitRules:
    """The patterns of one .gitignore, for paths relative to its folder."""

    __slots__ = ("_runs",)

    def __init__(self, lines: Iterable[str]) -> None:
        self._runs = _compile_runs(pattern for line in lines if (pattern := _read_git_line(line)) is not None)

    def decide(self, path: str) -> bool | None:
        """True: ignored; False: brought back by ``!``; None: no pattern says anything. The last match decides."""
        for regex, ignored in self._runs:
            if regex.match(path):
                return ignored
        return None


class DockerRules:
    """The patterns of the .dockerignore at the root."""

    __slots__ = ("_exceptions", "_runs")

    def __init__(self, lines: Iterable[str]) -> None:
        patterns = [pattern for line in lines if (pattern := _read_docker_line(line)) is not None]
        self._runs = _compile_runs((_docker_regex(text), ignored) for text, ignored in patterns)
        self._exceptions = [text for text, ignored in patterns if not ignored]

    def ignores(self, path: str) -> bool:
        """Whether the path is left out; a pattern that matches a folder matches all below it."""
        for regex, ignored in self._runs:
            if regex.match(path):
                return ignored
        return False

    def may_hold_exception(self, folder: str) -> bool:
        """Whether a ``!`` pattern could bring back something below an ignored folder (path with slash)."""
        return any(
            text.startswith(folder) or folder.startswith(f"{text}/") or any(char in text for char in "*?[\\")
            for text in self._exceptions
        )


def compile_patterns(patterns: Sequence[str]) -> re.Pattern[str] | None:
    """gitignore patterns without ``!`` as one expression over paths; None when there are none."""
    regexes = [read[0] for pattern in patterns if (read := _read_git_line(pattern)) is not None]
    return _compile("|".join(regexes)) if regexes else None


def _compile_runs(patterns: Iterable[tuple[str, bool]]) -> _Runs:
    runs: list[tuple[list[str], bool]] = []
    for regex, ignored in patterns:
        if not runs or runs[-1][1] != ignored:
            runs.append(([], ignored))
        runs[-1][0].append(regex)
    return [(_compile("|".join(regexes)), ignored) for regexes, ignored in reversed(runs)]


def _compile(regex: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{regex})\Z", re.DOTALL)


def _read_git_line(line: str) -> tuple[str, bool] | None:
    """A line as (expression, whether it ignores); None for comments, blank lines and patterns that can never match."""
    line = line.rstrip("\r\n")
    while line.endswith(" ") and not _is_escaped(line, len(line) - 1):
        line = line[:-1]
    if not line or line.startswith("#"):
        return None
    ignored = not line.startswith("!")
    pattern = line if ignored else line[1:]
    folder_only = pattern.endswith("/") and not _is_escaped(pattern, len(pattern) - 1)
    pattern = pattern.rstrip("/") if folder_only else pattern
    anchored = "/" in pattern
    pattern = pattern.removeprefix("/")
    if not pattern:
        return None
    body = _translate(pattern)
    if body is None:
        return None
    prefix = "" if anchored else "(?:.*/)?"
    return f"{prefix}{body}(?<!/){'/' if folder_only else '/?'}", ignored  # no star stands for a folder's own slash


def _read_docker_line(line: str) -> tuple[str, bool] | None:
    if line.startswith("#"):
        return None
    pattern = line.strip()
    ignored = not pattern.startswith("!")
    pattern = pattern if ignored else pattern[1:].strip()
    if not pattern:
        return None
    pattern = posixpath.normpath(pattern).lstrip("/")
    return None if pattern in ("", ".") or pattern.split("/")[0] == ".." else (pattern, ignored)


def _docker_regex(pattern: str) -> str:
    body = _translate(pattern)
    return r"(?!)" if body is None else f"{body}(?:/.*)?"


def _translate(pattern: str) -> str | None:
    """The glob as a regular expression; None for one that matches nothing (an open bracket, a lone backslash)."""
    out = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "*":
            stars = at
            while at < len(pattern) and pattern[at] == "*":
                at += 1
            out.append(_translate_stars(pattern, stars, at))
            if out[-1] == "(?:.*/)?":
                at += 1  # the slash after ** is part of it
            continue
        if char == "[":
            found = _translate_class(pattern, at)
            if found is None:
                return None
            text, at = found
            out.append(text)
            continue
        if char == "\\":
            at += 1
            if at == len(pattern):
                return None
            char = pattern[at]
            out.append(re.escape(char))
        else:
            out.append("[^/]" if char == "?" else re.escape(char))
        at += 1
    return "".join(out)


def _translate_stars(pattern: str, start: int, end: int) -> str:
    """``*`` stays within a folder; ``**`` between slashes spans any number of them, at the end everything below."""
    alone_before = start == 0 or pattern[start - 1] == "/"
    if end - start == 2 and alone_before:
        if end == len(pattern):
            return ".+" if start else ".*"
        if pattern[end] == "/":
            return "(?:.*/)?"
    return "[^/]*"


def _translate_class(pattern: str, start: int) -> tuple[str, int] | None:
    """A bracket expression, and the place after it."""
    at = start + 1
    negated = at < len(pattern) and pattern[at] in "!^"
    at += negated
    members = []
    first = True
    while at < len(pattern) and (pattern[at] != "]" or first):
        first = False
        named = re.compile(r"\[:([a-z]+):\]").match(pattern, at)
        if named:
            if named.group(1) not in _CLASSES:
                return None
            members.append(_CLASSES[named.group(1)])
            at = named.end()
            continue
        low, at = _class_char(pattern, at)
        if low is None:
            return None
        if pattern[at : at + 1] == "-" and pattern[at + 1 : at + 2] not in ("]", ""):
            high, at = _class_char(pattern, at + 1)
            if high is None:
                return None
            members.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else re.escape(low))
            continue
        members.append(re.escape(low))
    if at >= len(pattern):
        return None
    inner = "".join(members)
    if not inner:
        return ("[^/]" if negated else "(?!)"), at + 1
    return (f"[^/{inner}]" if negated else f"(?!/)[{inner}]"), at + 1


def _class_char(pattern: str, at: int) -> tuple[str | None, int]:
    if pattern[at] != "\\":
        return pattern[at], at + 1
    return (pattern[at + 1], at + 2) if at + 1 < len(pattern) else (None, at)


_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "\\x21-\\x7e",
    "lower": "a-z",
    "print": "\\x20-\\x7e",
    "punct": "!-/:-@\\[-`{-~",
    "space": " \\t\\n\\r\\f\\v",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


def _is_escaped(text: str, at: int) -> bool:
    slashes = 0
    while at - 1 - slashes >= 0 and text[at - 1 - slashes] == "\\":
        slashes += 1
    return slashes % 2 == 1
