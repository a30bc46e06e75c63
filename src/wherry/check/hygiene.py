"""Judges what should not lie in an image: secrets in files, variables, labels and history; who runs; what anybody may write.

Secrets are told by their kind and place, never shown. What the distribution and packages bring is theirs: names and contents
count in the project's own files and in those that a person's home has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from wherry.check.facts import FILE, FOLDER, Entry, Facts
from wherry.check.places import is_own
from wherry.check.tree import Tree
from wherry.formats.secrets import find_secrets, is_secret_name, is_secret_variable
from wherry.model.oci import ImageConfig
from wherry.model.report import Finding, Severity

_CACHES = (
    ("pip's cache", re.compile(r"(?:.*/)?\.cache/pip/.*")),
    ("uv's cache", re.compile(r"(?:.*/)?\.cache/uv/.*")),
    ("conda's package cache", re.compile(r"(?:opt|root|home/[^/]+)/[^/]*conda[^/]*/pkgs/.*|opt/conda/pkgs/.*")),
    ("apt's packages", re.compile(r"var/cache/apt/.*\.(?:deb|bin)")),
    ("apt's lists", re.compile(r"var/lib/apt/lists/.+_.+")),
    ("git's history", re.compile(r"(?:.*/)?\.git/.*")),
)
_WORTH = 1_000_000  # bytes of a cache that are worth a line
_REMEDY = (
    "keep it out of the image and give it to the container when it starts (wherry run --secret); "
    "what was pushed once is known: replace it"
)


def judge_files(tree: Tree) -> Iterator[Finding]:
    """Findings about the files of a root."""
    writable, setuid = [], []
    caches: dict[str, int] = {}
    for path, facts in tree.gather():
        entry = tree.entries[path]
        yield from _judge_secrets(path, entry, facts)
        if entry.kind in (FILE, FOLDER) and entry.mode & 0o002 and not (entry.kind == FOLDER and entry.mode & 0o1000):
            writable.append(f"/{path}")
        if entry.kind == FILE and entry.mode & 0o6000 and entry.mode & 0o111:
            setuid.append(f"/{path}")
        name = name_cache(path) if entry.kind == FILE else None
        if name:
            caches[name] = caches.get(name, 0) + entry.size
    if writable:
        what = f"{len(writable)} of the files and folders may be changed by any user of the container"
        yield _find("world-writable", Severity.WARNING, "mode o+w", what, writable, "chmod o-w")
    if setuid:
        what = f"{len(setuid)} programs that run with more rights than who starts them"
        yield _find("setuid", Severity.NOTE, "setuid", what, setuid, "run with no-new-privileges, or a base without them")
    for name, size in caches.items():
        if size >= _WORTH:
            what = f"{name}: {size / 1e6:.0f} MB that nothing in the container needs"
            yield _find("left-over", Severity.NOTE, name, what, [], "remove it in the step that made it")


def name_cache(path: str) -> str | None:
    """Which tool's cache, or history, a file lies in; None for any other."""
    # Quick, for most files are in none, and there may be a hundred thousand of them.
    if ".cache/" not in path and "/pkgs/" not in path and "/apt/" not in path and ".git/" not in path:
        return None
    return next((name for name, pattern in _CACHES if pattern.fullmatch(path)), None)


def judge_hidden(tree: Tree, layers: Sequence[Facts]) -> Iterator[Finding]:
    """Secrets that a higher layer replaced or removed: they are in the image all the same."""
    for facts in layers:
        for path, kinds in facts.secrets.items():
            shown = tree.entries.get(path)
            if shown is None or shown not in facts.entries:
                name = path.rpartition("/")[2]
                what = f"{name} holds {', '.join(kinds)}: a later layer hides it, and whoever pulls the image has it"
                yield _find("secret", Severity.ERROR, name, what, [f"/{path}"], _REMEDY)


def _judge_secrets(path: str, entry: Entry, facts: Facts) -> Iterator[Finding]:
    kinds = facts.secrets.get(path, ())
    name = path.rpartition("/")[2]
    if kinds:
        yield _find("secret", Severity.ERROR, name, f"{name} holds {', '.join(kinds)}", [f"/{path}"], _REMEDY)
    elif entry.kind == FILE and entry.size and is_secret_name(path) and is_own(path):
        what = f"{name} is called as files are that hold secrets"
        yield _find("secret-name", Severity.WARNING, name, what, [f"/{path}"], _REMEDY)


def judge_config(config: ImageConfig) -> Iterator[Finding]:
    """Findings about what an image's config says to everybody who can pull it."""
    for place, text in _texts(config):
        kinds = find_secrets(text.encode())
        if kinds:
            yield _find("secret", Severity.ERROR, place, f"{place} holds {', '.join(kinds)}", [], _REMEDY)
    for name, value in _variables(config.env).items():
        if is_secret_variable(name, value) and not find_secrets(f"{name}={value}".encode()):
            what = f"the variable {name} is called as those are that hold secrets, and everybody who can pull the image can read it"
            yield _find("secret-name", Severity.WARNING, name, what, [], _REMEDY)
    if config.user.partition(":")[0] in ("", "0", "root"):
        what = "the container's process is root: what breaks out of it, or is mounted into it, has all rights"
        yield _find("root-user", Severity.NOTE, "root", what, [], 'a user of its own (USER, or user = "10001:10001")')


def _texts(config: ImageConfig) -> Iterator[tuple[str, str]]:
    for name, value in _variables(config.env).items():
        yield f"the variable {name}", f"{name}={value}"
    for name, value in config.labels.items():
        yield f"the label {name}", value
    for number, entry in enumerate(config.history, 1):
        yield f"line {number} of the history", f"{entry.created_by}\n{entry.comment}"
    yield "the command", " ".join((*config.entrypoint, *config.cmd))


def _variables(env: Sequence[str]) -> Mapping[str, str]:
    return dict(text.partition("=")[::2] for text in env)


def _find(rule: str, severity: Severity, subject: str, what: str, where: Sequence[str], remedy: str) -> Finding:
    return Finding(rule=rule, severity=severity, subject=subject, what=what, where=tuple(where), remedy=remedy)
