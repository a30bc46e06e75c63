"""One requirement line, PEP 508 with pip's extensions, to a `Requirement`.

A URL is taken when it names a wheel and a sha256 pins it (``#sha256=…`` or ``--hash=sha256:…``); its text becomes
``name @ url#sha256=…``. What has to be built (a commit, a folder, a source archive) is taken where the author allows it
(build_lines.py); URLs without a digest and local files are `Refused`.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from urllib.parse import unquote

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Pep508
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from wherry.declare.build_lines import AllowedBuilds, Refused, is_folder_line, parse_archive, parse_commit, parse_folder
from wherry.declare.redaction import redact
from wherry.declare.refusals import Refusal
from wherry.errors import DeclarationError
from wherry.formats.urls import strip_login
from wherry.model.declaration import Requirement

_VCS = re.compile(r"(?:git|hg|svn|bzr)\+|git@", re.IGNORECASE)
_SCHEME = re.compile(r"(?:https?|file|ftp|ssh|s3|gs)://|file:", re.IGNORECASE)
_NAMED_URL = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*@\s*(\S.*)", re.DOTALL)
_ARCHIVE = re.compile(r"\.(?:whl|zip|tar\.(?:gz|bz2|xz)|tgz)(?:$|[#;\s?\[])", re.IGNORECASE)
_PIN = re.compile(r"[#&]sha256=([0-9a-fA-F]{64})(?:&|$)")
_EGG = re.compile(r"[#&]egg=([A-Za-z0-9][A-Za-z0-9._-]*)")
_HASH = re.compile(r"sha256:[0-9a-fA-F]{64}")
_OPTION = re.compile(r"(?:^|\s)-")
_PER_REQUIREMENT = ("--hash", "--config-settings", "--config-setting", "--global-option", "--install-option")
_NOTHING = AllowedBuilds()
_RELEASED = "a released version (name==1.2.3), or a wheel pinned by its digest: name @ https://…/name-1.2.3-….whl#sha256=…"


def parse_requirement_line(line: str, where: str, allowed: AllowedBuilds = _NOTHING) -> Requirement:
    """Read one logical line without comments. `Refused` for what no digest can fix, `DeclarationError` for nonsense."""
    text, hashes = _split_hashes(line, where)
    if _VCS.match(text):
        url, marker = _split_marker(text, spaced=True)
        return _checked_source(parse_commit(None, "", url, marker, where, allowed))
    named = _NAMED_URL.match(text)
    if named and not text.lstrip().startswith((".", "/")):
        return _parse_url(text, named.group(1), named.group(2) or "", named.group(3), hashes, where, allowed)
    if _SCHEME.match(text):
        return _parse_url(text, None, "", text, hashes, where, allowed)
    if is_folder_line(text) and not _ARCHIVE.search(text):
        return _checked_source(parse_folder(text, where, allowed))
    if text.startswith((".", "/", "~", "\\")) or _ARCHIVE.search(text) or re.match(r"[^\s;\[<>=!~(]+[/\\]", text):
        raise Refused(_refusal(text, where, "a path is not fixed by a digest", _RELEASED))
    return _parse_named(text, hashes, where)


def parse_editable(value: str, where: str, allowed: AllowedBuilds) -> Requirement:
    """What stands behind ``-e``: it is built as it is now, like anything else."""
    if _VCS.match(value):
        return parse_requirement_line(value, where, allowed)
    return _checked_source(parse_folder(value.removeprefix("file:"), where, allowed))


def name_in_url(text: str) -> str | None:
    """The package's name as far as a URL tells: ``#egg=``, ``name @``, a wheel's file name, or the repository's last part."""
    if egg := _EGG.search(text):
        return egg.group(1)
    if (named := _NAMED_URL.match(text)) and not _SCHEME.match(text) and not _VCS.match(text):
        return named.group(1)
    path = re.sub(r"^[A-Za-z+]+://[^/]*", "", strip_login(re.split(r"[#?;]|\s", text)[0]))
    path = unquote(path).rstrip("/")
    last = re.split(r"[/:]", path)[-1].partition("@")[0]
    if last.endswith(".whl"):
        return last.split("-")[0]
    last = re.sub(r"\.(git|zip|tar\.\w+|tgz)$", "", last)
    return last if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", last) else None


def _refusal(text: str, where: str, reason: str, remedy: str) -> Refusal:
    return Refusal(where=where, subject=name_in_url(text) or redact(text), reason=reason, remedy=remedy)


def _split_hashes(line: str, where: str) -> tuple[str, tuple[str, ...]]:
    """A line's requirement and the sha256 of its ``--hash`` options; other options of pip's are read over."""
    found = _OPTION.search(line)
    if not found:
        return line.strip(), ()
    text, rest = line[: found.start()].strip(), line[found.start() :]
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise DeclarationError("a quotation mark is not closed", where=where) from error
    hashes = []
    while words:
        option, equals, value = words.pop(0).partition("=")
        if option not in _PER_REQUIREMENT:
            raise DeclarationError(f"unknown option {redact(option)} after a requirement", where=where)
        if not equals:
            value = words.pop(0) if words else ""
        if option == "--hash":
            hashes.append(value)
    known = tuple(value.lower() for value in hashes if _HASH.fullmatch(value))
    if hashes and not known:
        raise DeclarationError(
            f"{redact(text)}: no hash of the form sha256:<64 hex digits>",
            where=where,
            hint="pip hash, or pip-compile --generate-hashes",
        )
    return text, known


def _parse_url(
    text: str, name: str | None, extras: str, rest: str, hashes: tuple[str, ...], where: str, allowed: AllowedBuilds
) -> Requirement:
    url, marker = _split_marker(rest, spaced=True)
    if _VCS.match(url):
        return _checked_source(parse_commit(name, extras, url, marker, where, allowed))
    if not url.lower().startswith(("https://", "http://")):
        raise Refused(_refusal(text, where, "a local file is not found on other machines", _RELEASED))
    file = unquote(re.split(r"[#?]", url)[0].rpartition("/")[2])
    sha256 = _sole_digest(url, hashes)
    if file.endswith((".tar.gz", ".zip")) and sha256 is not None:
        return _checked_source(parse_archive(name, extras, url, marker, sha256, where, allowed))
    if not file.endswith(".whl"):
        reason = "only wheels are taken from a URL: anything else would have to run code to be installed"
        raise Refused(_refusal(text, where, reason, _RELEASED))
    try:
        wheel_name = parse_wheel_filename(file)[0]
    except InvalidWheelFilename:
        raise Refused(_refusal(text, where, "not the file name of a wheel", _RELEASED)) from None
    if sha256 is None:
        remedy = f"append the wheel's digest to the URL: #sha256=…, or name a released version ({wheel_name}==1.2.3)"
        raise Refused(_refusal(text, where, "a URL that no sha256 pins", remedy))
    if name is not None and canonicalize_name(name) != wheel_name:
        raise DeclarationError(f"{redact(name)} is asked for, but the URL's wheel is {wheel_name}", where=where)
    pinned = f"{name or wheel_name}{extras} @ {url.partition('#')[0]}#sha256={sha256}{f' ; {marker}' if marker else ''}"
    return _checked(pinned, (f"sha256:{sha256}",), where)


def _sole_digest(url: str, hashes: tuple[str, ...]) -> str | None:
    """The one sha256 that a URL's fragment, or else ``--hash``, gives."""
    pin = _PIN.search(url)
    digests = {pin.group(1).lower()} if pin else {value.removeprefix("sha256:") for value in hashes}
    return digests.pop() if len(digests) == 1 else None


def _checked_source(requirement: Requirement) -> Requirement:
    """With its extras and marker read as PEP 508."""
    return replace(_checked(requirement.text, requirement.hashes, requirement.where), source=requirement.source)


def _parse_named(text: str, hashes: tuple[str, ...], where: str) -> Requirement:
    return _checked(text, hashes, where)


def _checked(text: str, hashes: tuple[str, ...], where: str) -> Requirement:
    try:
        parsed = Pep508(text)
    except (InvalidRequirement, ValueError, RecursionError) as error:
        raise DeclarationError(
            f"not a requirement: {redact(text)}",
            where=where,
            hint="name, name==1.2.3, name[extra]>=1,<2 ; python_version >= '3.11'",
        ) from error
    return Requirement(text=text, name=canonicalize_name(parsed.name), hashes=hashes, where=where)


def _split_marker(text: str, *, spaced: bool) -> tuple[str, str]:
    """A URL ends at ``; `` or `` ;``, because a bare semicolon may be part of it."""
    found = re.search(r"\s;|;\s" if spaced else r";", text)
    if not found:
        return text.strip(), ""
    return text[: found.start()].strip(), text[found.end() :].lstrip("; ").strip()
