"""Manifests of strangers: whatever stands in one, it is put up with, refused as ours, or listed as a fault; never a crash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.deliver.edge import plan_deployment
from wherry.errors import FormatError
from wherry.formats.iotedge import (
    find_create_options,
    make_deployment,
    make_layer,
    parse_deployment,
    put_login,
    put_module,
    put_route,
    render_deployment,
)
from wherry.formats.iotedge_rules import list_faults
from wherry.model.edge import EdgeLogin, EdgeModule, EdgeRoute

IMAGE = "ghcr.io/you/anomaly@sha256:" + "ab" * 32
MODULE = EdgeModule(
    name="m", image=IMAGE, version="7", env=(("A", "1"),), startup_order=3, create_options={"HostConfig": {"Binds": ["a:/a"]}}
)
LOGIN = EdgeLogin(name="r", address="ghcr.io", username="$U", password="$P")
ROUTE = EdgeRoute(name="up", text="FROM /messages/* INTO $upstream")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def make_sound(*, layered: bool) -> dict[str, Any]:
    document = make_layer() if layered else make_deployment("1.5")
    return put_login(put_route(put_module(document, MODULE), ROUTE), LOGIN)


def list_places(value: object) -> Iterator[tuple[Any, Any]]:
    """Every member of every object in it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield value, key
            yield from list_places(inner)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_one_member_is_anything(data: st.DataObject) -> None:
    document = make_sound(layered=data.draw(st.booleans()))
    part, key = data.draw(st.sampled_from(list(list_places(document))))
    value = data.draw(JSON)
    if data.draw(st.booleans()):
        part[data.draw(st.text(max_size=8))] = value
    else:
        part[key] = json.dumps(value) if key.startswith("createOptions") and data.draw(st.booleans()) else value
    before = deepcopy(document)
    try:
        read = parse_deployment(render_deployment(document), "f.json")
        find_create_options(read, "m")
        planned = plan_deployment(read, MODULE, None, LOGIN)
    except FormatError:
        pass
    else:
        assert list_faults(planned.document) == ()
        again = plan_deployment(planned.document, MODULE, None, LOGIN)
        assert again.document == planned.document, "a second time changes nothing"
    assert document == before
