"""Conda's match specs as people write them, to `CondaSpec`s: the name is found, the rest is checked for its form.

``numpy``, ``numpy=1.2``, ``numpy 1.2.* *_cp39``, ``numpy>=1.2,<2``, ``conda-forge::numpy=1.2=py39_0``, ``numpy[build=py*]``.
What a version means is the solver's to know; only of Python's the minor is worked out. Refused: pip's grammar (extras,
markers, addresses), and a Python that nothing is made for any more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from wherry.declare.redaction import redact
from wherry.errors import DeclarationError
from wherry.formats.conda_address import name_channel
from wherry.model.declaration import CondaSpec

_SPEC = re.compile(
    r"(?:(?P<channel>\S+?)::)?(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)(?P<rest>[^\[]*?)(?P<brackets>(?:\s*\[[^\[\]]*\])*)\s*"
)
_BUILD = re.compile(r"(?P<version>.*[^=<>!~])=(?P<build>[^=<>!~,|]+)")
_TERM = re.compile(r"(?:==?|!=|~=|>=|<=|<|>)?(?:\^\S*\$|[A-Za-z0-9_.*+!-]+)")
_BUILD_STRING = re.compile(r"\^\S*\$|[A-Za-z0-9_.*+!|-]+")
_BRACKET = re.compile(r"\[\s*(?:[a-z_0-9]+\s*=\s*(?:'[^']*'|\"[^\"]*\"|[^,'\"\]]+)\s*,?\s*)+\]")
_HINT = "numpy, numpy=1.26, numpy>=1.26,<2, conda-forge::numpy"
_LONGEST = 1000  # characters; what nests deeper than that would take the solver's process down
_OLDEST = 8  # the oldest minor of Python 3 that resolvers and wheels are still made for
_NEWEST = 19
_ENDED = {
    "2.7": "January 2020",
    "3.5": "September 2020",
    "3.6": "December 2021",
    "3.7": "June 2023",
    "3.8": "October 2024",
    "3.9": "October 2025",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pythons:
    """The minors of Python that a spec allows: ``(3, 8)`` …; `only` is the one, where it is one."""

    allowed: tuple[tuple[int, int], ...]

    @property
    def only(self) -> str | None:
        return ".".join(map(str, self.allowed[0])) if len(self.allowed) == 1 else None


def parse_spec(text: str, where: str, subdirs: tuple[str, ...] = ()) -> CondaSpec:
    """Read one entry of ``dependencies``; a `DeclarationError` with a way out for what is none."""
    plain = " ".join(text.split("#")[0].split())
    if len(plain) > _LONGEST:
        raise DeclarationError(
            f"not a package of conda's: {redact(plain[:80])}… has {len(plain):,} characters", where=where, hint=_HINT
        )
    _refuse_pip(plain, where)
    found = _SPEC.fullmatch(plain)
    if found is None or not _is_rest(found["rest"]):
        raise DeclarationError(f"not a package of conda's: {redact(plain)}", where=where, hint=_HINT)
    brackets = found["brackets"].strip()
    if brackets and not all(_BRACKET.fullmatch(f"{part}]") for part in brackets.rstrip("]").split("]")):
        name = found["name"]
        hint = f"{name}{brackets} below pip:, or {name}[version='>=1', build='py*']"
        raise DeclarationError(f"{redact(plain)}: brackets are pip's extras here, not conda's", where=where, hint=hint)
    if found["channel"]:
        plain = f"{name_channel(found['channel'])}::{plain.partition('::')[2]}"
    return CondaSpec(text=plain, name=found["name"].lower(), subdirs=subdirs, where=where)


def check_python(spec: CondaSpec) -> tuple[Pythons, str | None]:
    """The minors that a spec of Python allows, and a note where none of them is supported by Python's makers any more.

    A `DeclarationError` where every one of them is so old that nothing can be resolved for it.
    """
    allowed = _allowed_pythons(spec.text)
    if not allowed:
        return Pythons(allowed=()), None
    newest = ".".join(map(str, allowed[-1]))
    ended = _ENDED.get(newest, "long ago")
    if allowed[-1] < (3, _OLDEST):
        hint = f"python>=3.{_OLDEST}; the pins of other packages may have to move with it"
        raise DeclarationError(
            f"Python {newest} went out of support in {ended}: nothing is made for it", where=spec.where, hint=hint
        )
    note = f"{spec.where}: Python {newest} went out of support in {ended}" if newest in _ENDED else None
    return Pythons(allowed=allowed), note


def _refuse_pip(plain: str, where: str) -> None:
    if re.search(r"://|^git\+|^-|^[./~]", plain) and "::" not in plain:
        reason = "an address, a path or an option is pip's, not conda's"
        raise DeclarationError(f"{redact(plain)}: {reason}", where=where, hint="the line below `- pip:`, or a package of a channel")
    if ";" in plain:
        hint = "a comment behind it: `- pywin32  # [win]`, or the line below `- pip:`"
        raise DeclarationError(f"{redact(plain)}: markers are pip's, not conda's", where=where, hint=hint)


def _is_rest(rest: str) -> bool:
    """Whether what follows a name is a version, and a build perhaps."""
    if not rest.strip():
        return True
    if rest[0] not in " =<>!~":
        return False
    version, build = _split_version(rest)
    if build is not None and not _BUILD_STRING.fullmatch(build):
        return False
    return all(_TERM.fullmatch(term) for term in re.split(r"[,|]", re.sub(r"[()]", "", version)))


def _split_version(rest: str) -> tuple[str, str | None]:
    """``=1.2=py_0``, ``1.2 py_0``, ``>=1.2, <2 py_0`` to version and build."""
    tight = re.sub(r"([,|=<>!~])\s+", r"\1", re.sub(r"\s+([,|=<>!~])", r"\1", rest.strip()))
    version, space, build = tight.partition(" ")
    if space:
        return version, build
    found = _BUILD.fullmatch(tight)
    return (found["version"], found["build"]) if found else (tight, None)


@lru_cache(maxsize=64)
def _allowed_pythons(text: str) -> tuple[tuple[int, int], ...]:
    """Empty where any will do, or where the spec is too special to tell."""
    found = _SPEC.fullmatch(text)
    if found is None or not found["rest"].strip() or found["brackets"]:
        return ()
    version, _ = _split_version(found["rest"])
    try:
        alternatives = [SpecifierSet(",".join(map(_as_pep440, part.split(",")))) for part in version.split("|")]
    except InvalidSpecifier:
        return ()
    known = [(2, 7), *((3, minor) for minor in range(_NEWEST + 1))]
    fits = [
        one
        for one in known
        if any(each.contains(Version(f"{one[0]}.{one[1]}.{patch}")) for each in alternatives for patch in range(40))
    ]
    return () if (3, _NEWEST) in fits else tuple(fits)


def _as_pep440(term: str) -> str:
    found = re.fullmatch(r"(?P<sign>[=<>!~]*)(?P<version>[0-9.]+?)(?P<star>\.?\*)?", term)
    if found is None:
        raise InvalidSpecifier(term)
    sign, version = found["sign"], found["version"].rstrip(".")
    if sign in ("", "="):
        return f"=={version}.*"
    exact = sign in ("==", "!=") and (found["star"] or version.count(".") < 2)
    return f"{sign}{version}.*" if exact else f"{sign}{version}"
