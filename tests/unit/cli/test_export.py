"""`wherry export iotedge` as a person types it: from a registry, the store and a channel, into files and over them."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from tests.simulators.registry import PASSWORD, USER, RegistrySimulator
from tests.unit.store.tiny import AMD64, ARM64, put_image, put_index
from wherry.cli.export import register
from wherry.errors import FormatError, StoreError, UsageError, WherryError
from wherry.formats.iotedge import join_create_options, make_deployment, render_deployment
from wherry.model.oci import Descriptor
from wherry.model.reference import Reference
from wherry.publish.push import plan_push, push_image
from wherry.sources.registries import access_registries
from wherry.store.disk import DiskStore
from wherry.store.places import store_path


@pytest.fixture
def registry() -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        yield simulator


@pytest.fixture
def store() -> DiskStore:
    return DiskStore(store_path(os.environ))


def push(store: DiskStore, image: Descriptor, reference: str) -> None:
    access = access_registries({})
    push_image(access, store, plan_push(store, image), Reference.parse(reference))
    access.close()


@pytest.fixture
def pushed(registry: RegistrySimulator, store: DiskStore) -> tuple[str, Descriptor]:
    image = put_index(store)
    store.tag("tiny:latest", image)
    push(store, image, f"{registry.host}/team/tiny:7")
    return f"{registry.host}/team/tiny", image


def export(*words: object) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return CliRunner().invoke(app, ["export", "iotedge", *map(str, words)])


def export_json(*words: object) -> dict[str, Any]:
    done = export(*words)
    assert done.exit_code == 0, (done.output, done.exception)
    return dict(json.loads(done.stdout))


def refused(kind: type[WherryError], *words: object) -> str:
    done = export(*words)
    assert isinstance(done.exception, kind), (done.output, done.exception)
    assert done.stdout == ""
    return str(done.exception)


def agent_of(document: dict[str, Any]) -> dict[str, Any]:
    return dict(document["modulesContent"]["$edgeAgent"]["properties.desired"])


def test_from_a_registry(pushed: tuple[str, Descriptor]) -> None:
    name, image = pushed
    words = ("-p", "8080:80", "-v", "state:/state", "-e", "LEVEL=info", "--restart", "on-failure", "--startup-order", "2")
    done = export(f"{name}:7", *words)
    document = json.loads(done.stdout)
    module = agent_of(document)["modules"]["tiny"]
    assert module["settings"]["image"] == f"{name}@{image.digest}"
    assert (module["version"], module["restartPolicy"], module["startupOrder"]) == ("7", "on-failure", 2)
    assert module["env"] == {"LEVEL": {"value": "info"}}
    assert join_create_options(module["settings"])["HostConfig"] == {
        "Binds": ["state:/state", "tiny-data:/data"],
        "PortBindings": {"80/tcp": [{"HostPort": "8080"}]},
    }
    routes = document["modulesContent"]["$edgeHub"]["properties.desired"]["routes"]
    assert routes == {"tinyToIoTHub": "FROM /messages/modules/tiny/outputs/* INTO $upstream"}
    assert "fill these in" in done.stderr


def test_a_login_goes_by_reference_unless_asked_for(pushed: tuple[str, Descriptor], tmp_path: Path, monkeypatch: Any) -> None:
    name, _ = pushed
    host = name.partition("/")[0]
    auths = {"auths": {host: {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}}}
    (tmp_path / "auth.json").write_text(json.dumps(auths))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))

    def logins(*words: str) -> Any:
        return agent_of(export_json(name + ":7", *words))["runtime"]["settings"]["registryCredentials"]

    key = host.replace(".", "_").replace(":", "_")
    told = {"username": f"$CONTAINER_REGISTRY_USERNAME_{key}", "password": f"$CONTAINER_REGISTRY_PASSWORD_{key}", "address": host}
    assert logins() == {key: told}
    assert logins("--credentials", "none") == {}
    assert logins("--credentials", "inline") == {key: {"username": USER, "password": PASSWORD, "address": host}}
    output = tmp_path / "deployment.json"
    done = export(f"{name}:7", "--credentials", "inline", "-o", output)
    assert "it holds the password" in done.stderr
    assert PASSWORD not in done.stderr
    assert output.stat().st_mode & 0o077 == 0
    monkeypatch.delenv("REGISTRY_AUTH_FILE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "no login" in refused(UsageError, f"{name}:7", "--credentials", "inline")


def test_one_platform(pushed: tuple[str, Descriptor], store: DiskStore) -> None:
    name, _ = pushed
    arm64 = put_image(store, ARM64).digest
    for image, *words in ((f"{name}:7",), ("tiny", "--repository", name)):
        document = export_json(image, *words, "--platform", "linux/arm64", "--json")
        assert document["image"] == f"{name}@{arm64}"
    assert "no image for linux/s390x" in refused(StoreError, f"{name}:7", "--platform", "linux/s390x")


def test_an_image_of_the_store(pushed: tuple[str, Descriptor], registry: RegistrySimulator) -> None:
    name, image = pushed
    document = export_json("tiny", "--repository", name, "--json")
    assert (document["image"], document["version"]) == (f"{name}@{image.digest}", image.digest.hex[:12])
    assert "wherry push" in refused(UsageError, "tiny")
    assert f"try: wherry push {registry.host}/other" in refused(StoreError, "tiny", "--repository", f"{registry.host}/other")
    assert export_json("tiny", "--repository", f"{registry.host}/other", "--offline", "--json")["module"] == "other"
    assert "exclude" in refused(UsageError, "tiny", "--channel", ".")
    assert "for an image of the store" in refused(UsageError, f"{name}:7", "--repository", name)


def test_an_image_that_the_agent_brings(store: DiskStore) -> None:
    image = put_image(store, AMD64)
    store.tag("tiny:latest", image)
    document = export_json("tiny", "--brought-as", "app", "--module", "anomaly", "--json")
    module = agent_of(document["manifest"])["modules"]["anomaly"]
    assert module["settings"]["image"] == f"app:{image.digest.hex[:12]}"
    assert module["imagePullPolicy"] == "never"
    assert agent_of(document["manifest"])["runtime"]["settings"]["registryCredentials"] == {}
    store.tag("both:latest", put_index(store))
    assert "this has 2" in refused(UsageError, "both", "--brought-as", "app")


def test_into_a_manifest_in_place(
    pushed: tuple[str, Descriptor], registry: RegistrySimulator, store: DiskStore, tmp_path: Path
) -> None:
    name, _ = pushed
    path = tmp_path / "deployment.json"
    document = make_deployment("1.4")
    document["$comment"] = "mine"
    agent_of(document)["modules"]["other"] = {
        "type": "docker",
        "status": "running",
        "restartPolicy": "always",
        "settings": {"image": "other:1", "createOptions": '{"a":1}'},
    }
    path.write_bytes(render_deployment(document))
    assert export(f"{name}:7", "--into", path, "-o", path, "--memory", "64m").exit_code == 0
    first = json.loads(path.read_bytes())
    assert first["$comment"] == "mine"
    assert agent_of(first)["modules"]["other"] == agent_of(document)["modules"]["other"]
    assert agent_of(first)["systemModules"]["edgeHub"]["settings"]["image"].endswith(":1.4")
    newer = put_image(store, AMD64)
    push(store, newer, f"{name}:8")
    assert export(f"{name}:8", "--into", path, "-o", path).exit_code == 0
    second = json.loads(path.read_bytes())
    module = agent_of(second)["modules"]["tiny"]
    assert module["settings"].pop("image") == f"{name}@{newer.digest}"
    assert module.pop("version") == "8"
    before = agent_of(first)["modules"]["tiny"]
    before["settings"].pop("image"), before.pop("version")
    assert second == first, "nothing but image and version is new"


def test_a_mount_made_by_hand_stays(pushed: tuple[str, Descriptor], tmp_path: Path) -> None:
    """The image declares /data; who mounts something there wins over the volume that is made for it."""
    path = tmp_path / "deployment.json"
    for extra in ({"Binds": ["/srv/data:/data"]}, {"Mounts": [{"Type": "bind", "Source": "/srv/data", "Target": "/data"}]}):
        options = tmp_path / "options.json"
        options.write_text(json.dumps({"HostConfig": extra}))
        export(f"{pushed[0]}:7", "--create-options", options, "-o", path)
        document = export_json(f"{pushed[0]}:7", "--into", path)
        assert join_create_options(agent_of(document)["modules"]["tiny"]["settings"])["HostConfig"] == extra
    document = export_json(f"{pushed[0]}:7", "--into", path, "-v", "mine:/data")
    assert join_create_options(agent_of(document)["modules"]["tiny"]["settings"])["HostConfig"]["Binds"] == ["mine:/data"]


def test_nothing_is_half_written(pushed: tuple[str, Descriptor], tmp_path: Path) -> None:
    name, _ = pushed
    path = tmp_path / "deployment.json"
    document = make_deployment("1.5")
    document["modulesContent"]["$edgeHub"]["properties.desired"]["routes"]["bad.name"] = "FROM /* INTO $upstream"
    path.write_bytes(before := render_deployment(document))
    assert "$edgeHub.routes.bad.name: a name without dot" in refused(FormatError, f"{name}:7", "--into", path, "-o", path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    done = export(f"{name}:7", "--dry-run", "-o", tmp_path / "new.json")
    assert (done.stdout, list(tmp_path.iterdir())) == ("", [path])
    assert "would write a deployment of module tiny" in done.stderr
    refused(StoreError, f"{name}:7", "-o", tmp_path / "no" / "folder.json")


def test_a_layer(pushed: tuple[str, Descriptor], tmp_path: Path) -> None:
    name, _ = pushed
    path = tmp_path / "layer.json"
    export(f"{name}:7", "--layered", "-o", path, "--credentials", "none", "--route", "none")
    layer = json.loads(path.read_bytes())
    assert list(layer["modulesContent"]) == ["$edgeAgent"]
    assert list(layer["modulesContent"]["$edgeAgent"]) == ["properties.desired.modules.tiny"]
    route = 'toOther=FROM /messages/modules/tiny/* INTO BrokeredEndpoint("/modules/other/inputs/in")'
    more = export_json(f"{name}:7", "--into", path, "--module", "second", "--route", route)
    assert more["modulesContent"]["$edgeHub"] == {"properties.desired.routes.toOther": route.partition("=")[2]}
    assert len(more["modulesContent"]["$edgeAgent"]) == 3
    whole = tmp_path / "whole.json"
    whole.write_bytes(render_deployment(make_deployment("1.5")))
    assert "no layer" in refused(UsageError, f"{name}:7", "--into", whole, "--layered")


def test_create_options_of_a_file_and_in_pieces(pushed: tuple[str, Descriptor], tmp_path: Path) -> None:
    extra = {"HostConfig": {"Devices": [{"PathOnHost": f"/dev/video{number}"} for number in range(60)]}}
    (tmp_path / "extra.json").write_text(json.dumps(extra))
    document = export_json(f"{pushed[0]}:7", "--create-options", tmp_path / "extra.json")
    settings = agent_of(document)["modules"]["tiny"]["settings"]
    assert list(settings) == ["image", "createOptions", "createOptions01", "createOptions02", "createOptions03"]
    assert join_create_options(settings)["HostConfig"] == {"Binds": ["tiny-data:/data"], **extra["HostConfig"]}
    (tmp_path / "extra.json").write_text("[]")
    refused(FormatError, f"{pushed[0]}:7", "--create-options", tmp_path / "extra.json")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--restart", "sometimes"), "no restart policy"),
        (("--module", "two words"), "no name for a module"),
        (("--module", "edgeHub"), "no name for a module"),
        (("--route", "FROM /* INTO $upstream"), "not a route"),
        (("-v", "./data:/data"), "begins with a slash"),
        (("-v", "~/data:/data"), "begins with a slash"),
        (("-v", "a/b:/data"), "begins with a slash"),
        (("--into", "nowhere.json"), "cannot be read"),
        (("--memory", "1"), "no limit of memory"),
    ],
)
def test_wrong_words(pushed: tuple[str, Descriptor], words: tuple[str, ...], told: str) -> None:
    assert told in refused(UsageError, f"{pushed[0]}:7", *words)


def test_what_is_refused_for_what_it_says(pushed: tuple[str, Descriptor]) -> None:
    assert "no release of IoT Edge" in refused(FormatError, f"{pushed[0]}:7", "--runtime", "2.0")
    assert "schemaVersion 1.1" in refused(FormatError, f"{pushed[0]}:7", "--runtime", "1.0.9", "--startup-order", "1")
    assert "no route: FROM" in refused(FormatError, f"{pushed[0]}:7", "--route", "up=TO $upstream")


def test_a_registry_without_the_image(registry: RegistrySimulator) -> None:
    assert "no image" in refused(StoreError, f"{registry.host}/team/none:1")
