"""uv, driven as a program: found, started with a whole environment, its failures put into our words.

Nothing of uv's output that holds a credential is passed on.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wherry.errors import LockError, TransferError, UsageError, WherryError
from wherry.formats.urls import strip_credentials
from wherry.sources.pip_configuration import UvSettings

_USER = re.compile(r"(?<=://)[^/\s@`]+@")
_NETWORK = ("error sending request", "Failed to fetch", "operation timed out", "HTTP status", "Could not connect", "dns error")
_LONGEST = 12  # lines of uv's explanation that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexes:
    """Where uv would look: index URLs, the first one first, and flat lists or folders of files. May hold credentials."""

    urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()

    def one_by_one(self) -> Iterator[Indexes]:
        """Each place alone, so that one that is broken does not hide the next."""
        yield from (Indexes(urls=(url,)) for url in self.urls)
        yield from (Indexes(find_links=(link,)) for link in self.find_links)


def find_uv() -> str:
    """The uv of wherry's own environment, else the one on the PATH."""
    beside = Path(sys.executable).parent / "uv"
    if beside.is_file():
        return str(beside)
    try:
        from uv import find_uv_bin  # reads sysconfig; only wanted where uv is not beside the interpreter

        return find_uv_bin()
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise UsageError("uv is not installed", hint="pip install uv")
    return found


def run_uv(arguments: Sequence[str], settings: UvSettings, folder: Path, *, offline: bool) -> str:
    """Run uv in `folder` and give its stdout; a failure becomes the error that `explain_failure` makes of it."""
    command = [find_uv(), *arguments, *settings.arguments, *(["--offline"] if offline else [])]
    done = subprocess.run(
        command, cwd=folder, env=dict(settings.environment), capture_output=True, text=True, encoding="utf-8", errors="replace"
    )
    if done.returncode != 0:
        raise explain_failure(done.stderr, offline=offline)
    return done.stdout


def explain_failure(stderr: str, *, offline: bool) -> WherryError:
    """uv's explanation, shortened: what is in the way first, hints as ours, no warnings, no credentials."""
    text = _USER.sub("", stderr)
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and not line.startswith("warning:")]
    hints = [line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")]
    body = [line for line in lines if not line.startswith("hint: ")]
    if len(body) > _LONGEST:
        body = [*body[: _LONGEST - 1], f"… ({len(body) - _LONGEST + 1} more lines)"]
    what = _in_our_words(body)
    hint = "; ".join(hints) or None
    if any(sign in text for sign in _NETWORK) and not offline and "No solution found" not in text:
        return TransferError(what, hint="the same command again, later")
    if offline and hint is None:
        hint = "without --offline"
    return LockError(what, hint=hint)


def ask_indexes(settings: UvSettings, folder: Path) -> Indexes:
    """Let uv say which indexes it would ask: it alone knows its default and how its configuration files combine.

    A tiny wheel that needs nothing is resolved offline, so that nothing is asked of any index.
    """
    with tempfile.TemporaryDirectory(prefix="wherry-") as scratch:
        wheel = Path(scratch) / "wherry_probe-0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("wherry_probe-0.dist-info/METADATA", "Metadata-Version: 2.1\nName: wherry-probe\nVersion: 0\n")
            archive.writestr("wherry_probe-0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr("wherry_probe-0.dist-info/RECORD", "")
        request = Path(scratch) / "request.in"
        request.write_text(f"wherry-probe @ {wheel.as_uri()}\n", encoding="utf-8")
        cache = ("--cache-dir", str(Path(scratch) / "cache"))
        options = ("--emit-index-url", "--emit-find-links", "--no-header", "--no-annotate", "--python", sys.executable)
        output = run_uv(["pip", "compile", "--quiet", *options, *cache, str(request)], settings, folder, offline=True)
    return read_indexes(output, folder)


def read_indexes(output: str, folder: Path) -> Indexes:
    """The index options at the head of a compiled requirements file."""
    urls: list[str] = []
    links: list[str] = []
    for line in output.splitlines():
        option, _, value = line.partition(" ")
        if option in ("--index-url", "--extra-index-url"):
            urls.append(value.strip())
        elif option == "--find-links":
            links.append(value.strip())
    return Indexes(urls=tuple(urls), find_links=tuple(_as_url(link, folder) for link in links))


def describe_indexes(indexes: Indexes) -> str:
    """For messages: where was looked."""
    return ", ".join(strip_credentials(url) for url in (*indexes.urls, *indexes.find_links)) or "no index"


def _in_our_words(body: Sequence[str]) -> str:
    first = body[0].removeprefix("error: ") if body else "uv failed and did not say why"
    rest = [re.sub(r"^\s*cause: ", "", line).strip() for line in body[1:]]
    if first.startswith("No solution found") and rest:
        return "the requirements cannot be met together:\n  " + "\n  ".join(rest)
    return "\n  ".join([first, *rest])


def _as_url(link: str, folder: Path) -> str:
    return link if "://" in link else (folder / link).resolve().as_uri()
