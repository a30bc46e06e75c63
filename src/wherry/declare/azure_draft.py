"""What of an Azure ML folder a wherry.toml can say: base image, variables, shared folder, targets, dependency file.

One ``.runconfig`` is followed: the one named, else one for Python in a container, else the first. Everything else is told:
*kept*, *changed* (what stands in for it), *impossible* (Spark, services of Azure, credentials). Nothing is run or asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wherry.declare.azure_ml import COMPUTE, RUN, AzureRun, AzureTarget, read_azure_run, read_azure_target
from wherry.declare.conda_file import read_conda_file
from wherry.declare.grammar import Written, WrittenEnvironment, parse_base
from wherry.declare.live_package import Fate
from wherry.errors import DeclarationError
from wherry.model.declaration import DebianBase, ReferenceBase

SHARE = "/azureml-share"
_SHARE_VARIABLE = "AZUREML_NATIVE_SHARE_DIRECTORY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """One thing that the folder says. `why` is what became of it, or why it cannot be had."""

    what: str
    fate: Fate
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureDraft:
    """`written` is what wherry.toml shall say; `base_image` tells that its base is the folder's; `targets` are as they were."""

    run: AzureRun
    written: Written
    base_image: bool
    conda: str | None
    targets: tuple[AzureTarget, ...]
    carried: tuple[Carried, ...]

    def having(self, fate: Fate) -> tuple[Carried, ...]:
        return tuple(one for one in self.carried if one.fate is fate)


def read_azure_folder(root: Path, place: Path, env: Mapping[str, str]) -> AzureDraft:
    """Read `place`, a folder or one ``.runconfig``, for the project at `root`. `env` is for requirements that the files name."""
    folder = place if place.is_dir() else place.parent
    runs = [read_azure_run(path, _where(root, path)) for path in _files(place, RUN)]
    targets = tuple(read_azure_target(path, _where(root, path)) for path in _files(folder, COMPUTE))
    if not runs and not targets:
        hint = f"the folder with *{RUN} and *{COMPUTE}, often aml_config"
        raise DeclarationError("no file of Azure ML here", where=str(place), hint=hint)
    known = {target.name: target for target in targets}
    run = (
        min(runs, key=lambda one: _rank(one, known))
        if runs
        else AzureRun(name="(none)", target=targets[0].name, framework="Python")
    )
    target = run.container or known.get(run.target) or AzureTarget(name=run.target, kind=run.target)
    base, said = _carry_base(target)
    conda, conda_said = _carry_conda(root, run, env)
    said += conda_said + _carry_settings(run, target, runs, targets)
    variables = dict(run.variables) | ({_SHARE_VARIABLE: SHARE} if target.share else {})
    written = Written(
        base=base,
        environment=WrittenEnvironment(file=None),
        entrypoint=run.command or None,
        env=tuple(sorted(variables.items())),
        volumes=(SHARE,) if target.share else (),
    )
    return AzureDraft(run=run, written=written, base_image=base is not None, conda=conda, targets=targets, carried=tuple(said))


def _files(place: Path, suffix: str) -> list[Path]:
    if place.is_dir():
        return sorted(path for path in place.iterdir() if path.name.lower().endswith(suffix) and path.is_file())
    if not place.is_file():
        raise DeclarationError("there is no such file or folder", where=str(place))
    return [place] if place.name.lower().endswith(suffix) else []


def _where(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _rank(run: AzureRun, targets: Mapping[str, AzureTarget]) -> tuple[bool, bool, str]:
    target = run.container or targets.get(run.target)
    is_docker = target.is_docker if target else "docker" in run.target
    return (run.is_spark, not is_docker, run.name)


def _carry_base(target: AzureTarget) -> tuple[DebianBase | ReferenceBase | None, list[Carried]]:
    if not target.image:
        return None, []
    what = f"base image {target.image}"
    try:
        base = parse_base(target.image, f"{target.name}{COMPUTE}")
    except DeclarationError as error:
        return None, [Carried(what=what, fate=Fate.IMPOSSIBLE, why=error.what)]
    why = 'base; it brought Spark and conda for Workbench: "debian:bookworm" is enough for Python alone'
    return base, [Carried(what=what, fate=Fate.KEPT, why=why if "mmlspark" in target.image else "base")]


def _carry_conda(root: Path, run: AzureRun, env: Mapping[str, str]) -> tuple[str | None, list[Carried]]:
    """The dependency file's name for wherry.toml. What is wrong in it is told, for the author to mend it there."""
    if run.conda is None:
        return None, [
            Carried(what="packages", fate=Fate.IMPOSSIBLE, why="no dependency file is named: wherry init --from-env reads them")
        ]
    what = f"dependencies {run.conda}"
    if not (root / run.conda).is_file():
        return None, [Carried(what=what, fate=Fate.IMPOSSIBLE, why="there is no such file")]
    try:
        found = read_conda_file(root, run.conda, env)
    except DeclarationError as error:
        return run.conda, [Carried(what=what, fate=Fate.CHANGED, why=f"environment; mend it first: {' '.join(str(error).split())}")]
    asked = len(found.environment.conda.specs if found.environment.conda else ()), len(found.environment.requirements)
    return run.conda, [Carried(what=what, fate=Fate.KEPT, why=f"environment, {asked[0]} of conda's and {asked[1]} of pip's")]


def _carry_settings(run: AzureRun, target: AzureTarget, runs: Sequence[AzureRun], targets: Sequence[AzureTarget]) -> list[Carried]:
    said = [Carried(what=f"variable {name}", fate=Fate.KEPT, why="env") for name, _ in run.variables]
    if target.share:
        why = f"volumes and env; wherry run -v {target.share.rstrip('/')}:{SHARE}"
        said.append(Carried(what=f"shared folder {target.share}", fate=Fate.CHANGED, why=why))
    if run.command:
        said.append(Carried(what=f"script {run.command[1]}", fate=Fate.KEPT, why="entrypoint"))
    if target.gpu:
        said.append(Carried(what=f"graphics cards of {target.name}", fate=Fate.CHANGED, why="wherry run --gpus all"))
    if target.python:
        said.append(
            Carried(what=f"interpreter {target.python}", fate=Fate.IMPOSSIBLE, why="wherry init --from-env reads what lies there")
        )
    said += [Carried(what=f"target {one.name} ({one.kind})", fate=Fate.KEPT, why=_explain_target(one)) for one in targets]
    said += _impossible(run, targets)
    others = [one.name + RUN for one in runs if one is not run]
    if others:
        said.append(
            Carried(what=", ".join(others), fate=Fate.CHANGED, why=f"not followed, {run.name}{RUN} is: --from FILE takes another")
        )
    return said


def _explain_target(target: AzureTarget) -> str:
    here = target.kind.lower() in ("local", "docker", "localdocker")
    return f"targets; wherry run --on {target.name}" if here else "targets; no job goes to another machine yet"


def _impossible(run: AzureRun, targets: Sequence[AzureTarget]) -> list[Carried]:
    said = []
    if run.is_spark or run.spark:
        asked = f": {', '.join(run.spark)}" if run.spark else ""
        said.append(
            Carried(what=f"Spark ({run.framework}){asked}", fate=Fate.IMPOSSIBLE, why="Spark is not provided: Python alone runs")
        )
    said += [Carried(what=name, fate=Fate.IMPOSSIBLE, why="a service of Azure's") for name in run.elsewhere]
    for target in targets:
        if target.kind.lower() not in ("local", "docker", "localdocker", "remotedocker", "remote"):
            why = "a cluster of Azure's (HDInsight, Spark)"
            said.append(Carried(what=f"target {target.name} ({target.kind})", fate=Fate.IMPOSSIBLE, why=why))
    secrets = [f"{name} of {run.name}{RUN}" for name in run.withheld]
    secrets += [f"{name} of {target.name}{COMPUTE}" for target in targets for name in target.withheld]
    why = "a credential is never copied: hand it over when it runs (-e NAME)"
    return [*said, *(Carried(what=secret, fate=Fate.IMPOSSIBLE, why=why) for secret in secrets)]
