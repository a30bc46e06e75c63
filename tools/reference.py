"""`make docs`: writes what the commands say about themselves into docs/reference, and their list into README.md.

With `--check` it writes nothing and fails if a file would change; a test does the same.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from wherry import errors
from wherry.check.rules import RULES
from wherry.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 78  # what the help uses of a terminal of 80 columns
_NOTE = "<!-- Written by `make docs` from the commands. Change the command, not this page. -->"
_OF_CHECK = """## Of wherry check

| code | |
|---|---|
| 0 | no finding is an error; with `--strict` none is a warning either; with `--fix` every such finding was seen to |
| 20 | there is one, sizes over their limits among them. What `--ignore` or `wherry.toml` leaves out does not count |
| any other | it could not be checked: nothing is known about the subject |

With `--rebuild` 0 means that all digests are equal, and 20 that one is not."""
_HELP = re.compile(r"(<!-- help.*? -->\n).*?(<!-- /help -->)", re.DOTALL)


def render_files() -> dict[str, str]:
    """Every generated file by its path, as it has to be."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return {
        "README.md": insert_help(readme),
        "docs/reference/commands.md": render_commands(),
        "docs/reference/exit-codes.md": render_exit_codes(),
        "docs/reference/check-rules.md": render_rules(),
    }


def insert_help(readme: str) -> str:
    """README with what `wherry --help` says, between its two marks."""
    block = f"```console\n$ wherry --help\n{help_text('wherry')}\n```\n"
    return _HELP.sub(lambda match: match[1] + block + match[2], readme)


def help_text(name: str) -> str:
    """What ``NAME --help`` prints in a terminal of 80 columns."""
    command, context = next((command, context) for given, command, context in list_commands() if given == name)
    return str(command.get_help(context)).strip()


def list_commands() -> Iterator[tuple[str, Any, Any]]:
    """All commands, groups before what is in them: name, command, context."""
    root = get_command(app)
    yield from _walk("wherry", root, None)


def _walk(name: str, command: Any, parent: Any) -> Iterator[tuple[str, Any, Any]]:
    context = command.context_class(
        command, info_name=name.rpartition(" ")[2], parent=parent, terminal_width=WIDTH, **command.context_settings
    )
    yield name, command, context
    if hasattr(command, "list_commands"):
        for member in command.list_commands(context):
            yield from _walk(f"{name} {member}", command.get_command(context, member), context)


def render_commands() -> str:
    """One page with every command."""
    commands = list(list_commands())
    listed = [f"- [`{name}`](#{name.replace(' ', '-')}): {_first_sentence(command)}" for name, command, _ in commands[1:]]
    intro = (
        "Results go to stdout, talk to stderr. `--json` prints one document that names its `schema`. Exit codes: "
        "[exit-codes.md](exit-codes.md); variables: [environment-variables.md](environment-variables.md)."
    )
    completion = (
        "Completion: `wherry --install-completion` sets it up for your shell, `wherry --show-completion` only prints the script, "
        "and `_WHERRY_COMPLETE=source_zsh wherry` (`source_bash`, `source_fish`) prints that of another one."
    )
    parts = [f"# Commands\n\n{_NOTE}", intro, completion, "\n".join(listed)]
    parts += [_render_command(name, command, context) for name, command, context in commands]
    return "\n\n".join(parts) + "\n"


def _first_sentence(command: Any) -> str:
    return str(inspect.cleandoc(command.help)).partition("\n\n")[0].replace("\n", " ")


def _render_command(name: str, command: Any, context: Any) -> str:
    usage = f"{name} {' '.join(command.collect_usage_pieces(context))}"
    parts = [f"## {name}", inspect.cleandoc(command.help), f"```sh\n{usage}\n```"]
    rows = [record for parameter in command.get_params(context) if (record := _describe(parameter, context))]
    parts.append("\n".join(["| | |", "|---|---|", *(f"| `{_cell(names)}` | {_cell(meaning)} |" for names, meaning in rows)]))
    before, _, examples = inspect.cleandoc(command.epilog or "").partition("\b\nExamples:\n")
    if before.strip():
        parts.append(before.strip())
    if examples:
        parts.append(f"```sh\n{inspect.cleandoc(examples)}\n```")
    return "\n\n".join(parts)


def _describe(parameter: Any, context: Any) -> tuple[str, str] | None:
    names, meaning = parameter.get_help_record(context) or ("", "")
    return (re.sub(r" <.*>$", "", names), " ".join(meaning.split())) if names else None


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def render_exit_codes() -> str:
    """The error tree's codes, from the errors' own page in the source."""
    rows = ["| code | |", "|---|---|", "| 0 | it worked |", "| 1 | a mistake of wherry's own: please report it |"]
    for line in (errors.__doc__ or "").splitlines():
        if match := re.search(r"─ (\w+)\s+(\d+)\s+(.*)", line):
            rows.append(f"| {match[2]} | `{match[1]}`: {match[3]} |")
    rows += ["| 130 | Ctrl-C |", "| 141 | whoever read the output went away |", "| 143 | SIGTERM |"]
    text = (
        "`wherry run` and `wherry shell` pass on what the command in the container ended with. Every other command, and these "
        "two when the container did not start, end with:"
    )
    after = (
        "An error says on stderr what happened, where, and what to try. `TrustError` means that a digest or a signature is wrong: "
        "wherry never tries that again by itself, and neither should a script."
    )
    return "\n\n".join([f"# Exit codes\n\n{_NOTE}", text, "\n".join(rows), after, _OF_CHECK]) + "\n"


def render_rules() -> str:
    """The rules of `wherry check`, as ``--explain`` tells them."""
    text = (
        "Each finding of `wherry check` has the name of one of these rules; `--ignore RULE` or `--ignore RULE:SUBJECT` leaves it "
        "out once, and [`[[check.ignore]]`](wherry-toml.md#check) in `wherry.toml` for good, with a reason."
    )
    sections = [f"## {rule}\n\n{explanation}" for rule, explanation in sorted(RULES.items())]
    return "\n\n".join([f"# Rules of wherry check\n\n{_NOTE}", text, *sections]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    asked = parser.parse_args()
    stale = []
    for name, text in render_files().items():
        path = ROOT / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not asked.check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                print(f"wrote {name}")
    if stale and asked.check:
        sys.exit(f"out of date: {', '.join(stale)} (make docs)")


if __name__ == "__main__":
    main()
