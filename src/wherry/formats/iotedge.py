"""Azure IoT Edge deployment manifests: bytes and values, and a module put into one (docs/how-to/deploy-with-iot-edge.md).

    {"modulesContent": {"$edgeAgent": {"properties.desired": {…}}, "$edgeHub": {…}}}       a whole deployment
    {"modulesContent": {"$edgeAgent": {"properties.desired.modules.NAME": {…}}}}           a layered one

Either may stand in ``{"content": …}``, as IoT Hub stores it, or be a template (``$schema-template``). What a manifest
says already stays: unknown members, other modules, the order of members. Create options are a text of JSON that twins
take in pieces of 512 characters; it is written in ASCII, so that characters are bytes. Opens nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from wherry.errors import FormatError
from wherry.formats.oci_json import parse_json
from wherry.model.edge import EdgeLogin, EdgeModule, EdgeRoute

PIECE = 512  # characters; the runtime cuts so itself
PIECES = 100  # two digits number them
DESIRED = "properties.desired"
AGENT, HUB = "$edgeAgent", "$edgeHub"
_AGENT_IMAGE = "mcr.microsoft.com/azureiotedge-agent"
_HUB_IMAGE = "mcr.microsoft.com/azureiotedge-hub"
_HUB_PORTS = ("443", "5671", "8883")
_TIME_TO_LIVE = 7200
_DEPTH = 64  # twins take 10
_TEMPLATE = "$schema-template"
_PLACEHOLDER = "${MODULES."
_MOUNTS = ("Binds", "Mounts")
_OPTIONS = re.compile(r"createoptions([0-9]*)", re.IGNORECASE)
_RUNTIME = re.compile(r"([0-9]+)\.([0-9]+)(?:\.([0-9]+))?(?:[.-][A-Za-z0-9.-]+)?")


def parse_deployment(raw: bytes, where: str) -> dict[str, Any]:
    """Read a manifest that is to be added to. Its form is looked at here, its content by `iotedge_rules`."""
    document = parse_json(raw.removeprefix(b"\xef\xbb\xbf"), where)
    _refuse_unwritable(document, where)
    content = find_modules_content(document)
    if not isinstance(content, dict):
        raise FormatError("no deployment manifest: it has no modulesContent", where=where)
    for name in (AGENT, HUB):
        if not isinstance(content.get(name, {}), dict):
            raise FormatError(f"{name} is no object", where=f"{where}: modulesContent")
    return document


def render_deployment(document: Mapping[str, Any]) -> bytes:
    """A manifest as a file, for people and for version control too."""
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def make_deployment(runtime: str) -> dict[str, Any]:
    """A whole deployment with the two system modules of an IoT Edge release, such as ``1.5``, and no other."""
    agent_schema, hub_schema = schemas_of(runtime)
    ports = {f"{port}/tcp": [{"HostPort": port}] for port in _HUB_PORTS}
    agent = {
        "schemaVersion": agent_schema,
        "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25", "loggingOptions": "", "registryCredentials": {}}},
        "systemModules": {
            "edgeAgent": {"type": "docker", "settings": {"image": f"{_AGENT_IMAGE}:{runtime}", "createOptions": "{}"}},
            "edgeHub": {
                "type": "docker",
                "status": "running",
                "restartPolicy": "always",
                "settings": {"image": f"{_HUB_IMAGE}:{runtime}"} | cut_create_options({"HostConfig": {"PortBindings": ports}}),
            },
        },
        "modules": {},
    }
    hub = {"schemaVersion": hub_schema, "routes": {}, "storeAndForwardConfiguration": {"timeToLiveSecs": _TIME_TO_LIVE}}
    return {"modulesContent": {AGENT: {DESIRED: agent}, HUB: {DESIRED: hub}}}


def make_layer() -> dict[str, Any]:
    """A layered deployment with nothing in it."""
    return {"modulesContent": {AGENT: {}}}


def schemas_of(runtime: str) -> tuple[str, str]:
    """The schema versions that edgeAgent and edgeHub of a release understand: 1.1 came with 1.0.10."""
    match = _RUNTIME.fullmatch(runtime)
    if not match or match[1] != "1":
        raise FormatError(f"no release of IoT Edge: {runtime!r}", hint="1.5, or 1.5.21")
    first = match[2] == "0" and int(match[3] or 0) < 10
    return ("1.0", "1.0") if first else ("1.1", "1.1")


def put_module(document: Mapping[str, Any], module: EdgeModule) -> dict[str, Any]:
    """The manifest with the module in it, anew or with what it says already kept."""
    changed = deepcopy(dict(document))
    agent = _modules_content(changed).setdefault(AGENT, {})
    if is_layered(changed):
        modules, key = agent, _layer_key(module.name)
    else:
        modules, key = _object(_object(agent.setdefault(DESIRED, {}), DESIRED).setdefault("modules", {}), "modules"), module.name
    modules[key] = _render_module(module, _object(modules.get(key), key), as_object=is_template(changed))
    return changed


def find_create_options(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a manifest says already of a module's container."""
    agent = _object(_modules_content(document).get(AGENT), AGENT)
    modules = _object(_object(agent.get(DESIRED), DESIRED).get("modules"), "modules")
    module = _object(agent.get(_layer_key(name), modules.get(name)), name)
    return join_create_options(_object(module.get("settings"), f"{name}.settings"), f"{name}.createOptions")


def put_route(document: Mapping[str, Any], route: EdgeRoute) -> dict[str, Any]:
    """The manifest with a route in it. One of the same name keeps its priority and time to live."""
    changed = deepcopy(dict(document))
    hub = _modules_content(changed).setdefault(HUB, {})
    if is_layered(changed):
        routes, key = hub, f"{DESIRED}.routes.{route.name}"
    else:
        routes, key = _object(_object(hub.setdefault(DESIRED, {}), DESIRED).setdefault("routes", {}), "routes"), route.name
    former = routes.get(key)
    routes[key] = {**former, "route": route.text} if isinstance(former, dict) else route.text
    return changed


def put_login(document: Mapping[str, Any], login: EdgeLogin) -> dict[str, Any]:
    """The manifest with a registry's login in it. Of one for the same address placeholders replace nothing."""
    changed = deepcopy(dict(document))
    agent = _modules_content(changed).setdefault(AGENT, {})
    prefix = f"{DESIRED}.runtime.settings.registryCredentials"
    if is_layered(changed):
        logins = {key: value for key, value in agent.items() if key.startswith(f"{prefix}.")}
    else:
        runtime = _object(_object(agent.setdefault(DESIRED, {}), DESIRED).setdefault("runtime", {"type": "docker"}), "runtime")
        settings = _object(runtime.setdefault("settings", {}), "settings")
        logins = _object(settings.setdefault("registryCredentials", {}), "registryCredentials")
    known = [key for key, value in logins.items() if isinstance(value, dict) and value.get("address") == login.address]
    if known and not login.secret:
        return changed
    key = known[0] if known else (f"{prefix}.{login.name}" if is_layered(changed) else login.name)
    value = {"username": login.username, "password": login.password, "address": login.address}
    (agent if is_layered(changed) else logins)[key] = value
    return changed


def list_routes(document: Mapping[str, Any]) -> tuple[EdgeRoute, ...]:
    """The routes that a manifest has."""
    hub = _modules_content(document).get(HUB, {})
    prefix = f"{DESIRED}.routes."
    named = {key.removeprefix(prefix): value for key, value in hub.items() if key.startswith(prefix)}
    named |= _object(_object(hub.get(DESIRED), DESIRED).get("routes"), "routes")
    texts = {name: value.get("route") if isinstance(value, dict) else value for name, value in named.items()}
    return tuple(EdgeRoute(name=name, text=str(text)) for name, text in texts.items())


def is_layered(document: Mapping[str, Any]) -> bool:
    """Whether a manifest is one layer of several, which says nothing of the system modules."""
    content = _modules_content(document)
    return not any(isinstance(content.get(name), dict) and DESIRED in content[name] for name in (AGENT, HUB))


def is_template(document: Mapping[str, Any]) -> bool:
    """Whether iotedgedev or an editor makes the manifest of this first; create options are objects in it."""
    return _TEMPLATE in document or _PLACEHOLDER in json.dumps(find_modules_content(document))


def find_modules_content(document: Mapping[str, Any]) -> object:
    """`modulesContent`, wherever it stands; None if there is none."""
    inner = document.get("content")
    return inner.get("modulesContent") if isinstance(inner, dict) else document.get("modulesContent")


def cut_create_options(options: Mapping[str, Any]) -> dict[str, str]:
    """Create options as a module's settings have them: ``createOptions``, ``createOptions01`` …"""
    text = json.dumps(options, separators=(",", ":"), allow_nan=False)
    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    if len(pieces) > PIECES:
        raise FormatError(f"{len(text)} characters of create options, at most {PIECE * PIECES} can be told")
    return {f"createOptions{number:02}" if number else "createOptions": piece for number, piece in enumerate(pieces)}


def join_create_options(settings: Mapping[str, Any], where: str = "createOptions") -> dict[str, Any]:
    """The way back. Pieces out of order, or that make no JSON object, are a `FormatError`."""
    pieces = sorted((match[1], value) for key, value in settings.items() if (match := _OPTIONS.fullmatch(key)))
    if [int(number or 0) for number, _ in pieces] != list(range(len(pieces))) or (pieces and pieces[0][0]):
        raise FormatError("the pieces are not numbered createOptions, createOptions01, createOptions02 …", where=where)
    if len(pieces) == 1 and isinstance(pieces[0][1], dict):
        return pieces[0][1]  # as templates have it
    if not all(isinstance(value, str) for _, value in pieces):
        raise FormatError("a piece is no text", where=where)
    text = "".join(value for _, value in pieces)
    return {} if text.strip() in ("", "null") else parse_json(text.encode("utf-8", "surrogatepass"), where)


def _refuse_unwritable(document: dict[str, Any], where: str) -> None:
    """What Python reads and nobody else writes: nesting without end, half characters."""
    waiting: list[tuple[object, int]] = [(document, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > _DEPTH:
            raise FormatError(f"nested deeper than {_DEPTH} levels", where=where)
        if isinstance(value, dict | list):
            waiting += [(inner, depth + 1) for inner in (value.values() if isinstance(value, dict) else value)]
    try:
        render_deployment(document)
    except UnicodeEncodeError as error:
        raise FormatError("a text with half a character", where=where) from error


def _render_module(module: EdgeModule, former: dict[str, Any], *, as_object: bool) -> dict[str, Any]:
    settings = _object(former.get("settings"), f"{module.name}.settings")
    options = merge_create_options(join_create_options(settings, f"{module.name}.createOptions"), module.create_options)
    kept = {key: value for key, value in settings.items() if not _OPTIONS.fullmatch(key) and key not in ("image", "digest")}
    rendered = {"version": "1.0", "type": "docker", "status": "running", "restartPolicy": "always", **former}
    if module.version:
        rendered["version"] = module.version
    if module.restart is not None:
        rendered["restartPolicy"] = module.restart
    if module.startup_order is not None:
        rendered["startupOrder"] = module.startup_order
    rendered.pop("imagePullPolicy", None)
    if not module.pulled:
        rendered["imagePullPolicy"] = "never"
    env = {**_object(former.get("env"), f"{module.name}.env"), **{key: {"value": value} for key, value in module.env}}
    if env:
        rendered["env"] = env
    rendered["settings"] = {
        "image": module.image,
        **kept,
        **({"createOptions": options} if as_object else cut_create_options(options)),
    }
    return rendered


def merge_create_options(former: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`new` over `former`: objects by member, mounts by their place in the container, anything else as a whole."""
    merged = dict(former)
    for key, value in new.items():
        known = merged.get(key)
        if key == "HostConfig" and isinstance(value, Mapping) and isinstance(known, Mapping):
            merged[key] = merge_create_options(_make_room(known, list_mounted(new)), value)
        elif isinstance(value, Mapping) and isinstance(known, Mapping):
            merged[key] = merge_create_options(known, value)
        elif key in _MOUNTS and isinstance(known, list) and isinstance(value, list):
            merged[key] = known + deepcopy(value)
        else:
            merged[key] = deepcopy(value)
    return merged


def _make_room(host: Mapping[str, Any], places: frozenset[str]) -> dict[str, Any]:
    """Without what is mounted where something else will be: engines refuse two at one place."""
    kept = dict(host)
    for key in _MOUNTS:
        mounts = host.get(key)
        if isinstance(mounts, list) and (rest := [one for one in mounts if _mounted_at(one) not in places]) != mounts:
            kept[key] = rest
            if not rest:
                del kept[key]
    return kept


def list_mounted(options: Mapping[str, Any]) -> frozenset[str]:
    """The places in the container where create options mount something."""
    host = options.get("HostConfig")
    given = [host.get(key) for key in (*_MOUNTS, "Tmpfs")] if isinstance(host, Mapping) else []
    return frozenset(_mounted_at(one) for mounts in given if isinstance(mounts, list | dict) for one in mounts)


def _mounted_at(mount: object) -> str:
    """The place of one of `Binds` (``SOURCE:PLACE[:MODE]``), `Mounts` or `Tmpfs`."""
    if isinstance(mount, Mapping):
        return str(mount.get("Target"))
    return str(mount).split(":")[1] if ":" in str(mount) else str(mount)


def _layer_key(name: str) -> str:
    return f"{DESIRED}.modules.{name}"


def _modules_content(document: Mapping[str, Any]) -> dict[str, Any]:
    return _object(find_modules_content(document), "modulesContent")


def _object(value: object, where: str) -> dict[str, Any]:
    """An object that may be missing."""
    if value is not None and not isinstance(value, dict):
        raise FormatError(f"expected an object, got {type(value).__name__}", where=where)
    return {} if value is None else value
