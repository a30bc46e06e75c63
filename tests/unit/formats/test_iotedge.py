"""Deployment manifests: a module put into them, what they say already kept, create options cut and joined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import FormatError
from wherry.formats.iotedge import (
    PIECE,
    cut_create_options,
    is_layered,
    is_template,
    join_create_options,
    list_routes,
    make_deployment,
    make_layer,
    merge_create_options,
    parse_deployment,
    put_login,
    put_module,
    put_route,
    render_deployment,
    schemas_of,
)
from wherry.formats.iotedge_rules import list_faults
from wherry.model.edge import EdgeLogin, EdgeModule, EdgeRoute

DIGEST = "sha256:" + "ab" * 32
IMAGE = f"ghcr.io/you/anomaly@{DIGEST}"
MODULE = EdgeModule(name="anomaly", image=IMAGE, version="7")
LOGIN = EdgeLogin(name="ghcr_io", address="ghcr.io", username="$USER_ghcr_io", password="$PASSWORD_ghcr_io")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=12,
)


def agent_of(document: dict[str, Any]) -> dict[str, Any]:
    return dict(document["modulesContent"]["$edgeAgent"]["properties.desired"])


def samples(shared_data: Path) -> list[tuple[str, bytes]]:
    return [(path.parent.name, path.read_bytes()) for path in sorted((shared_data / "iotedge/samples").glob("*/*.json"))]


def test_a_new_deployment_is_sound_with_and_without_a_module() -> None:
    document = make_deployment("1.5")
    assert list_faults(document) == ()
    changed = put_module(document, MODULE)
    assert agent_of(document)["modules"] == {}, "the former is not touched"
    assert agent_of(changed)["modules"]["anomaly"] == {
        "version": "7",
        "type": "docker",
        "status": "running",
        "restartPolicy": "always",
        "settings": {"image": IMAGE, "createOptions": "{}"},
    }
    assert list_faults(changed) == ()
    hub = agent_of(changed)["systemModules"]["edgeHub"]["settings"]
    assert hub["image"] == "mcr.microsoft.com/azureiotedge-hub:1.5"
    assert join_create_options(hub)["HostConfig"]["PortBindings"]["8883/tcp"] == [{"HostPort": "8883"}]


@pytest.mark.parametrize(
    ("runtime", "schema"), [("1.0", "1.0"), ("1.0.9", "1.0"), ("1.0.10", "1.1"), ("1.4", "1.1"), ("1.5.21-linux-arm32v7", "1.1")]
)
def test_schema_versions_are_those_that_a_release_understands(runtime: str, schema: str) -> None:
    assert schemas_of(runtime) == (schema, schema)
    assert list_faults(make_deployment(runtime)) == ()


@pytest.mark.parametrize("runtime", ["", "latest", "2.0", "1", "1.5 ", "1.5:x"])
def test_other_releases_are_refused(runtime: str) -> None:
    with pytest.raises(FormatError, match="no release of IoT Edge"):
        make_deployment(runtime)


def test_a_layer_holds_the_module_alone() -> None:
    document = put_login(
        put_route(put_module(make_layer(), MODULE), EdgeRoute(name="up", text="FROM /messages/* INTO $upstream")), LOGIN
    )
    content = document["modulesContent"]
    assert set(content["$edgeAgent"]) == {
        "properties.desired.modules.anomaly",
        "properties.desired.runtime.settings.registryCredentials.ghcr_io",
    }
    assert content["$edgeHub"] == {"properties.desired.routes.up": "FROM /messages/* INTO $upstream"}
    assert is_layered(document)
    assert list_faults(document) == ()
    again = put_module(document, EdgeModule(name="anomaly", image=IMAGE, version="8"))
    assert again["modulesContent"]["$edgeAgent"]["properties.desired.modules.anomaly"]["version"] == "8"
    assert list_routes(again) == (EdgeRoute(name="up", text="FROM /messages/* INTO $upstream"),)


def test_what_a_module_says_already_stays() -> None:
    document = make_deployment("1.5")
    former = {
        "version": "1.0",
        "type": "docker",
        "status": "stopped",
        "restartPolicy": "on-unhealthy",
        "imagePullPolicy": "never",
        "startupOrder": 4,
        "futureMember": {"a": 1},
        "env": {"KEEP": {"value": "1"}, "CHANGE": {"value": "old"}},
        "settings": {
            "image": "old:1",
            "auth": "later",
            "createOptions": '{"HostConfig":{"Binds":["a:/a","b:/b:ro"],"Devices":[{"PathOnHost":"/dev/video0"}],',
            "createoptions01": '"Memory":1}}',
        },
    }
    document["modulesContent"]["$edgeAgent"]["properties.desired"]["modules"]["anomaly"] = former
    new = EdgeModule(
        name="anomaly",
        image=IMAGE,
        create_options={"HostConfig": {"Binds": ["c:/b"], "Memory": 2}},
        env=(("CHANGE", "new"), ("ADD", "x")),
    )
    module = agent_of(put_module(document, new))["modules"]["anomaly"]
    assert list(module)[:6] == ["version", "type", "status", "restartPolicy", "startupOrder", "futureMember"]
    assert (module["status"], module["restartPolicy"], module["startupOrder"]) == ("stopped", "on-unhealthy", 4)
    assert module["futureMember"] == {"a": 1}
    assert "imagePullPolicy" not in module, "it is pulled from now on"
    assert module["env"] == {"KEEP": {"value": "1"}, "CHANGE": {"value": "new"}, "ADD": {"value": "x"}}
    assert set(module["settings"]) == {"image", "auth", "createOptions"}
    assert join_create_options(module["settings"])["HostConfig"] == {
        "Binds": ["a:/a", "c:/b"],
        "Devices": [{"PathOnHost": "/dev/video0"}],
        "Memory": 2,
    }


def test_an_image_that_is_brought_is_never_pulled() -> None:
    new = EdgeModule(name="anomaly", image="app:0123456789ab", pulled=False, restart="never", startup_order=0)
    module = agent_of(put_module(make_deployment("1.5"), new))["modules"]["anomaly"]
    assert (module["imagePullPolicy"], module["restartPolicy"], module["startupOrder"]) == ("never", "never", 0)


def test_placeholders_replace_no_login_but_a_login_replaces_them() -> None:
    known = put_login(make_deployment("1.5"), EdgeLogin(name="mine", address="ghcr.io", username="u", password="p"))
    assert put_login(known, LOGIN) == known
    changed = put_login(known, EdgeLogin(name="ghcr_io", address="ghcr.io", username="v", password="q", secret=True))
    logins = agent_of(changed)["runtime"]["settings"]["registryCredentials"]
    assert logins == {"mine": {"username": "v", "password": "q", "address": "ghcr.io"}}


def test_a_route_keeps_its_priority() -> None:
    document = make_deployment("1.5")
    routes = document["modulesContent"]["$edgeHub"]["properties.desired"]["routes"]
    routes["up"] = {"route": "FROM /messages/* INTO $upstream", "priority": 0}
    changed = put_route(document, EdgeRoute(name="up", text="FROM /* INTO $upstream"))
    desired = changed["modulesContent"]["$edgeHub"]["properties.desired"]
    assert desired["routes"] == {"up": {"route": "FROM /* INTO $upstream", "priority": 0}}


def test_create_options_are_cut_as_the_runtime_cuts_them() -> None:
    options = {"Env": [f"K{number}=é" for number in range(120)]}
    pieces = cut_create_options(options)
    assert list(pieces) == ["createOptions", "createOptions01", "createOptions02", "createOptions03"]
    assert {len(piece) for piece in list(pieces.values())[:-1]} == {PIECE}
    assert all(piece.isascii() for piece in pieces.values())
    assert join_create_options(pieces) == options
    assert len(cut_create_options({"a": "x" * (PIECE * 11)})) == 12
    with pytest.raises(FormatError, match="at most 51200"):
        cut_create_options({"a": "x" * PIECE * 100})


@given(st.dictionaries(st.text(max_size=20), JSON, max_size=6))
def test_cut_and_join_are_inverse(options: dict[str, Any]) -> None:
    assert join_create_options(cut_create_options(options)) == options
    assert merge_create_options(options, options) == merge_create_options(options, {})


@pytest.mark.parametrize(
    "settings",
    [
        {"createOptions01": "{}"},
        {"createOptions": "{", "createOptions02": "}"},
        {"createOptions": "{"},
        {"createOptions": "[]"},
        {"createOptions": 1},
        {"createOptions": '{"a":1,"a":2}'},
    ],
)
def test_pieces_that_make_no_object_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        join_create_options(settings)


@pytest.mark.parametrize("settings", [{}, {"createOptions": ""}, {"createOptions": "null"}, {"createOptions": {}}])
def test_no_create_options(settings: dict[str, Any]) -> None:
    assert join_create_options(settings) == {}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"modulesContent": []}',
        b'{"content": {"modulesContent": 1}}',
        b'{"modulesContent": {"$edgeAgent": []}}',
        b'{"modulesContent": {}, "modulesContent": {}}',
        b'{"modulesContent": {"a": NaN}}',
        b'{"modulesContent": {"a": "\\ud800"}}',
        b'{"modulesContent": ' + b'{"a":' * 100 + b"1" + b"}" * 100 + b"}",
        b"\xff\xfe",
    ],
)
def test_what_is_no_manifest_is_refused(raw: bytes) -> None:
    with pytest.raises(FormatError, match="f\\.json"):
        parse_deployment(raw, "f.json")


def test_forms_that_are_read() -> None:
    inner = put_module(make_deployment("1.5"), MODULE)
    for document in (inner, {"id": "x", "content": inner, "priority": 3}):
        raw = render_deployment(document)
        assert parse_deployment(b"\xef\xbb\xbf" + raw, "f") == document
        changed = put_module(document, EdgeModule(name="other", image=IMAGE))
        assert list(changed) == list(document)
        assert list_faults(changed) == ()


@pytest.mark.parametrize("member", ["modules", "systemModules", "runtime"])
def test_members_of_another_kind_are_refused(member: str) -> None:
    document = make_deployment("1.5")
    document["modulesContent"]["$edgeAgent"]["properties.desired"][member] = []
    try:
        changed = put_login(put_module(document, MODULE), LOGIN)
    except FormatError:
        return
    assert list_faults(changed)


def test_samples_of_others_are_read_kept_and_added_to(shared_data: Path) -> None:
    read = 0
    for name, raw in samples(shared_data):
        if name.startswith(("azure-iot-edgeagent", "azure-iot-edgehub")):
            continue  # a part of a manifest
        document = parse_deployment(raw, name)
        assert list_faults(document) == (), name
        assert is_template(document) == (b"$schema-template" in raw or b"${MODULES." in raw)
        changed = put_route(put_login(put_module(document, MODULE), LOGIN), EdgeRoute(name="n", text="FROM /* INTO $upstream"))
        assert list_faults(changed) == (), name
        options = agent_of(changed)["modules"]["anomaly"]["settings"]["createOptions"]
        assert options == ({} if is_template(document) else "{}")
        # Undone by hand, it is what it was, to the order of its members.
        del agent_of(changed)["modules"]["anomaly"]
        changed["modulesContent"]["$edgeHub"]["properties.desired"]["routes"].pop("n")
        agent_of(changed)["runtime"]["settings"]["registryCredentials"].pop("ghcr_io")
        if not agent_of(document)["runtime"]["settings"].get("registryCredentials"):
            document["modulesContent"]["$edgeAgent"]["properties.desired"]["runtime"]["settings"]["registryCredentials"] = {}
        assert json.dumps(changed) == json.dumps(document)
        read += 1
    assert read >= 24
