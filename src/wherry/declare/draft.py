"""The wherry.toml that `wherry init` writes: what would have been assumed anyway, with the reason for each line.

Law: the file read again gives the declaration of the bare folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wherry.declare.defaults import SRC_ON_PATH
from wherry.declare.entrypoint import is_scoring_script
from wherry.model.declaration import DebianBase, Declaration, EnvironmentKind

_HEAD = """\
# What `wherry init` found. Every line is a guess that you may change or remove;
# all keys: docs/reference/wherry-toml.md
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One line of the file: `value` is TOML, empty for a key that is only mentioned."""

    key: str
    value: str
    reason: str


def plan_choices(declaration: Declaration) -> tuple[Choice, ...]:
    """The lines to write for a bare folder's declaration."""
    environment = declaration.environment
    choices = [
        Choice(
            key="name",
            value=render_text(declaration.name),
            reason="From pyproject.toml or the folder's name; the image is called so.",
        ),
        _base(declaration),
    ]
    if declaration.python and not declaration.environment.kind.is_conda:
        choices.append(Choice(key="python", value=render_text(declaration.python), reason="The Python that this base brings."))
    platforms = [str(platform) for platform in declaration.platforms]
    whose = "This machine's, or those that the environment's file names" if environment.kind.is_conda else "This machine's"
    reason = f'{whose}. Others need no emulator: ["linux/amd64", "linux/arm64"].'
    choices.append(Choice(key="platforms", value=_texts(platforms), reason=reason))
    choices += [_environment(declaration), _system_packages(), _models(declaration), _entrypoint(declaration)]
    own = [pair for pair in declaration.env if pair in SRC_ON_PATH]  # the rest is the environment's file's to say
    if own:
        value = render_inline_table({key: render_text(text) for key, text in own})
        choices.append(
            Choice(key="env", value=value, reason="The packages in src/ are found there: the project itself is not installed.")
        )
    return tuple(choices)


def render_draft(choices: Sequence[Choice]) -> str:
    """The file's text."""
    parts = [_HEAD]
    for choice in choices:
        line = f"{choice.key} = {choice.value}" if choice.value else f"# {choice.key} ="
        parts.append(f"# {choice.reason}\n{line}\n")
    return "\n".join(parts)


def _base(declaration: Declaration) -> Choice:
    base = declaration.base
    if isinstance(base, DebianBase):
        reason = "Put together from Debian's signed packages, which this machine's apt configuration knows."
        return Choice(key="base", value=render_text(f"debian:{base.suite}"), reason=reason)
    return Choice(
        key="base", value=render_text(str(base.reference)), reason="An image with this Python; the lock fixes it by digest."
    )


def _environment(declaration: Declaration) -> Choice:
    environment = declaration.environment
    if environment.kind is EnvironmentKind.EMPTY:
        return Choice(key="environment", value="false", reason="No file that asks for packages was found: the image gets none.")
    counts = [(len(environment.conda.specs), "package of conda's")] if environment.conda else []
    counts.append((len(environment.requirements), "requirement"))
    parts = [f"{count} {_plural(what, count)}" for count, what in counts if count]
    asked = " and ".join(parts) or "resolved already"
    return Choice(
        key="environment",
        value=render_text(environment.files[0]),
        reason=f"The first that was found of those that are read: {asked}.",
    )


def _system_packages() -> Choice:
    return Choice(key="system-packages", value="[]", reason='Debian packages besides, such as "libgomp1"; none was looked for.')


def _models(declaration: Declaration) -> Choice:
    paths = [model.path for model in declaration.models]
    if not paths:
        return Choice(
            key="models", value="[]", reason='No file looks like a model. Each one named here gets a layer: ["models/model.pkl"].'
        )
    return Choice(
        key="models", value=_texts(paths), reason="By their suffixes. Each gets a layer, so that a retrained one moves alone."
    )


def _entrypoint(declaration: Declaration) -> Choice:
    if not declaration.entrypoint:
        return Choice(key="entrypoint", value="", reason='Nothing to start was found: entrypoint = ["python", "main.py"].')
    script, reason = declaration.entrypoint[-1], "What `wherry run` starts; found by its name."
    if is_scoring_script(declaration.root / script):
        reason += f' It has init() and run(): {{ score = "{script}" }} would serve it over HTTP.'
    return Choice(key="entrypoint", value=_texts(declaration.entrypoint), reason=reason)


def _plural(what: str, count: int) -> str:
    noun, space, rest = what.partition(" ")
    return what if count == 1 else f"{noun}s{space}{rest}"


def render_text(value: str) -> str:
    """A string in TOML."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def render_inline_table(values: Mapping[str, str]) -> str:
    """`values` are TOML already."""
    return "{ " + ", ".join(f"{_key(key)} = {value}" for key, value in values.items()) + " }"


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() and name.isascii() else render_text(name)


def _texts(values: Sequence[str]) -> str:
    if len(values) <= 3:
        return "[" + ", ".join(render_text(value) for value in values) + "]"
    return "[\n" + "".join(f"  {render_text(value)},\n" for value in values) + "]"
