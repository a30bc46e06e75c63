"""Texts for Docker, compose and systemd: quoted for whoever reads them, the same for the same values."""

from __future__ import annotations

import json

import pytest
import yaml

from wherry.errors import UsageError
from wherry.formats.dockerfile import MARK, render_devcontainer, render_dockerfile
from wherry.formats.services import render_compose, render_unit
from wherry.model.digest import Digest
from wherry.model.docker_files import CopiedFile, DockerRecipe, DockerService, PinnedWheels

A, B = Digest.of(b"a"), Digest.of(b"b")
RECIPE = DockerRecipe(
    name="anomaly",
    base="debian:bookworm-slim",
    python="/usr/bin/python3.11",
    wheels=(
        PinnedWheels(name="one", version="1.0", digests=(A, B)),
        PinnedWheels(name="two", version="2", digests=(A,), machines=("x86_64",)),
    ),
    code=(CopiedFile(path="a b.py"), CopiedFile(path="run", executable=True), CopiedFile(path="d/$x.py")),
    models=((CopiedFile(path="models/m.bin"),),),
    env=(("K", 'a "b" $c \\'),),
    ports=("8080/tcp", "53/udp"),
    user="10001:10001",
    workdir="/app",
    losses=("this", "that"),
)
SERVICE = DockerService(name="anomaly", image="anomaly:latest", pulled=False, losses=("this",))


def test_wheels_by_digest_and_machine() -> None:
    text = render_dockerfile(RECIPE)
    assert f"      'one==1.0 --hash=sha256:{A.hex} --hash=sha256:{B.hex}' \\\n" in text
    assert f"""      'two==2 ; platform_machine == "x86_64" --hash=sha256:{A.hex}' \\\n""" in text
    assert "--require-hashes --only-binary=:all:" in text
    assert text == render_dockerfile(RECIPE)


def test_files_by_folder_and_mode() -> None:
    copies = [line.split(" ", 2)[1:] for line in render_dockerfile(RECIPE).splitlines() if line.startswith("COPY --chmod")]
    assert [(mode, json.loads(names)) for mode, names in copies] == [
        ("--chmod=0644", ["a b.py", "/app/"]),
        ("--chmod=0755", ["run", "/app/"]),
        ("--chmod=0644", ["d/\\$x.py", "/app/d/"]),
        ("--chmod=0644", ["models/m.bin", "/app/models/"]),
    ]


def test_variables_are_quoted() -> None:
    assert 'ENV K="a \\"b\\" \\$c \\\\"\n' in render_dockerfile(RECIPE)


def test_each_head_says_what_is_lost() -> None:
    for text in (render_dockerfile(RECIPE), render_compose(SERVICE), render_unit(SERVICE, "podman"), render_devcontainer(RECIPE)):
        head = text.splitlines()
        assert head[0].removeprefix("//").removeprefix("#").strip().startswith(MARK)
        assert any(line.endswith("- this") for line in head)


def test_a_devcontainer_is_json_with_comments() -> None:
    lines = render_devcontainer(RECIPE).splitlines()
    document = json.loads("\n".join(line for line in lines if not line.startswith("//")))
    assert document["build"] == {"dockerfile": "Dockerfile", "context": ".."}
    assert document["forwardPorts"] == [8080]


@pytest.mark.parametrize("text", ['odd "name"', "$HOME", "a: b # c"])
def test_a_compose_file_says_what_was_meant(text: str) -> None:
    service = DockerService(
        name="anomaly", image="r.example/a@sha256:1", pulled=True, ports=("8080/tcp", "53/udp"), volumes=(("state", f"/{text}"),)
    )
    document = yaml.safe_load(render_compose(service))
    assert document["services"]["anomaly"] == {
        "image": "r.example/a@sha256:1",
        "pull_policy": "missing",
        "restart": "on-failure",
        "ports": ["127.0.0.1:8080:8080", "127.0.0.1:53:53/udp"],
        "volumes": [f"state:/{text.replace('$', '$$')}"],
    }
    assert document["volumes"] == {"state": {}}


def test_a_unit_doubles_what_systemd_reads() -> None:
    service = DockerService(name="anomaly", image="anomaly:latest", pulled=False, volumes=(("v", "/a b/%h/$x"),))
    unit = render_unit(service, "docker")
    assert '"--volume=v:/a b/%%h/$$x" anomaly:latest\n' in unit
    assert "Requires=docker.service\n" in unit
    assert "# wherry image load anomaly:latest --into docker" in unit
    with pytest.raises(UsageError, match="cannot stand in a unit"):
        render_unit(DockerService(name="a", image="b", pulled=False, volumes=(("v", "/a\nb"),)), "podman")
