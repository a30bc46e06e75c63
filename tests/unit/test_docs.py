"""Documentation is held to what is there: links, commands, options, generated pages, and nothing of anybody's machine."""

from __future__ import annotations

import configparser
import os
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.main import get_command

from wherry import errors
from wherry.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE_HOSTS = (".example", ".test", ".invalid", "localhost")


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


PAGES = sorted(
    {
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    }
)


def pages() -> Any:
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pages()
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text("utf-8"))):
        if link.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert not wrong


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        links = re.findall(r"\]\(([^)\s#]+)[^)]*\)", without_code(page.read_text("utf-8")))
        waiting += [(page.parent / link).resolve() for link in links if "://" not in link]
    lost = [str(page.relative_to(ROOT)) for page in PAGES if page not in reached and page.is_relative_to(ROOT / "docs")]
    assert not lost


def shell_lines(text: str) -> Iterator[str]:
    """Lines of code blocks that are commands: all of `sh` blocks, those behind a ``$`` in `console` blocks."""
    for kind, block in re.findall(r"^```(sh|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if kind == "sh" or line.startswith("$ "):
                yield line.removeprefix("$ ").partition("  #")[0]


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    command: Any = get_command(app)
    while words and hasattr(command, "list_commands"):
        context = command.context_class(command, info_name="wherry")
        found = command.get_command(context, words[0]) if not words[0].startswith("-") else None
        if found is None:
            break
        command, words = found, words[1:]
    return command, words


@pages()
def test_commands_and_options_exist(page: Path) -> None:
    if page.name == "commands.md":
        return  # generated, and `wherry [OPTIONS]` is no command
    wrong = []
    for line in shell_lines(page.read_text("utf-8")):
        for called in re.findall(r"(?:^|[|(&;]|\btime |[A-Z]+=\S+ )\s*wherry\s+([^|)&;>]*)", line):
            command, rest = find_command(called.split())
            options = {name for parameter in command.params for name in parameter.opts + parameter.secondary_opts} | {
                "--help",
                "-h",
            }
            if hasattr(command, "list_commands") and (not rest or not rest[0].startswith("--")):
                wrong.append(line)
            for word in rest:
                if word == "--" or (command.name == "run" and not word.startswith("-")):
                    break
                if word.startswith("-") and word != "-" and word.partition("=")[0] not in options:
                    wrong.append(f"{line}: {word}")
    assert not wrong


@pages()
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE))
    assert named <= targets


def test_generated_pages_are_those_of_the_commands() -> None:
    """README's help, docs/reference/commands.md and exit-codes.md; `make docs` renews them."""
    done = subprocess.run([sys.executable, ROOT / "tools" / "reference.py", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_help_in_the_readme_is_what_is_printed() -> None:
    program = "import sys; from wherry.cli.front import main; sys.argv = ['wherry', '--help']; main()"
    env = {**os.environ, "COLUMNS": "80"}
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env).stdout
    assert f"$ wherry --help\n{printed.strip()}\n```" in (ROOT / "README.md").read_text("utf-8")


def test_every_kind_of_error_has_its_exit_code_in_the_reference() -> None:
    page = (ROOT / "docs/reference/exit-codes.md").read_text("utf-8")
    for kind in errors.WherryError.__subclasses__():
        assert f"| {kind.exit_code} | `{kind.__name__}`" in page


def test_every_variable_of_ours_is_documented() -> None:
    page = (ROOT / "docs/reference/environment-variables.md").read_text("utf-8")
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    assert {f"`{name}`" in page for name in re.findall(r"\bWHERRY_[A-Z]+\b", source)} == {True}


def test_decisions_are_numbered_and_listed() -> None:
    records = sorted(path.name for path in (ROOT / "docs/adr").glob("[0-9]*.md"))
    assert [int(name[:4]) for name in records] == list(range(1, len(records) + 1))
    index = (ROOT / "docs/adr/README.md").read_text("utf-8")
    for name in records:
        text = (ROOT / "docs/adr" / name).read_text("utf-8")
        assert text.startswith(f"# {int(name[:4])}. ")
        assert "\nStatus: " in text
        assert "\n## Decision\n" in text
        assert f"({name})" in index


# -- nothing of a machine


def configured_urls() -> Iterator[str]:
    """Addresses of indexes, mirrors and proxies that this machine is configured for."""
    for name, value in os.environ.items():
        if name.upper().endswith(("INDEX_URL", "_INDEX", "_PROXY", "FIND_LINKS", "NPM_CONFIG_REGISTRY", "MIRROR")):
            yield from value.split()
    home = Path.home()
    for path in (
        Path("/etc/pip.conf"),
        Path("/etc/xdg/pip/pip.conf"),
        home / ".pip/pip.conf",
        home / ".config/pip/pip.conf",
        Path(os.environ.get("PIP_CONFIG_FILE") or os.devnull),
    ):
        parser = configparser.RawConfigParser(strict=False)
        if path.is_file() and parser.read(path):
            yield from (url for section in parser.sections() for _, value in parser.items(section) for url in value.split())
    for path in (Path("/etc/uv/uv.toml"), home / ".config/uv/uv.toml"):
        if path.is_file():
            yield from re.findall(r"https?://[^\s\"']+", str(tomllib.loads(path.read_text())))
    for path in (home / ".npmrc", Path("/etc/npmrc")):
        if path.is_file():
            yield from re.findall(r"https?://[^\s\"']+", path.read_text("utf-8", "replace"))
    for path in (Path("/etc/apt/sources.list"), *Path("/etc/apt").glob("*.d/*")):
        if path.is_file():
            yield from re.findall(r"https?://[^\s\"';]+", path.read_text("utf-8", "replace"))


def machine_words() -> set[str]:
    """What must stand in no tracked file: hosts that this machine asks, its own name, where this checkout and its home are."""
    hosts = {urlsplit(url).hostname or "" for url in configured_urls() if "://" in url}
    words = {host for host in hosts if "." in host and not host.endswith(EXAMPLE_HOSTS) and not host.startswith("127.")}
    if len(socket.gethostname()) >= 8:
        words.add(socket.gethostname())
    places = [ROOT, Path.home()]
    return words | {str(place) for place in places if len(place.parts) > 2}


def test_no_tracked_file_names_this_machine_or_what_it_asks() -> None:
    words = machine_words()
    patterns = [(word, re.compile(rb"(?<![\w.-])" + re.escape(word.encode()) + rb"(?![\w-])")) for word in words]
    found = []
    for path in tracked_files():
        content = path.read_bytes()
        found += [f"{path.relative_to(ROOT)}: {word}" for word, pattern in patterns if pattern.search(content)]
    assert not found


def test_the_search_for_hosts_finds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@packages.company.net/simple")
    assert "packages.company.net" in machine_words()
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    assert "index.example" not in machine_words()
