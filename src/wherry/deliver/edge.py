"""A deployment manifest for Azure IoT Edge: one module added, and everything held against the rules before it is used.

Nothing here writes a file. What a manifest says already is kept; a fault of it is reported like one of ours, since a hub
refuses the whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wherry.errors import FormatError, UsageError
from wherry.formats.iotedge import (
    is_layered,
    list_routes,
    make_deployment,
    make_layer,
    parse_deployment,
    put_login,
    put_module,
    put_route,
)
from wherry.formats.iotedge_rules import MODULE_NAME, list_faults
from wherry.model.edge import RESTARTS, EdgeLogin, EdgeModule, EdgeRoute
from wherry.model.reference import Reference
from wherry.store.registry_auth import Login

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A manifest to be written, and what its reader should know. `secret`: it holds a password."""

    document: Mapping[str, Any]
    layered: bool
    secret: bool = False
    notes: tuple[str, ...] = ()


def plan_deployment(
    former: Mapping[str, Any], module: EdgeModule, routes: tuple[EdgeRoute, ...] | None, login: EdgeLogin | None
) -> Deployment:
    """The module in the manifest, with its routes; None: all its outputs to the hub, unless a route of it is there.

    Faults are a `FormatError` that lists them.
    """
    document = put_module(former, module)
    if routes is None:
        usual = EdgeRoute(name=f"{module.name}ToIoTHub", text=f"FROM /messages/modules/{module.name}/outputs/* INTO $upstream")
        mentions = re.compile(rf"/modules/{re.escape(module.name)}/", re.IGNORECASE)
        routes = () if any(mentions.search(route.text) for route in list_routes(document)) else (usual,)
    for route in routes:
        document = put_route(document, route)
    if login is not None:
        document = put_login(document, login)
    faults = list_faults(document)
    if faults:
        more = f"\n… and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise FormatError("IoT Edge would refuse this manifest:\n" + "\n".join(faults[:_SHOWN]) + more)
    return Deployment(
        document=document,
        layered=is_layered(document),
        secret=login is not None and login.secret,
        notes=tuple(_list_notes(login)),
    )


def start_deployment(into: bytes | None, where: str, *, layered: bool, runtime: str) -> dict[str, Any]:
    """The manifest to begin with: `into`, or a new one."""
    if into is None:
        return make_layer() if layered else make_deployment(runtime)
    document = parse_deployment(into, where)
    if layered and not is_layered(document):
        raise UsageError("this is a whole deployment, no layer", where=where, hint="leave --layered away, or --into another file")
    return document


def _list_notes(login: EdgeLogin | None) -> list[str]:
    if login is None:
        return []
    if login.secret:
        return [f"it holds the password for {login.address}: keep it like one"]
    return [
        f"devices log in to {login.address} as {login.username} with {login.password}: fill these in before you deploy "
        "(docs/how-to/deploy-with-iot-edge.md), or --credentials none for a public image"
    ]


def choose_module_name(name: str, image: str) -> str:
    """The name that was given, or one made of the image's."""
    chosen = name or re.sub(r"[^a-zA-Z0-9_-]+", "-", image.rpartition("/")[2].partition("@")[0].partition(":")[0]).strip("-")
    if not MODULE_NAME.fullmatch(chosen) or chosen in ("edgeAgent", "edgeHub"):
        raise UsageError(f"no name for a module: {chosen!r}", where="--module", hint="letters, digits, _ and -")
    return chosen


def parse_route(text: str) -> EdgeRoute:
    """``NAME=FROM … INTO …``."""
    name, equals, route = text.partition("=")
    if not equals or not name or re.search(r"\s", name):
        raise UsageError(
            f"not a route: {text!r}", where="--route", hint="--route 'toHub=FROM /messages/modules/NAME/* INTO $upstream'"
        )
    return EdgeRoute(name=name, text=route.strip())


def parse_restart(text: str) -> str:
    """IoT Edge's policies; docker's ``no`` is ``never``."""
    policy = {"no": "never", "unless-stopped": "always"}.get(text, text)
    if policy not in RESTARTS:
        raise UsageError(f"no restart policy: {text!r}", where="--restart", hint=", ".join(RESTARTS))
    return policy


def refer_to_login(registry: str) -> EdgeLogin:
    """Placeholders as iotedgedev and Microsoft's editors fill them from a ``.env`` file."""
    name = re.sub(r"[^a-zA-Z0-9]+", "_", registry).strip("_")
    prefix = "$CONTAINER_REGISTRY"
    return EdgeLogin(name=name, address=registry, username=f"{prefix}_USERNAME_{name}", password=f"{prefix}_PASSWORD_{name}")


def spell_out_login(reference: Reference, login: Login) -> EdgeLogin:
    """This machine's own login. A token that is no password is a `UsageError`: devices cannot use it."""
    credential = login.credential
    if credential is None or not credential.password or not credential.user:
        found = "no login" if credential is None else "a token that devices cannot use, no password,"
        raise UsageError(
            f"this machine has {found} for {reference.registry}",
            where="--credentials inline",
            hint="; ".join((f"docker login {reference.registry}", *login.notes)),
        )
    named = refer_to_login(reference.registry)
    return EdgeLogin(name=named.name, address=named.address, username=credential.user, password=credential.password, secret=True)
