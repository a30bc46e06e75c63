"""`wherry init`: look at a project, write wherry.toml with a reason for each guess; or bring a live environment or an
Azure ML folder along."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from wherry.cli.epilog import render_examples
from wherry.cli.options import AsJson, DryRun, Folder
from wherry.cli.talk import print_json, say
from wherry.declare.azure_choices import plan_azure_choices
from wherry.declare.azure_draft import AzureDraft, read_azure_folder
from wherry.declare.defaults import default_base_without_python, read_host
from wherry.declare.draft import Choice, plan_choices, render_draft
from wherry.declare.grammar import Written, WrittenEnvironment
from wherry.declare.live import LiveEnvironment, read_live_environment, render_live
from wherry.declare.live_package import Fate
from wherry.declare.prefix import choose_prefix
from wherry.declare.project import OWN_FILE, TOOL_TABLE, guess_declaration
from wherry.declare.pyproject import read_toml, table_at
from wherry.errors import StoreError, UsageError
from wherry.store.posix import write_atomically

INIT_SCHEMA = 1
EXAMPLES = render_examples(
    ("wherry init --dry-run", "show the file, write nothing"),
    ("wherry init --from-env .venv", "from the environment where it works"),
    ("wherry init --from aml_config", "from Azure ML Workbench"),
)
_ACTIVE = "\0active"  # what --from-env without a PREFIX becomes; no path holds a zero byte


@dataclass(frozen=True, slots=True, kw_only=True)
class InitPlan:
    """What `wherry init` would do: files to write, by name, and what to say about them."""

    root: Path
    files: tuple[tuple[str, str], ...]
    choices: tuple[Choice, ...]
    live: LiveEnvironment | None
    notes: tuple[str, ...]
    azure: AzureDraft | None = None


def plan_init(root: Path, from_env: str | None, env: dict[str, str], *, force: bool, from_azure: Path | None = None) -> InitPlan:
    """Decide everything, write nothing. `from_env` is a prefix, ``""`` for the active environment, None for no environment."""
    if from_env is not None and from_azure is not None:
        raise UsageError("--from-env and --from are two ways to begin", hint="one of them")
    if not root.is_dir():
        raise UsageError("there is no such folder", where=str(root))
    if from_azure is not None:
        return _plan_azure(root, from_azure, env, force=force)
    if from_env is None:
        _refuse_overwriting(root, [OWN_FILE], force=force)
        declaration = guess_declaration(root, env, Written())
        choices = plan_choices(declaration)
        return InitPlan(root=root, files=((OWN_FILE, render_draft(choices)),), choices=choices, live=None, notes=declaration.notes)
    prefix = Path(from_env) if from_env else choose_prefix(root, env)
    live = read_live_environment(prefix, root=root, home=Path(env["HOME"]) if env.get("HOME") else None)
    _refuse_overwriting(root, [OWN_FILE, live.file], force=force)
    declaration = guess_declaration(root, env, _written_for(live))
    choices = tuple(
        _name_file(choice, live) for choice in plan_choices(declaration) if not (live.is_conda and choice.key == "python")
    )
    files = ((live.file, render_live(live)), (OWN_FILE, render_draft(choices)))
    return InitPlan(root=root, files=files, choices=choices, live=live, notes=(*live.notes, *declaration.notes))


def _plan_azure(root: Path, place: Path, env: dict[str, str], *, force: bool) -> InitPlan:
    _refuse_overwriting(root, [OWN_FILE], force=force)
    draft = read_azure_folder(root, root / place if (root / place).exists() else place, env)
    declaration = guess_declaration(root, env, draft.written)
    choices = plan_azure_choices(declaration, draft)
    files = ((OWN_FILE, render_draft(choices)),)
    return InitPlan(root=root, files=files, choices=choices, live=None, notes=declaration.notes, azure=draft)


def _written_for(live: LiveEnvironment) -> Written:
    """What is known before the environment's file is there: a conda environment brings its own Python."""
    if live.is_conda:
        base = default_base_without_python(debian=read_host().has_apt)
        return Written(base=base, environment=WrittenEnvironment(file=None))
    return Written(python=live.python, environment=WrittenEnvironment(file=None))


def write_plan(plan: InitPlan) -> None:
    """Write the files, each whole or not at all."""
    for name, text in plan.files:
        _write_whole(plan.root / name, text)


def render_plan(plan: InitPlan, *, written: bool) -> dict[str, Any]:
    """``init --json``."""
    document: dict[str, Any] = {
        "schema": INIT_SCHEMA,
        "written": [name for name, _ in plan.files] if written else [],
        "files": dict(plan.files),
        "choices": [{"key": choice.key, "value": choice.value, "reason": choice.reason} for choice in plan.choices],
        "notes": list(plan.notes),
    }
    if plan.live is not None:
        document["environment"] = {
            "prefix": str(plan.live.prefix),
            "python": plan.live.python,
            **{
                fate.value: [
                    {"name": package.name, "version": package.version, "requirement": package.requirement, "why": package.why}
                    for package in plan.live.having(fate)
                ]
                for fate in Fate
            },
        }
    if plan.azure is not None:
        carried = {fate.value: [{"what": one.what, "why": one.why} for one in plan.azure.having(fate)] for fate in Fate}
        document["azure"] = {"run": plan.azure.run.name, **carried}
    return document


def describe_azure(draft: AzureDraft) -> list[str]:
    """What the folder says and what became of it, for people."""
    counts = ", ".join(f"{len(draft.having(fate))} {fate.value}" for fate in Fate)
    lines = [f"{draft.run.name} of Azure ML: {counts}"]
    return lines + [f"  {fate.value:<11} {one.what}: {one.why}" for fate in Fate for one in draft.having(fate)]


def describe_live(live: LiveEnvironment) -> list[str]:
    """What was kept, changed and is impossible, for people."""
    kept, changed, impossible = (live.having(fate) for fate in Fate)
    lines = [f"Python {live.python} in {live.prefix}: {len(kept)} kept, {len(changed)} changed, {len(impossible)} impossible"]
    lines += [f"  changed     {package.name} {package.version}: {package.why} → {package.requirement}" for package in changed]
    lines += [f"  impossible  {' '.join((package.name, package.version)).rstrip()}: {package.why}" for package in impossible]
    return lines


def _refuse_overwriting(root: Path, names: list[str], *, force: bool) -> None:
    if force:
        return
    for name in names:
        if (root / name).exists() or (root / name).is_symlink():
            raise UsageError(
                "the file is there already", where=str(root / name), hint="--force writes it anew; --dry-run shows how"
            )
    pyproject = root / "pyproject.toml"
    if pyproject.is_file() and "wherry" in table_at(read_toml(pyproject, "pyproject.toml"), "tool"):
        raise UsageError(
            f"the project is declared already, in {TOOL_TABLE}",
            where=str(root),
            hint="--force writes wherry.toml, which then counts",
        )


def _name_file(choice: Choice, live: LiveEnvironment) -> Choice:
    if choice.key != "environment":
        return choice
    count = len(live.packages) - len(live.having(Fate.IMPOSSIBLE))
    return Choice(key="environment", value=json.dumps(live.file), reason=f"Written from a live environment: {count} packages.")


def _write_whole(path: Path, text: str) -> None:
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise StoreError(f"cannot be written: {error.strerror}", where=str(path)) from error


class _OptionalPrefix(TyperCommand):
    """Lets ``--from-env`` stand alone, or be followed by a PREFIX."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _fill_prefix(args))


def _fill_prefix(args: list[str]) -> list[str]:
    filled = []
    for position, arg in enumerate(args):
        filled.append(arg)
        following = args[position + 1] if position + 1 < len(args) else "-"
        if arg == "--from-env" and following.startswith("-"):
            filled.append(_ACTIVE)
    return filled


def init_project(
    folder: Folder = Path(),
    from_env: Annotated[
        str | None,
        typer.Option(
            "--from-env",
            metavar="[PREFIX]",
            help="Also write requirements.txt or environment.yml from a live environment: PREFIX, else the active one, else .venv.",
        ),
    ] = None,
    from_azure: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="Carry an Azure ML folder on, such as aml_config, or one .runconfig of it; no credential is copied.",
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
) -> None:
    """Look at a project and write its wherry.toml."""
    chosen = "" if from_env == _ACTIVE else from_env
    plan = plan_init(folder, chosen, dict(os.environ), force=force or dry_run, from_azure=from_azure)
    if not dry_run:
        write_plan(plan)
    if as_json:
        print_json(render_plan(plan, written=not dry_run))
        return
    for line in describe_live(plan.live) if plan.live else ():
        say(line)
    for line in describe_azure(plan.azure) if plan.azure else ():
        say(line)
    for note in plan.notes:
        say(f"note: {note}")
    for name, text in plan.files:
        if dry_run:
            print(f"--- {name}\n{text}")
        else:
            print(name)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init", cls=_OptionalPrefix, epilog=EXAMPLES)(init_project)
