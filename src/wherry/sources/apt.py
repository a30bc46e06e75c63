"""Reads this machine's apt configuration: where packages may be fetched, through what, and with whose keys.

Knows one-line `.list` and deb822 `.sources` files with their options, `mirror+file:` lists, `auth.conf` and the flat
form of ``Acquire::http::Proxy``. Ignored on purpose: ``Trusted: yes`` (trust is ours, see `debian_trust`), flat
repositories, cdrom sources, preferences. A file that apt would not read (another suffix) is not read.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wherry.errors import FormatError
from wherry.formats.debian_index import parse_fields, split_paragraphs
from wherry.formats.urls import strip_login

_SCHEMES = ("http://", "https://", "file:", "mirror+file:")
_OPTIONS = re.compile(r"\[(.*?)\]")
_PROXY = re.compile(r'^\s*Acquire::(https?)::Proxy\s+"([^"]*)"\s*;', re.MULTILINE | re.IGNORECASE)
_APT_FILE = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class AptSource:
    """One suite at one address. `uri` has no slash at its end and may hold credentials: never print it, use `place`.

    `keyrings` are the files of Signed-By, `inline_key` an armored key given in place; both empty means any of apt's.
    """

    uri: str
    suite: str
    components: tuple[str, ...]
    architectures: tuple[str, ...] = ()
    keyrings: tuple[Path, ...] = ()
    inline_key: str = ""
    where: str = ""

    @property
    def place(self) -> str:
        """The address without credentials, for messages."""
        return strip_login(self.uri)


@dataclass(frozen=True, slots=True, kw_only=True)
class AptLogin:
    """An entry of auth.conf. `machine` is a host, perhaps with a path."""

    machine: str
    login: str
    password: str


def read_apt_sources(env: Mapping[str, str], root: Path = Path("/")) -> tuple[AptSource, ...]:  # noqa: ARG001
    """The enabled binary sources, in apt's order. None at all gives an empty tuple."""
    etc = root / "etc/apt"
    found: list[AptSource] = []
    for path in (etc / "sources.list", *_parts(etc / "sources.list.d", (".list", ".sources"))):
        if path.is_file():
            read = _read_deb822 if path.suffix == ".sources" else _read_list
            found += read(path, root)
    return tuple(found)


def read_apt_proxies(env: Mapping[str, str], root: Path = Path("/")) -> dict[str, str]:
    """Scheme → proxy address; apt's own setting goes before ``http_proxy``. ``DIRECT`` means none."""
    proxies = {}
    for scheme in ("http", "https"):
        value = env.get(f"{scheme}_proxy") or env.get(f"{scheme.upper()}_PROXY")
        if value:
            proxies[scheme] = value
    for path in (*_parts(root / "etc/apt/apt.conf.d", ("", ".conf")), root / "etc/apt/apt.conf"):
        if path.is_file():
            for scheme, value in _PROXY.findall(path.read_text("utf-8", "replace")):
                proxies[scheme.lower()] = value
    return {scheme: value for scheme, value in proxies.items() if value and value.upper() != "DIRECT"}


def read_apt_logins(root: Path = Path("/")) -> tuple[AptLogin, ...]:
    """What auth.conf and auth.conf.d hold. An unreadable file counts as absent, as it does for apt."""
    found = []
    for path in (root / "etc/apt/auth.conf", *_parts(root / "etc/apt/auth.conf.d", (".conf",))):
        try:
            words = path.read_text("utf-8", "replace").split()
        except OSError:
            continue
        entry: dict[str, str] = {}
        for key, value in zip(words, [*words[1:], ""], strict=True):
            if key in ("machine", "login", "password"):
                entry = {"machine": value} if key == "machine" else entry | {key: value}
                if len(entry) == 3:
                    found.append(AptLogin(**entry))
                    entry = {}
    return tuple(found)


def _parts(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in suffixes and _APT_FILE.fullmatch(path.name))


def _read_list(path: Path, root: Path) -> Iterator[AptSource]:
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text.startswith(("deb ", "deb\t")):
            continue
        where = f"{path}:{number}"
        options: dict[str, str] = {}
        if match := _OPTIONS.search(text):
            options = dict(pair.split("=", 1) for pair in shlex.split(match[1]) if "=" in pair)
            text = text.replace(match[0], " ", 1)
        words = text.split()
        if len(words) < 3:
            raise FormatError("a source without address or suite", where=where, hint="apt update")
        yield from _sources(
            root,
            where,
            uris=[words[1]],
            suites=[words[2]],
            components=words[3:],
            architectures=options.get("arch", "").split(","),
            signed_by=options.get("signed-by", "").replace(",", " "),
        )


def _read_deb822(path: Path, root: Path) -> Iterator[AptSource]:
    data = re.sub(rb"(?m)^#.*\n?", b"", path.read_bytes())
    for number, paragraph in enumerate(split_paragraphs([data], str(path)), 1):
        where = f"{path}: paragraph {number}"
        fields = parse_fields(paragraph, where)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        yield from _sources(
            root,
            where,
            uris=fields.get("uris", "").split(),
            suites=fields.get("suites", "").split(),
            components=fields.get("components", "").split(),
            architectures=fields.get("architectures", "").split(),
            signed_by=fields.get("signed-by", ""),
        )


def _sources(
    root: Path,
    where: str,
    *,
    uris: list[str],
    suites: list[str],
    components: list[str],
    architectures: list[str],
    signed_by: str,
) -> Iterator[AptSource]:
    inline = signed_by.strip() if "BEGIN PGP" in signed_by else ""
    keyrings = () if inline else tuple(root / name.lstrip("/") for name in signed_by.split() if name.startswith("/"))
    for uri in uris:
        for address in _addresses(uri, root):
            for suite in suites:
                if suite.endswith("/"):
                    continue  # a flat repository: not an archive with suites
                yield AptSource(
                    uri=address.rstrip("/"),
                    suite=suite,
                    components=tuple(components),
                    architectures=tuple(filter(None, architectures)),
                    keyrings=keyrings,
                    inline_key=_dedot(inline),
                    where=where,
                )


def _addresses(uri: str, root: Path) -> list[str]:
    if not uri.startswith(_SCHEMES):
        return []
    if not uri.startswith("mirror+file:"):
        return [uri]
    listed = root / uri.removeprefix("mirror+file:").lstrip("/")
    if not listed.is_file():
        return []
    lines = (line.split() for line in listed.read_text("utf-8", "replace").splitlines())
    return [words[0] for words in lines if words and words[0].startswith(_SCHEMES[:3])]


def _dedot(armored: str) -> str:
    """deb822 writes an empty line as a lone dot."""
    return "\n".join("" if line.strip() == "." else line.strip() for line in armored.split("\n"))
