"""What a shell evaluates to step into an environment, and out again with ``deactivate``. Pure: text alone.

Rules: every value is quoted, whatever it holds; what was there before comes back; packages of the user's own site never
come in (PYTHONNOUSERSITE), nor does another Python's home.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from wherry.errors import UsageError

SHELLS = ("bash", "zsh", "sh", "fish")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_ACTIVE = "_WHERRY_ACTIVE"  # set where `deactivate` is ours: pyenv, say, has a program of that name
_DROPPED = ("PYTHONHOME",)


def render_hook(shell: str, prefix: Path, name: str, variables: Mapping[str, str], *, conda: bool = False) -> str:
    """The text for one shell. `variables` are the declaration's own; `name` is what the prompt shows."""
    if shell not in SHELLS:
        raise UsageError(f"no hook for the shell {shell!r}", where="--shell", hint=", ".join(SHELLS))
    values = environment_values(prefix, variables, conda=conda)
    values = {key: value for key, value in values.items() if _VARIABLE.fullmatch(key)}  # no shell exports a.b
    name = name if _NAME.fullmatch(name) else "env"  # shells expand what stands in a prompt
    return _render_fish(prefix, values) if shell == "fish" else _render_posix(prefix, name, values)


def environment_values(prefix: Path, variables: Mapping[str, str], *, conda: bool = False) -> dict[str, str]:
    """What is set in the environment, without PATH."""
    own = {"CONDA_PREFIX": str(prefix), "CONDA_DEFAULT_ENV": str(prefix)} if conda else {"VIRTUAL_ENV": str(prefix)}
    return {**variables, **own, "PYTHONNOUSERSITE": "1"}


def localise_variables(variables: Mapping[str, str], workdir: str, root: Path) -> dict[str, str]:
    """The declaration's variables as they hold on this machine: what lies below `workdir` in the image lies in the project."""

    def translate(part: str) -> str:
        below = part == workdir or part.startswith(f"{workdir}/")
        return f"{root}{part.removeprefix(workdir)}" if below else part

    return {key: ":".join(map(translate, value.split(":"))) for key, value in variables.items()}


def _render_posix(prefix: Path, name: str, values: Mapping[str, str]) -> str:
    keys = ("PATH", "PS1", *values, *_DROPPED)
    lines = [f'if [ -n "${{{_ACTIVE}:-}}" ]; then deactivate; fi', "deactivate () {"]
    for key in keys:
        old = f"_WHERRY_OLD_{key}"
        set_again = key if key == "PS1" else f"export {key}"
        lines.append(f'  if [ -n "${{{old}+x}}" ]; then {set_again}="${{{old}}}"; unset {old}; else unset {key}; fi')
    lines += [f"  unset {_ACTIVE}", "  unset -f deactivate", "  hash -r 2>/dev/null || true", "}"]
    lines += [f'if [ -n "${{{key}+x}}" ]; then _WHERRY_OLD_{key}="${{{key}}}"; fi' for key in keys]
    lines += [f"export {key}={shlex.quote(value)}" for key, value in values.items()]
    lines += [f"unset {key}" for key in _DROPPED]
    lines.append(f'export PATH={shlex.quote(f"{prefix}/bin")}"${{PATH:+:$PATH}}"')
    lines.append(f'if [ -n "${{PS1:-}}" ]; then PS1={shlex.quote(f"({name}) ")}"$PS1"; fi')
    lines += [f"{_ACTIVE}=1", "hash -r 2>/dev/null || true"]
    return "\n".join(lines) + "\n"


def _render_fish(prefix: Path, values: Mapping[str, str]) -> str:
    keys = ("PATH", *values, *_DROPPED)
    lines = [f"if set -q {_ACTIVE}; deactivate; end", "function deactivate"]
    for key in keys:
        old = f"_WHERRY_OLD_{key}"
        lines.append(f"  if set -q {old}; set -gx {key} ${old}; set -e {old}; else; set -e {key}; end")
    lines += [f"  set -e {_ACTIVE}", "  functions -e deactivate", "end"]
    lines += [f"if set -q {key}; set -g _WHERRY_OLD_{key} ${key}; end" for key in keys]
    lines += [f"set -gx {key} {_quote_fish(value)}" for key, value in values.items()]
    lines += [f"set -e {key}" for key in _DROPPED]
    lines += [f"set -gx PATH {_quote_fish(f'{prefix}/bin')} $PATH", f"set -g {_ACTIVE} 1"]
    return "\n".join(lines) + "\n"


def _quote_fish(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
