"""Renders a Dockerfile and a devcontainer.json. Opens nothing; the same recipe gives the same text.

The Dockerfile is for BuildKit (docker 20.10), podman 4 and buildah 1.24, or newer: it uses ``COPY --chmod`` and a secret for pip's
configuration, so that no login of an index stays in the image. Every text of the project's is quoted for the one that
reads it: the shell, JSON, Docker's variables. A name that COPY takes for a pattern has no quoting that all builders share.
"""

from __future__ import annotations

import json
import posixpath
import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from wherry.model.docker_files import CopiedFile, DockerRecipe, PinnedWheels

MARK = "Written by `wherry export"
DEVELOPER = "dev"
ENVIRONMENT = "/opt/env"
_PIP = "/opt/pip"  # of the stage that is left behind
_REQUIREMENTS = "/opt/requirements.txt"
_FOR_PIP = "--mount=type=secret,id=pip,target=/etc/pip.conf"


def render_head(command: str, losses: Sequence[str], *notes: str, comment: str = "#") -> str:
    """The comment that begins each exported file: what wrote it, what it loses, how it is used."""
    told = [f"{MARK} {command}`. Export again rather than change it: a file with this line is written over.", ""]
    told += ["Against wherry this loses:", *(f"- {loss}" for loss in losses)]
    told += ["", *notes] if notes else []
    return "".join(f"{comment} {line}".rstrip() + "\n" for line in told)


def render_dockerfile(recipe: DockerRecipe) -> str:
    """The whole Dockerfile."""
    command = "devcontainer" if recipe.develops else "dockerfile"
    uses = () if recipe.develops else _uses(recipe)
    parts = [render_head(command, recipe.losses, *uses), "\n".join(_render_system(recipe))]
    parts.append("\n".join(_render_environment(recipe)))
    if recipe.code and not recipe.develops:
        parts.append("\n".join(["FROM scratch AS code", *_render_copies(recipe.code, recipe.workdir)]))
    parts.append("\n".join(_render_image(recipe)))
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def render_devcontainer(recipe: DockerRecipe) -> str:
    """devcontainer.json beside the Dockerfile; its readers allow comments."""
    document = {
        "name": recipe.name,
        "build": {"dockerfile": "Dockerfile", "context": ".."},
        "workspaceMount": f"source=${{localWorkspaceFolder}},target={recipe.workdir},type=bind",
        "workspaceFolder": recipe.workdir,
        "remoteUser": DEVELOPER,
        "updateRemoteUserUID": True,
        "overrideCommand": True,
        "forwardPorts": [int(port.partition("/")[0]) for port in recipe.ports if not port.endswith("/udp")],
        "customizations": {
            "vscode": {
                "extensions": ["ms-python.python"],
                "settings": {"python.defaultInterpreterPath": f"{ENVIRONMENT}/bin/python"},
            }
        },
    }
    return render_head("devcontainer", recipe.losses, comment="//") + json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _uses(recipe: DockerRecipe) -> tuple[str, ...]:
    return (
        f"docker build -t {recipe.name} .      (or: podman build, buildah build; here, in the project's folder)",
        "--secret id=pip,src=PIP_CONF          besides, where another index is asked than pip's default",
    )


def _render_system(recipe: DockerRecipe) -> Iterator[str]:
    yield f"ARG BASE={recipe.base}"
    yield "FROM ${BASE} AS system"
    yield "USER root"
    if recipe.packages:
        yield _render_apt(recipe.packages)


def _render_apt(packages: Sequence[str]) -> str:
    lines = ["RUN apt-get update \\", " && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \\"]
    lines += [f"      {package} \\" for package in packages]
    return "\n".join([*lines, " && rm -rf /var/lib/apt/lists/*"])


def _render_environment(recipe: DockerRecipe) -> Iterator[str]:
    yield "FROM system AS environment"
    if recipe.venv_packages:
        yield _render_apt(recipe.venv_packages)
    yield f"RUN {recipe.python} -m venv --without-pip {ENVIRONMENT} \\\n && {recipe.python} -m venv {_PIP}"
    if recipe.wheels:
        lines = [_render_requirement(wheels) for wheels in recipe.wheels]
        yield "\n".join(["RUN printf '%s\\n' \\", *(f"      {shlex.quote(line)} \\" for line in lines), f"      > {_REQUIREMENTS}"])
        options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check"]
        options += [] if recipe.compiles else ["--no-compile"]
        pip = f"{_PIP}/bin/pip --python {ENVIRONMENT}/bin/python install"
        yield f"RUN {_FOR_PIP} \\\n    {pip} {' '.join(options)} \\\n      -r {_REQUIREMENTS}"


def _render_requirement(wheels: PinnedWheels) -> str:
    """A line of pip's; pip keeps the file whose digest is listed and whose tags fit."""
    marker = " or ".join(f'platform_machine == "{machine}"' for machine in wheels.machines)
    pinned = f"{wheels.name}=={wheels.version}" + (f" ; {marker}" if marker else "")
    return " ".join([pinned, *(f"--hash=sha256:{digest.hex}" for digest in wheels.digests)])


def _render_image(recipe: DockerRecipe) -> Iterator[str]:
    yield "FROM system"
    yield f"COPY --from=environment {ENVIRONMENT} {ENVIRONMENT}"
    yield f"ENV PATH={ENVIRONMENT}/bin:$PATH LANG=C.UTF-8 PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1"
    yield from (f"ENV {name}={_quote(value)}" for name, value in recipe.env)
    yield from (f"LABEL {_quote(name)}={_quote(value)}" for name, value in recipe.labels)
    if recipe.volumes:
        yield f"RUN {json.dumps(['mkdir', '-p', '-m', '1777', *recipe.volumes], ensure_ascii=False)}"
    yield f"WORKDIR {_quote(recipe.workdir)}"
    if recipe.develops:
        yield f"RUN useradd --create-home --uid 1000 --shell /bin/bash {DEVELOPER}"
        yield f"USER {DEVELOPER}"
        return
    if recipe.code:
        yield "COPY --from=code / /"
    for file in recipe.code:
        if file.link is not None:
            place = posixpath.join(recipe.workdir, file.path)
            make = ["sh", "-c", 'mkdir -p "$(dirname "$1")" && ln -s "$0" "$1"', file.link, place]
            yield f"RUN {json.dumps(make, ensure_ascii=False)}"
    for model in recipe.models:
        yield from _render_copies(model, recipe.workdir)
    yield from (f"VOLUME {json.dumps([_escape_variables(volume)], ensure_ascii=False)}" for volume in recipe.volumes)
    yield from (f"EXPOSE {port}" for port in recipe.ports)
    yield f"USER {recipe.user}"
    if recipe.entrypoint:
        yield f"ENTRYPOINT {json.dumps(recipe.entrypoint, ensure_ascii=False)}"


def _render_copies(files: Iterable[CopiedFile], workdir: str) -> Iterator[str]:
    """One COPY for the files of a folder that have one mode."""

    def place(file: CopiedFile) -> tuple[str, bool]:
        return posixpath.dirname(file.path), file.executable

    for (folder, executable), group in groupby(sorted((file for file in files if file.link is None), key=place), key=place):
        names = [_escape_variables(file.path) for file in group]
        target = _escape_variables(posixpath.join(workdir, folder).rstrip("/") + "/")
        yield f"COPY --chmod={'0755' if executable else '0644'} {json.dumps([*names, target], ensure_ascii=False)}"


def _escape_variables(text: str) -> str:
    return text.replace("$", "\\$")


def _quote(text: str) -> str:
    """A value in double quotes, as ENV and LABEL read it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'
