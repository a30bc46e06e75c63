"""``[targets.NAME]``: what is understood, and what is refused with a way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wherry.declare.targets import add_engine_args, parse_targets, read_targets
from wherry.errors import DeclarationError
from wherry.model.job import BackendKind, DataFolder, Limits, Target


def parse(**table: Any) -> Target:
    (target,) = parse_targets({"big": table}, "wherry.toml")
    return target


def test_every_key() -> None:
    target = parse(
        engine="podman",
        cpus=1.5,
        memory="4GiB",
        gpus=2,
        time="1h30m",
        env={"MODE": "big", "COUNT": 3},
        data=["data", "./scratch/:rw"],
        network="none",
    )
    assert target == Target(
        name="big",
        backend=BackendKind.CONTAINER,
        engine="podman",
        limits=Limits(cpus=1.5, memory=4 << 30, gpus="2", seconds=5400),
        env=(("COUNT", "3"), ("MODE", "big")),
        data=(DataFolder(path="data"), DataFolder(path="scratch", writable=True)),
        network="none",
    )


def test_sizes_and_times_as_people_write_them() -> None:
    written = {"512m": 512 << 20, "0.5G": 512 << 20, "20 MB": 20 << 20, "16777216": 16 << 20}
    assert {text: parse(backend="local", memory=text).limits.memory for text in written} == written
    times = {"90": 90, "90s": 90, "2d": 172800, "1m30s": 90}
    assert {text: parse(backend="local", time=text).limits.seconds for text in times} == times
    assert parse(backend="local", time=90).limits.seconds == 90


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "which backend?"),
        ({"backend": "moon"}, "no backend 'moon'"),
        ({"engine": "containerd"}, "jobs do not run in 'containerd'"),
        ({"backend": "local", "engine": "podman"}, "no engine"),
        ({"backend": "local", "network": "none"}, "no network"),
        ({"backend": "local", "memroy": "4G"}, "memory instead of memroy"),
        ({"backend": "local", "memory": "4"}, "no amount of memory"),
        ({"backend": "local", "memory": 4096}, "no amount of memory"),
        ({"backend": "local", "cpus": 0}, "no number of processors"),
        ({"backend": "local", "cpus": True}, "no number of processors"),
        ({"backend": "local", "gpus": "some"}, "no number of GPUs"),
        ({"backend": "local", "time": "soon"}, "no length of time"),
        ({"backend": "local", "time": ""}, "no length of time"),
        ({"backend": "local", "env": {"A B": "x"}}, "variable of yours"),
        ({"backend": "local", "env": {"WHERRY_JOB": "x"}}, "variable of yours"),
        ({"backend": "local", "env": {"A": 1.5}}, "no text"),
        ({"backend": "local", "data": "data"}, "not a list"),
        ({"backend": "local", "data": ["../data"]}, "leaves the project"),
        ({"backend": "local", "data": ["data:z"]}, "unknown mode"),
        ({"engine": "podman", "network": "--privileged"}, "no network"),
        ({"backend": "local", "engine-args": ["-p", "x"]}, "no such arguments"),
        ({"backend": "slurm", "engine-args": "-p x"}, "not a list"),
        ({"backend": "ray", "engine-args": ["-p", "x"]}, "no such arguments"),
        ({"engine": "apptainer"}, "engine of Slurm's nodes"),
        ({"backend": "ray", "engine": "any"}, "engine of Slurm's nodes"),
        ({"backend": "slurm", "engine": "charliecloud"}, "do not run in"),
        ({"backend": "slurm", "address": "head:6379"}, "no address"),
        ({"backend": "ray", "address": "http://head"}, "no address of Ray"),
    ],
)
def test_refusals(table: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse(**table)
    assert said in str(caught.value)
    assert "wherry.toml: targets.big" in str(caught.value)


def test_a_cluster() -> None:
    (target,) = parse_targets({"big": {"backend": "slurm", "engine-args": ["--partition=gpu"]}}, "wherry.toml")
    assert (target.backend, target.engine_args, target.backend.is_here) == (BackendKind.SLURM, ("--partition=gpu",), False)


@pytest.mark.parametrize("engine", ["pyxis", "apptainer", "any", "podman", "bubblewrap", None])
def test_engines_of_slurm_s_nodes(engine: str | None) -> None:
    (target,) = parse_targets({"big": {"backend": "slurm"} | ({"engine": engine} if engine else {})}, "wherry.toml")
    assert target.engine == engine


def test_a_command_line_s_arguments_come_after_the_target_s_own() -> None:
    (target,) = parse_targets({"big": {"backend": "slurm", "engine-args": ["--partition=gpu"]}}, "wherry.toml")
    added = add_engine_args(target, "--account=lab --comment='a b'", "--engine-args")
    assert added.engine_args == ("--partition=gpu", "--account=lab", "--comment=a b")
    assert add_engine_args(target, "", "--engine-args") == target


@pytest.mark.parametrize(
    ("backend", "text", "said"), [("local", "-p x", "no such arguments"), ("slurm", "'", "No closing quotation")]
)
def test_a_command_line_s_arguments_that_are_refused(backend: str, text: str, said: str) -> None:
    (target,) = parse_targets({"big": {"backend": backend}}, "wherry.toml")
    with pytest.raises(DeclarationError, match=said) as caught:
        add_engine_args(target, text, "--engine-args")
    assert caught.value.where == "--engine-args"


def test_a_cluster_with_an_address() -> None:
    (target,) = parse_targets({"big": {"backend": "ray", "address": "head.cluster:6379", "cpus": 2}}, "wherry.toml")
    assert (target.backend, target.address, target.limits.cpus) == (BackendKind.RAY, "head.cluster:6379", 2)


def test_targets_of_workbench() -> None:
    table = {"here": {"type": "localdocker", "gpus": True}, "far": {"type": "remotedocker", "address": "https://gpu.example"}}
    (target,) = parse_targets(table, "wherry.toml")
    assert (target.name, target.backend, target.engine, target.limits.gpus) == ("here", BackendKind.CONTAINER, "docker", "all")


def test_two_are_there_without_being_written(tmp_path: Path) -> None:
    assert sorted(read_targets(tmp_path)) == ["container", "local"]
    (tmp_path / "pyproject.toml").write_text('[tool.wherry.targets.local]\nbackend = "local"\ncpus = 1\n')
    assert read_targets(tmp_path)["local"].limits.cpus == 1
    (tmp_path / "wherry.toml").write_text('[targets.big]\nengine = "docker"\n')
    found = read_targets(tmp_path)
    assert (sorted(found), found["local"].limits.cpus) == (["big", "container", "local"], None)


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    (tmp_path / "wherry.toml").write_text("[targets\n")
    with pytest.raises(DeclarationError, match="not TOML"):
        read_targets(tmp_path)
