"""What IoT Edge refuses is refused here: one wrong member at a time, and the public schemas as a second opinion."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from wherry.formats.iotedge import make_deployment, make_layer, put_login, put_module, put_route
from wherry.formats.iotedge_rules import list_faults
from wherry.model.edge import EdgeLogin, EdgeModule, EdgeRoute

IMAGE = "ghcr.io/you/anomaly@sha256:" + "ab" * 32
MODULE = EdgeModule(name="m", image=IMAGE, version="7", env=(("A", "1"),), startup_order=3, create_options={"User": "1" * 900})


def sound() -> dict[str, Any]:
    document = put_route(put_module(make_deployment("1.5"), MODULE), EdgeRoute(name="up", text="FROM /messages/* INTO $upstream"))
    return put_login(document, EdgeLogin(name="r", address="ghcr.io", username="$U", password="$P"))


def change(path: str, value: object) -> dict[str, Any]:
    """The sound manifest with one member replaced, or taken out where `value` is `...`."""
    document = sound()
    part: Any = document["modulesContent"]
    *names, last = path.split("/")
    for name in names:
        part = part[name]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return document


AGENT, HUB = "$edgeAgent/properties.desired", "$edgeHub/properties.desired"
WRONG: list[tuple[str, object, str]] = [
    ("$edgeHub", ..., "$edgeHub.properties.desired: is missing"),
    ("$edgeAgent/properties.desired.modules.x", {}, "beside properties.desired"),
    (f"{AGENT}/schemaVersion", "2.0", "expected 1.0 or 1.1"),
    (f"{AGENT}/schemaVersion", "1.0", "startupOrder: edgeAgent knows it from schemaVersion 1.1 on"),
    (f"{AGENT}/runtime", ..., "runtime: wants a type and settings"),
    (f"{AGENT}/runtime/type", "kubernetes", "expected docker"),
    (f"{AGENT}/runtime/settings/registryCredentials/a.b", {"username": "", "password": "", "address": "x"}, "a name without dot"),
    (f"{AGENT}/runtime/settings/registryCredentials/r/password", ..., "wants username, password and address"),
    (f"{AGENT}/runtime/settings/registryCredentials/r/address", "a b", "no address"),
    (f"{AGENT}/systemModules/edgeAgent", ..., "edgeAgent: is missing"),
    (f"{AGENT}/systemModules/edgeHub/restartPolicy", "never", "expected always"),
    (f"{AGENT}/systemModules/edgeHub/settings/image", "", "cannot read"),
    (f"{AGENT}/modules", ..., "modules: is missing"),
    (f"{AGENT}/modules/two words", {}, "no name for a module"),
    (f"{AGENT}/modules/edgeHub", {}, "no name for a module"),
    (f"{AGENT}/modules/m", [], "not an object"),
    (f"{AGENT}/modules/m/type", ..., "type: None, expected docker"),
    (f"{AGENT}/modules/m/status", "on", "expected running or stopped"),
    (f"{AGENT}/modules/m/restartPolicy", "unless-stopped", "restartPolicy"),
    (f"{AGENT}/modules/m/imagePullPolicy", "always", "expected on-create or never"),
    (f"{AGENT}/modules/m/version", 7, "not a text"),
    (f"{AGENT}/modules/m/startupOrder", -1, "expected a whole number"),
    (f"{AGENT}/modules/m/startupOrder", True, "expected a whole number"),
    (f"{AGENT}/modules/m/settings/image", f"ghcr.io/you/anomaly:7@sha256:{'ab' * 32}", "not both"),
    (f"{AGENT}/modules/m/settings/image", "$upstream/x:1", "cannot read"),
    (f"{AGENT}/modules/m/settings/image", "${MODULE}", "cannot read"),
    (f"{AGENT}/modules/m/settings", {}, "image: is missing"),
    (f"{AGENT}/modules/m/settings/createOptions", "x" * 513, "at most 512"),
    (f"{AGENT}/modules/m/settings/createOptions03", "}", "not numbered"),
    (f"{AGENT}/modules/m/env", [], "not an object"),
    (f"{AGENT}/modules/m/env/a.b", {"value": "x"}, "a name without dot"),
    (f"{AGENT}/modules/m/env/A", "x", "wants"),
    (f"{AGENT}/modules/m/env/A", {"value": ["x"]}, "wants"),
    (f"{AGENT}/modules/m/env/A", {"value": "x" * 5000}, "twins take 4096"),
    (f"{AGENT}/modules/m/env/A", {"value": 1 << 60}, "too large a number"),
    (f"{AGENT}/modules/m/env", {f"K{number}": {"value": "x" * 1000} for number in range(40)}, "fit in a module's twin"),
    (f"{HUB}/schemaVersion", "9.1", "expected 1.0 or 1.1 or 1.2"),
    (f"{HUB}/routes", ..., "routes: is missing"),
    (f"{HUB}/routes/up", "from nowhere to $upstream", "no route"),
    (f"{HUB}/routes/up", "FROM /messages/* INTO upstream", "no route"),
    (f"{HUB}/routes/a.b", "FROM /* INTO $upstream", "a name without dot"),
    (f"{HUB}/routes/up", {"route": "FROM /* INTO $upstream", "priority": 10}, "priority"),
    (f"{HUB}/storeAndForwardConfiguration", {}, "timeToLiveSecs"),
    (f"{HUB}/mqttBroker", {}, "from schemaVersion 1.2 on"),
    ("bad name", {"properties.desired": {}}, "no name for a module"),
    ("m", {"properties.desired": {"a b": 1}}, "a name that twins do not take"),
    ("m", {"properties.desired": json.loads('{"a":' * 12 + "1" + "}" * 12)}, "deeper than 10"),
]


@pytest.mark.parametrize(("path", "value", "fault"), WRONG)
def test_one_wrong_member(path: str, value: object, fault: str) -> None:
    found = list_faults(change(path, value))
    assert any(fault in line for line in found), found


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{AGENT}/modules/m/settings/image", "$upstream:443/you/anomaly:7"),
        (f"{AGENT}/modules/m/settings/image", "localhost:5000/anomaly:7"),
        (f"{AGENT}/modules/m/settings/image", "anomaly"),
        (f"{AGENT}/modules/m/settings/digest", "sha256:x"),
        (f"{AGENT}/modules/m/futureMember", {"a": 1}),
        (f"{AGENT}/modules/m/env/A", {"value": True}),
        (f"{HUB}/routes/up", 'FROM /messages/* WHERE temperature > 3 INTO BrokeredEndpoint("/modules/m/inputs/in")'),
        (f"{HUB}/routes/up", {"route": "FROM /* INTO $upstream", "priority": 9, "timeToLiveSecs": 60}),
        ("m", {"properties.desired": {"threshold": 0.5, "levels": {"a": [1, 2]}}}),
    ],
)
def test_what_is_allowed(path: str, value: object) -> None:
    assert list_faults(change(path, value)) == ()


def test_all_faults_are_listed_at_once() -> None:
    document = change(f"{AGENT}/modules/m/status", "on")
    document["modulesContent"]["$edgeHub"]["properties.desired"]["routes"]["up"] = 1
    document["modulesContent"]["$edgeAgent"]["properties.desired"]["schemaVersion"] = "0"
    assert len(list_faults(document)) == 3


@pytest.mark.parametrize("content", [None, [], 1])
def test_no_manifest_at_all(content: object) -> None:
    assert list_faults({"modulesContent": content}) == ("modulesContent: is missing",)


def test_faults_of_a_layer() -> None:
    document = put_route(put_module(make_layer(), MODULE), EdgeRoute(name="up", text="nowhere"))
    agent = document["modulesContent"]["$edgeAgent"]
    agent["properties.desired.modules.n"] = {}
    agent["properties.desired.modules.other.env.A"] = {"value": "only this changes"}
    agent["modules.o"] = {}
    found = list_faults(document)
    assert [line.partition(":")[0] for line in found] == [
        "$edgeAgent",
        *["$edgeAgent.properties.desired.modules.n.type", "$edgeAgent.properties.desired.modules.n.status"],
        *["$edgeAgent.properties.desired.modules.n.restartPolicy", "$edgeAgent.properties.desired.modules.n.settings.image"],
        "$edgeHub.properties.desired.routes.up",
    ]


# -- the public schemas


def load_schema(shared_data: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((shared_data / f"iotedge/schemastore-azure-iot-{name}.json").read_text()))


def apply_layer(base: dict[str, Any], layer: dict[str, Any]) -> dict[str, Any]:
    """As IoT Hub does: each member of a layer names its place with dots."""
    merged = deepcopy(base)
    for name, members in layer["modulesContent"].items():
        for path, value in members.items():
            place = merged["modulesContent"][name]["properties.desired"]
            *between, last = path.removeprefix("properties.desired.").split(".")
            for step in between:
                place = place.setdefault(step, {})
            place[last] = value
    return merged


@pytest.mark.parametrize("runtime", ["1.0.9", "1.5"])
def test_the_public_schemas_agree(shared_data: Path, runtime: str) -> None:
    module = EdgeModule(name="m", image=IMAGE, version="7", env=(("A", "1"),), create_options={"User": "1" * 900})
    document = put_route(put_module(make_deployment(runtime), module), EdgeRoute(name="up", text="FROM /* INTO $upstream"))
    document = put_login(document, EdgeLogin(name="r", address="ghcr.io", username="$U", password="$P"))
    content = document["modulesContent"]
    schema = content["$edgeAgent"]["properties.desired"]["schemaVersion"]
    if runtime == "1.5":
        jsonschema.validate(document, load_schema(shared_data, "edge-deployment-2.0"))
    else:
        short = put_module(document, EdgeModule(name="m", image=IMAGE))
        jsonschema.validate(short, load_schema(shared_data, "edge-deployment-1.0"))
    jsonschema.validate({"$edgeAgent": content["$edgeAgent"]}, load_schema(shared_data, f"edgeagent-deployment-{schema}"))
    jsonschema.validate({"$edgeHub": content["$edgeHub"]}, load_schema(shared_data, f"edgehub-deployment-{schema}"))


def test_a_layer_over_a_base_fits_the_public_schema(shared_data: Path) -> None:
    layer = put_login(put_module(make_layer(), MODULE), EdgeLogin(name="r", address="ghcr.io", username="$U", password="$P"))
    layer = put_route(layer, EdgeRoute(name="up", text="FROM /* INTO $upstream"))
    merged = apply_layer(make_deployment("1.5"), layer)
    jsonschema.validate(merged, load_schema(shared_data, "edge-deployment-2.0"))
    assert list_faults(merged) == ()


def test_we_refuse_what_the_public_schema_refuses(shared_data: Path) -> None:
    """Where the two differ, it is we who refuse more: limits of twins, releases, what edgeAgent cannot read."""
    validator = jsonschema.validators.validator_for(load_schema(shared_data, "edge-deployment-2.0"))
    check: Callable[[Any], bool] = validator(load_schema(shared_data, "edge-deployment-2.0")).is_valid
    refused = [(path, value) for path, value, _ in WRONG if not check(change(path, value))]
    assert len(refused) > 20
    assert all(list_faults(change(path, value)) for path, value in refused)
