"""`wherry check --host`: whether this machine can do what wherry will ask of it. Quick, and it never hangs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.check.host import HostWishes, Server, examine_host
from wherry.check.host_machine import ThisMachine, describe_index, describe_registry
from wherry.cli.talk import print_json, say
from wherry.declare.project import read_declaration
from wherry.engines.choice import NAMES
from wherry.errors import UsageError, WherryError
from wherry.model.declaration import Declaration, ReferenceBase
from wherry.model.host import HostFinding, HostState
from wherry.model.reference import Reference
from wherry.sources.credentials import auth_files
from wherry.sources.pip_configuration import read_pip_configuration
from wherry.store.host import read_host_platform
from wherry.store.places import cache_path, jobs_path, store_path

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST_SCHEMA = 1
_MOST_LOGINS = 8


def check_machine(root: Path, *, plain_http: bool, offline: bool, as_json: bool) -> bool:
    """Examine this machine for the project at `root`, if there is one; whether nothing is failing."""
    declared = _read_project(root)
    pip = read_pip_configuration(os.environ)
    servers: tuple[Server, ...] = ()
    if not offline:
        names = dict.fromkeys((*_project_registries(declared), *_logins()))
        servers = tuple(describe_registry(name, os.environ, plain_http=plain_http) for name in names)
        indexes = [url for url in (pip.index_url, *pip.extra_index_urls) if url and url.startswith(("http://", "https://"))]
        servers = (*(describe_index(url, os.environ) for url in dict.fromkeys(indexes)), *servers)
    machine = ThisMachine(env=os.environ, certificates=pip.certificates, trusted_hosts=pip.trusted_hosts, plain_http=plain_http)
    wishes = HostWishes(
        engines=NAMES,
        folders={"store": store_path(os.environ), "cache": cache_path(os.environ), "jobs": jobs_path(os.environ)},
        servers=servers,
        host=read_host_platform(),
        platforms=declared.platforms if declared else (),
    )
    findings = examine_host(wishes, machine)
    if as_json:
        print_json(render_host(findings))
    else:
        _print_findings(findings)
    return not any(finding.state is HostState.FAILING for finding in findings)


def render_host(findings: Sequence[HostFinding]) -> dict[str, object]:
    """The document of ``check --host --json``."""
    lines = [{"subject": one.subject, "state": one.state.value, "what": one.what, "remedy": one.remedy or None} for one in findings]
    counts = {state.value: sum(one.state is state for one in findings) for state in HostState}
    return {"schema": HOST_SCHEMA, "counts": counts, "findings": lines}


def _print_findings(findings: Sequence[HostFinding]) -> None:
    for one in findings:
        print(f"{one.state.value:<9}{one.subject}: {one.what}")
        if one.remedy and one.state is not HostState.OK:
            print(f"{'':9}try: {one.remedy}")
    counts = ((state, sum(one.state is state for one in findings)) for state in HostState)
    print(", ".join(f"{count} {state.value}" for state, count in counts if count))


def _read_project(root: Path) -> Declaration | None:
    """The project's declaration; a folder that is none, or a broken one, has no say about this machine."""
    try:
        return read_declaration(root, os.environ)
    except UsageError:
        raise
    except WherryError as error:
        say(f"note: without the project's own registries: {error.what}")
        return None


def _project_registries(declared: Declaration | None) -> Iterator[str]:
    if declared is None:
        return
    if isinstance(declared.base, ReferenceBase):
        yield declared.base.reference.registry
    for image in declared.layers_from:
        if "/" in image:
            yield Reference.parse(image).registry


def _logins() -> list[str]:
    """The registries that a login is kept for, as far as the files name them."""
    names: dict[str, None] = {}
    for path in auth_files(os.environ):
        try:
            document = json.loads(path.read_bytes())
            keys = [*(document.get("auths") or ()), *(document.get("credHelpers") or ())]
        except (OSError, ValueError, AttributeError, TypeError):
            continue
        for key in keys:
            host = str(key).removeprefix("https://").removeprefix("http://").partition("/")[0]
            names["docker.io" if host in ("index.docker.io", "registry-1.docker.io") else host] = None
    return list(names)[:_MOST_LOGINS]
