"""Kernels of a project's targets: what Jupyter reads, whose they are, and that only one's own are touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wherry.errors import StoreError, UsageError
from wherry.model.job import BackendKind, Target
from wherry.run.kernels import kernels_folder, list_project_kernels, register_target

LOCAL = Target(name="local", backend=BackendKind.LOCAL)
CONTAINER = Target(name="container", backend=BackendKind.CONTAINER)


def test_a_kernel_for_each_target(tmp_path: Path) -> None:
    env = {"JUPYTER_DATA_DIR": str(tmp_path), "WHERRY_CACHE": "/elsewhere", "SECRET": "not to be written down"}
    made = [register_target(env, "Anomaly", one, Path("/p"), Path("/bin/wherry")) for one in (LOCAL, CONTAINER)]
    assert [folder.name for folder in made] == ["wherry-anomaly-local", "wherry-anomaly-container"]
    local, container = (json.loads((folder / "kernel.json").read_text()) for folder in made)
    assert (local["display_name"], container["display_name"]) == ("Anomaly (local)", "Anomaly (container)")
    serve = ["notebook", "--serve-kernel", "{connection_file}", "--on", "container", "--project", "/p"]
    assert container["argv"] == ["/bin/wherry", *serve]
    assert (local["interrupt_mode"], container["interrupt_mode"]) == ("signal", "message")
    assert local["env"] == {"WHERRY_CACHE": "/elsewhere"}
    assert list_project_kernels(env, Path("/p")) == tuple(sorted(made))


def test_others_stay(tmp_path: Path) -> None:
    env = {"JUPYTER_DATA_DIR": str(tmp_path)}
    register_target(env, "anomaly", LOCAL, Path("/p"), Path("/bin/wherry"))
    register_target(env, "anomaly", LOCAL, Path("/p"), Path("/newer/wherry"))
    with pytest.raises(UsageError, match="another kernel has this name"):
        register_target(env, "anomaly", LOCAL, Path("/q"), Path("/bin/wherry"))
    (tmp_path / "kernels/wherry-own").mkdir()
    (tmp_path / "kernels/wherry-own/kernel.json").write_text('{"argv": []}')
    assert [folder.name for folder in list_project_kernels(env, Path("/p"))] == ["wherry-anomaly-local"]
    assert list_project_kernels({"JUPYTER_DATA_DIR": "/nowhere"}, Path("/p")) == ()


def test_where_kernels_lie() -> None:
    assert kernels_folder({"XDG_DATA_HOME": "/x", "HOME": "/h"}) == Path("/x/jupyter/kernels")
    assert kernels_folder({"HOME": "/h"}) == Path("/h/.local/share/jupyter/kernels")
    with pytest.raises(StoreError, match="no home folder"):
        kernels_folder({})
