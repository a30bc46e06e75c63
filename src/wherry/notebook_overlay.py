"""JupyterLab beside a project's environment, never in it: an environment of its own that sees the project's packages.

It is laid out from `wherry.lock.notebook` by the same plan as the project's, out of the same cache. Its programs are run by the
project's interpreter; what it has in the project's place is nothing, for the lock leaves out what the project brings.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from wherry.assemble.wheels import plan_wheels
from wherry.environments import plan_package
from wherry.model.digest import Digest
from wherry.model.layout import EnvironmentLayout
from wherry.model.lock import Lock, PlatformLock, packages_digest
from wherry.notebook_lock import NOTEBOOK_LOCK, lock_notebook
from wherry.pipeline import LockedProject, Project, Wishes
from wherry.preparation import OpenProject, prepare_environment
from wherry.run.environments import RECORD, EnvironmentRecord, FoundEnvironment
from wherry.run.interpreters import require_glibc
from wherry.run.local_python import LocalPython
from wherry.run.package_trees import open_trees
from wherry.run.readiness import recall, remember
from wherry.run.virtual_environment import fill_environment
from wherry.store.folders import replace_folder
from wherry.store.host import read_host_glibc, read_host_platform
from wherry.store.places import cache_path
from wherry.store.posix import explain_os_errors, hold_lock

MADE = "wherry-notebook.json"
_HINT = "notebook-overlay"
_MAKE_ROOM = "free some space"


def overlay_place(root: Path) -> Path:
    """Where a project's JupyterLab lies."""
    return root / ".wherry/notebook"


def prepare_overlay(root: Path, env: Mapping[str, str], open_project: OpenProject) -> tuple[Path, Path, EnvironmentRecord]:
    """The overlay's prefix, that of the project's environment, and what that says of itself; each made where it has to be."""
    cache, place = cache_path(env), overlay_place(root)
    prefix, record = prepare_environment(root, env, open_project)
    if recall(cache, root, _HINT) is not None and (place / "bin/python").exists():
        return place, prefix, record
    since = time.time_ns()
    project = open_project()
    wishes = Wishes(platforms=(read_host_platform(),))
    locked = project.ready_lock(wishes)
    bring_overlay(project, locked, lock_notebook(project, locked), project.ready_environment(wishes))
    if files := project.list_watched():
        remember(cache, root, _HINT, (*files, NOTEBOOK_LOCK, str(place / MADE), str(prefix / RECORD)), True, since)
    return place, prefix, record


def bring_overlay(project: Project, locked: LockedProject, notebook: Lock, beside: FoundEnvironment) -> Path:
    """The prefix of the environment with JupyterLab beside the project's, made or made anew where either lock changed."""
    place = overlay_place(beside.prefix.parent.parent)
    own = notebook.for_platform(read_host_platform())
    made = {"notebook": str(packages_digest(own)), "beside": str(beside.prefix), "python": beside.record.python}
    with hold_lock(place.with_name("notebook.lock"), exclusive=True):
        if not _is_made(place / MADE, made):
            project.say("making the environment of JupyterLab, .wherry/notebook")
            with explain_os_errors(place, _MAKE_ROOM), replace_folder(place) as making:
                _fill(making, place, project, locked, own, beside)
                (making / MADE).write_text(json.dumps(made), encoding="utf-8")
    return place


def _is_made(place: Path, made: dict[str, str]) -> bool:
    try:
        return bool(json.loads(place.read_bytes()) == made)
    except (OSError, ValueError):
        return False


def _fill(making: Path, place: Path, project: Project, locked: LockedProject, own: PlatformLock, beside: FoundEnvironment) -> None:
    record = beside.record
    python = LocalPython(executable=record.executable, version=record.python, glibc=read_host_glibc())
    require_glibc(python, [wheel.file for wheel in own.wheels])
    layout = EnvironmentLayout(prefix=str(place).lstrip("/"), minor=python.minor)
    alone = Lock(declaration=Digest.of(b""), platforms=(own,))
    with ExitStack() as stack:
        finder = stack.enter_context(project.open_finder(locked.declaration, alone, locked.wishes))
        paths = finder.fetch_all(own.wheels)
        planned = plan_wheels(zip(own.wheels, paths, strict=True), layout, stack)
        wheels = [plan_package(wheel, planned, layout) for wheel in own.wheels]
        trees = stack.enter_context(open_trees(project.cache, python.minor))
        fill_environment(making, python, None, wheels, trees, project.progress)
    site = f"lib/python{python.minor}/site-packages"
    line = f"import site; site.addsitedir({str(beside.prefix / site)!r})\n"
    (making / site / "project.pth").write_text(line, encoding="utf-8")
