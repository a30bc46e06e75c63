"""Reading a project's folder to one `Declaration`: wherry.toml, else ``[tool.wherry]``, else the bare folder.

Start of the stage. Everything wrong is a `DeclarationError`; nothing is written, run or asked for on the network.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wherry.declare.conda_file import require_python
from wherry.declare.defaults import (
    Host,
    default_base,
    default_base_without_python,
    default_entrypoint,
    default_env,
    default_name,
    default_python,
    python_of_base,
    read_host,
)
from wherry.declare.environment import FoundEnvironment, read_environment
from wherry.declare.grammar import Written, parse_written
from wherry.declare.model_files import default_models
from wherry.declare.pyproject import read_toml, table_at
from wherry.errors import DeclarationError
from wherry.formats.scoring import render_service
from wherry.model.declaration import CondaRequest, CondaSpec, DebianBase, Declaration, InterpreterSource, ModelFile, ReferenceBase
from wherry.model.scoring import MODELS, SCORE_MODULE, SETTINGS, VOLUME

OWN_FILE = "wherry.toml"
TOOL_TABLE = "pyproject.toml: tool.wherry"
BARE = "the folder"
_CHANNEL = "conda-forge"  # where Python is to be conda's and no file names a channel


def read_declaration(root: Path, env: Mapping[str, str], *, host: Host | None = None) -> Declaration:
    """What the project at `root` asks for, defaults filled in.

    `env` replaces ``${NAME}`` in requirements files. `host` is what the defaults depend on; None means this machine.
    """
    root, pyproject = _open_project(root)
    written, origin, notes = read_written(root, pyproject)
    return _declare(root, pyproject, written, origin, notes, env, host or read_host())


def guess_declaration(root: Path, env: Mapping[str, str], written: Written, *, host: Host | None = None) -> Declaration:
    """What would be assumed if the author had written `written` alone; what wherry.toml says is not looked at."""
    root, pyproject = _open_project(root)
    return _declare(root, pyproject, written, BARE, (), env, host or read_host())


def _open_project(root: Path) -> tuple[Path, Mapping[str, Any]]:
    if not root.is_dir():
        raise DeclarationError("there is no such folder" if not root.exists() else "not a folder", where=str(root))
    root = root.resolve()
    return root, read_toml(root / "pyproject.toml", "pyproject.toml") if (root / "pyproject.toml").is_file() else {}


def _declare(
    root: Path,
    pyproject: Mapping[str, Any],
    written: Written,
    origin: str,
    notes: tuple[str, ...],
    env: Mapping[str, str],
    host: Host,
) -> Declaration:
    found = read_environment(root, written.environment, env, frozenset(written.allow_build))
    if found.environment.kind.is_conda:
        if written.interpreter is not None:
            raise DeclarationError("Python is one of conda's packages here", where=f"{origin}: interpreter", hint="leave it away")
        found, base, python = _with_python_of_conda(found, written, host, origin)
    else:
        base, python = _base_and_python(root, written, pyproject, host, origin)
        if written.interpreter is InterpreterSource.CONDA:
            found = replace(found, environment=replace(found.environment, conda=_ask_for_python(python, origin)))
    interpreter = written.interpreter or InterpreterSource.BASE
    models, model_notes = (written.models, ()) if written.models is not None else default_models(root)
    return Declaration(
        root=root,
        origin=origin,
        name=written.name or default_name(root, pyproject),
        python=python,
        interpreter=interpreter,
        base=base,
        platforms=written.platforms or found.platforms or (host.platform,),
        environment=found.environment,
        system_packages=written.system_packages,
        code=written.code,
        models=models,
        models_guessed=written.models is None,
        entrypoint=_choose_entrypoint(root, written, origin),
        score=written.score,
        env=_with_defaults(written.env, (*default_env(root), *found.variables, *_score_variables(written, models))),
        labels=written.labels,
        volumes=_with_volume(written),
        ports=_with_port(written),
        bytecode=written.bytecode,
        compression=written.compression,
        user=written.user,
        workdir=written.workdir,
        debian_mirror=written.debian_mirror,
        layers_from=written.layers_from,
        cuda=written.cuda,
        allow_build=written.allow_build,
        notes=notes + found.notes + model_notes,
    )


def read_written(root: Path, pyproject: Mapping[str, Any]) -> tuple[Written, str, tuple[str, ...]]:
    """What the author wrote, where, and a note when it is written twice."""
    has_table = "wherry" in table_at(pyproject, "tool")
    if (root / OWN_FILE).is_file():
        notes = (f"{TOOL_TABLE} is not read, {OWN_FILE} is",) if has_table else ()
        return parse_written(read_toml(root / OWN_FILE, OWN_FILE), OWN_FILE), OWN_FILE, notes
    if has_table:
        table = table_at(pyproject, "tool")["wherry"]
        if not isinstance(table, Mapping):
            raise DeclarationError("not a table", where=TOOL_TABLE)
        return parse_written(table, TOOL_TABLE), TOOL_TABLE, ()
    return Written(), BARE, ()


def _base_and_python(
    root: Path, written: Written, pyproject: Mapping[str, Any], host: Host, origin: str
) -> tuple[DebianBase | ReferenceBase, str | None]:
    """A base that was written decides over the Python, unless the two contradict each other, or Python comes by itself."""
    if written.interpreter in (InterpreterSource.MANAGED, InterpreterSource.CONDA):
        python = written.python or default_python(root, pyproject)
        if python is None:
            raise DeclarationError("which Python?", where=f"{origin}: interpreter", hint='python = "3.12"')
        return written.base or default_base_without_python(debian=host.has_apt or written.debian_mirror is not None), python
    if written.base is None:
        python = written.python or default_python(root, pyproject)
        base = default_base(python, debian=host.has_apt or written.debian_mirror is not None)
        return base, python_of_base(base)
    brings = python_of_base(written.base)
    if written.python and brings and written.python != brings:
        raise DeclarationError(
            f"python is {written.python}, but the base brings {brings}",
            where=origin,
            hint=f'python = "{brings}", or base = "docker.io/library/python:{written.python}-slim"',
        )
    return written.base, written.python or brings


def _ask_for_python(python: str | None, origin: str) -> CondaRequest:
    """conda's Python of that version for a project of pip's: of the channel that everybody may use."""
    spec = CondaSpec(text=f"python {python}.*", name="python", where=f"{origin}: python")
    return CondaRequest(channels=(_CHANNEL,), specs=(spec,))


def _with_python_of_conda(
    found: FoundEnvironment, written: Written, host: Host, origin: str
) -> tuple[FoundEnvironment, DebianBase | ReferenceBase, str | None]:
    """Python is one of conda's packages: what the base brings of it does not count."""
    base = written.base or default_base_without_python(debian=host.has_apt or written.debian_mirror is not None)
    if written.python is None:
        return found, base, found.python
    environment = require_python(found.environment, found.python, written.python, f"{origin}: python")
    return replace(found, environment=environment), base, written.python


def _choose_entrypoint(root: Path, written: Written, origin: str) -> tuple[str, ...]:
    if written.score is None:
        return default_entrypoint(root) if written.entrypoint is None else written.entrypoint
    script = written.score.script
    if not (root / script).is_file():
        raise DeclarationError(f"{script}: there is no such file", where=f"{origin}: entrypoint.score", hint="def run(data): …")
    return ("python", "-m", SCORE_MODULE, script)


def _score_variables(written: Written, models: Sequence[ModelFile]) -> tuple[tuple[str, str], ...]:
    """What the service reads, and where Azure ML's scripts look for their model: the folder that all models lie in."""
    if written.score is None:
        return ()
    folder = posixpath.commonpath([posixpath.dirname(model.path) for model in models]) if models else ""
    return ((SETTINGS, render_service(written.score)), (MODELS, posixpath.join(written.workdir, folder).rstrip("/")))


def _with_port(written: Written) -> tuple[str, ...]:
    own = (f"{written.score.port}/tcp",) if written.score is not None else ()
    return tuple(dict.fromkeys((*written.ports, *own)))


def _with_volume(written: Written) -> tuple[str, ...]:
    own = (VOLUME,) if written.score is not None and written.score.mqtt is not None else ()
    return tuple(dict.fromkeys((*written.volumes, *own)))


def _with_defaults(written: tuple[tuple[str, str], ...], defaults: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({**dict(defaults), **dict(written)}.items()))
