"""What a deployment manifest of Azure IoT Edge has to keep to, so that IoT Hub takes it and the runtime on a device does.

Rules of three places: the manifest's schemas (members, values, names), IoT Hub's limits for module twins (names, sizes,
depth, numbers), and how edgeAgent reads it (images, pieces of create options, schema versions). All faults are listed,
each with its place. Members that no rule knows are let be: what a later schema adds is not ours to refuse. In a
template, placeholders (``${…}``) stand where values will.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from wherry.errors import FormatError
from wherry.formats.iotedge import AGENT, DESIRED, HUB, PIECE, find_modules_content, is_template, join_create_options
from wherry.model.edge import RESTARTS

MAX_TWIN = 32 << 10  # bytes of a twin's desired properties: names and values
MAX_TEXT = 4 << 10
MAX_DEPTH = 10
AGENT_SCHEMAS = ("1.0", "1.1")
HUB_SCHEMAS = ("1.0", "1.1", "1.2")
MODULE_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
ENV_NAME = re.compile(r"[^+#$\s.]+")
PLAIN_NAME = re.compile(r"[^.$# ]+")
_TWIN_NAME = re.compile(r"[^.$ \x00-\x1f\x7f-\x9f]+")
_IMAGE = re.compile(r"(?:[^/]*/)*[^/:]+(?::[^/:]+)?")  # as edgeAgent reads it: a tag or a digest, not both
_UPSTREAM = re.compile(r"\$upstream:[1-9][^/]*/.+", re.IGNORECASE)
_PIECE = re.compile(r"createoptions[0-9]*", re.IGNORECASE)
_ROUTE = re.compile(
    r"FROM\s+/\S*(\s+WHERE\s+.+?)?\s+INTO\s+(\$upstream|BrokeredEndpoint\(\s*\"/modules/[^/\"]+/inputs/[^/\"]+\"\s*\))",
    re.IGNORECASE,
)
_LARGEST = 4503599627370495  # whole numbers of twins have 52 bits
_LONGEST = 4294967295
_SYSTEM = ("edgeAgent", "edgeHub")

Faults = Iterator[str]


def list_faults(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Everything that is wrong with a manifest, as ``place: what``; empty when it can go to a hub."""
    content = find_modules_content(document)
    if not isinstance(content, dict):
        return ("modulesContent: is missing",)
    check = _Check(template=is_template(document))
    whole = any(isinstance(content.get(name), dict) and DESIRED in content[name] for name in (AGENT, HUB))
    found = list(check.whole(content) if whole else check.layer(content))
    for name, part in content.items():
        if not (name in (AGENT, HUB) or MODULE_NAME.fullmatch(name)):
            found.append(f"{name}: no name for a module: letters, digits, _ and -")
        found += _check_twin(part, name)
    return tuple(dict.fromkeys(found))


class _Check:
    """The schemas' rules. Each method yields what is wrong with one object."""

    def __init__(self, *, template: bool) -> None:
        self._template = template

    def whole(self, content: Mapping[str, Any]) -> Faults:
        for name in (AGENT, HUB):
            part = content.get(name)
            if not isinstance(part, dict) or not isinstance(part.get(DESIRED), dict):
                yield f"{name}.{DESIRED}: is missing"
            elif others := [key for key in part if key != DESIRED]:
                yield f"{name}: has {others[0]} beside {DESIRED}: a layer's member in a whole deployment"
            else:
                yield from self._agent(part[DESIRED], name) if name == AGENT else self._hub(part[DESIRED], name)

    def layer(self, content: Mapping[str, Any]) -> Faults:
        agent, hub = content.get(AGENT), content.get(HUB, {})
        if not isinstance(agent, dict) or not isinstance(hub, dict):
            yield f"{AGENT}, {HUB}: not an object"
            return
        for part, name in ((agent, AGENT), (hub, HUB)):
            for key in part:
                if not key.startswith(f"{DESIRED}."):
                    yield f"{name}: {key}: a layer's members begin with {DESIRED}."
        for key, name, value in _members(agent, "modules"):
            yield from self._module(name, value, f"{AGENT}.{key}", "1.1")
        for key, name, value in _members(agent, "runtime.settings.registryCredentials"):
            yield from self._login(name, value, f"{AGENT}.{key}")
        for key, name, value in _members(hub, "routes"):
            yield from self._route(name, value, f"{HUB}.{key}", "1.1")

    def _agent(self, desired: Mapping[str, Any], where: str) -> Faults:
        yield from _choose(desired, "schemaVersion", AGENT_SCHEMAS, where)
        schema = str(desired.get("schemaVersion"))
        yield from self._runtime(desired.get("runtime"), f"{where}.runtime")
        system, modules = desired.get("systemModules"), desired.get("modules")
        for name in _SYSTEM:
            member = system.get(name) if isinstance(system, dict) else None
            if not isinstance(member, dict):
                yield f"{where}.systemModules.{name}: is missing"
                continue
            place = f"{where}.systemModules.{name}"
            yield from _choose(member, "type", ("docker",), place)
            if name == "edgeHub":
                yield from _choose(member, "status", ("running",), place)
                yield from _choose(member, "restartPolicy", ("always",), place)
            yield from self._settings(member.get("settings"), f"{place}.settings")
            yield from self._env(member.get("env", {}), f"{place}.env")
        if not isinstance(modules, dict):
            yield f"{where}.modules: is missing"
            return
        for name, module in modules.items():
            yield from self._module(name, module, f"{where}.modules.{name}", schema)

    def _runtime(self, runtime: object, where: str) -> Faults:
        settings = runtime.get("settings") if isinstance(runtime, dict) else None
        if not isinstance(runtime, dict) or not isinstance(settings, dict):
            yield f"{where}: wants a type and settings"
            return
        yield from _choose(runtime, "type", ("docker",), where)
        logins = settings.get("registryCredentials", {})
        if not isinstance(logins, dict):
            yield f"{where}.settings.registryCredentials: not an object"
            return
        for name, login in logins.items():
            yield from self._login(name, login, f"{where}.settings.registryCredentials.{name}")

    def _login(self, name: str, login: object, where: str) -> Faults:
        if not PLAIN_NAME.fullmatch(name):
            yield f"{where}: a name without dot, $, # and blank"
        members = {"username", "password", "address"}
        if not isinstance(login, dict) or set(login) != members or not all(isinstance(value, str) for value in login.values()):
            yield f"{where}: wants username, password and address, as texts"
        elif not login["address"] or re.search(r"\s", login["address"]):
            yield f"{where}.address: no address: {login['address']!r}"

    def _module(self, name: str, module: object, where: str, schema: str) -> Faults:
        if not MODULE_NAME.fullmatch(name) or name in _SYSTEM:
            yield f"{where}: no name for a module: letters, digits, _ and -"
        if not isinstance(module, dict):
            yield f"{where}: not an object"
            return
        yield from _choose(module, "type", ("docker",), where)
        yield from _choose(module, "status", ("running", "stopped"), where)
        yield from _choose(module, "restartPolicy", RESTARTS, where)
        if "imagePullPolicy" in module:
            yield from _choose(module, "imagePullPolicy", ("on-create", "never"), where)
        if not isinstance(module.get("version", ""), str):
            yield f"{where}.version: not a text"
        if "startupOrder" in module:
            yield from _number(module["startupOrder"], _LONGEST, f"{where}.startupOrder")
            if schema == "1.0":
                yield f"{where}.startupOrder: edgeAgent knows it from schemaVersion 1.1 on, this is {schema}"
        yield from self._settings(module.get("settings"), f"{where}.settings")
        yield from self._env(module.get("env", {}), f"{where}.env")

    def _settings(self, settings: object, where: str) -> Faults:
        image = settings.get("image") if isinstance(settings, dict) else None
        if not isinstance(settings, dict) or not isinstance(image, str):
            yield f"{where}.image: is missing"
            return
        if not self._is_image(image):
            yield f"{where}.image: edgeAgent cannot read {image!r}: NAME:TAG or NAME@sha256:…, not both"
        for key, value in settings.items():
            if _PIECE.fullmatch(key) and isinstance(value, str) and len(value) > PIECE and not self._template:
                yield f"{where}.{key}: {len(value)} characters, at most {PIECE}"
        try:
            join_create_options(settings, f"{where}.createOptions")
        except FormatError as error:
            if not (self._template and "${" in str(settings)):
                yield str(error)

    def _is_image(self, image: str) -> bool:
        if self._template and "${" in image:
            return True
        if image.startswith("$"):
            return bool(_UPSTREAM.fullmatch(image))
        return bool(_IMAGE.fullmatch(image)) and not re.search(r"\s", image)

    def _env(self, env: object, where: str) -> Faults:
        if not isinstance(env, dict):
            yield f"{where}: not an object"
            return
        for name, member in env.items():
            if not ENV_NAME.fullmatch(name):
                yield f"{where}.{name}: a name without dot, $, #, + and blank"
            if not isinstance(member, dict) or set(member) != {"value"} or not isinstance(member["value"], str | int | float):
                yield f'{where}.{name}: wants {{"value": a text, a number, true or false}}'

    def _hub(self, desired: Mapping[str, Any], where: str) -> Faults:
        yield from _choose(desired, "schemaVersion", HUB_SCHEMAS, where)
        schema = str(desired.get("schemaVersion"))
        routes, storing = desired.get("routes"), desired.get("storeAndForwardConfiguration", {"timeToLiveSecs": 0})
        if not isinstance(routes, dict):
            yield f"{where}.routes: is missing"
        else:
            for name, route in routes.items():
                yield from self._route(name, route, f"{where}.routes.{name}", schema)
        if not isinstance(storing, dict):
            yield f"{where}.storeAndForwardConfiguration: not an object"
        else:
            yield from _number(storing.get("timeToLiveSecs"), _LONGEST, f"{where}.storeAndForwardConfiguration.timeToLiveSecs")
        if "mqttBroker" in desired and schema != "1.2":
            yield f"{where}.mqttBroker: edgeHub knows it from schemaVersion 1.2 on, this is {schema}"

    def _route(self, name: str, route: object, where: str, schema: str) -> Faults:
        if not PLAIN_NAME.fullmatch(name):
            yield f"{where}: a name without dot, $, # and blank"
        text = route.get("route") if isinstance(route, dict) else route
        if isinstance(route, dict):
            if schema == "1.0":
                yield f"{where}: edgeHub knows priorities from schemaVersion 1.1 on, this is {schema}"
            for key, most in (("priority", 9), ("timeToLiveSecs", _LONGEST)):
                if key in route:
                    yield from _number(route[key], most, f"{where}.{key}")
        if not isinstance(text, str) or not (_ROUTE.fullmatch(text.strip()) or (self._template and "${" in text)):
            yield f'{where}: no route: FROM /messages/… INTO $upstream, or INTO BrokeredEndpoint("/modules/NAME/inputs/INPUT")'


def _members(part: Mapping[str, Any], group: str) -> Iterator[tuple[str, str, Any]]:
    """A layer's whole modules, logins or routes; what changes only a part of one (``….env.KEY``) is left out."""
    prefix = f"{DESIRED}.{group}."
    for key, value in part.items():
        name = key.removeprefix(prefix)
        if key.startswith(prefix) and "." not in name:
            yield key, name, value


def _choose(value: Mapping[str, Any], key: str, allowed: tuple[str, ...], where: str) -> Faults:
    if value.get(key) not in allowed:
        yield f"{where}.{key}: {value.get(key)!r}, expected {' or '.join(allowed)}"


def _number(value: object, most: int, where: str) -> Faults:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        yield f"{where}: {str(value)[:40]}, expected a whole number up to {most}"


# -- twins


def _check_twin(part: object, name: str) -> Faults:
    """IoT Hub's own limits, for what a part of the manifest makes of a module's twin."""
    if not isinstance(part, dict):
        yield f"{name}: not an object"
        return
    for key, value in part.items():
        if key != DESIRED and not key.startswith(f"{DESIRED}."):
            continue  # said where it belongs
        yield from _walk(value, f"{name}.{key}", key.count(".") - 1)
    size = sum(_measure(value) + len(key.encode("utf-8", "replace")) for key, value in part.items())
    if size > MAX_TWIN:
        yield f"{name}: {size} bytes of desired properties, at most {MAX_TWIN} fit in a module's twin"


def _walk(value: object, where: str, depth: int) -> Faults:
    if depth > MAX_DEPTH:
        yield f"{where}: deeper than {MAX_DEPTH} levels"
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not _TWIN_NAME.fullmatch(key):
                yield f"{where}: a name that twins do not take: {key!r}"
            yield from _walk(inner, f"{where}.{key}", depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner, where, depth + 1)
    elif isinstance(value, str) and len(value.encode("utf-8", "replace")) > MAX_TEXT:
        yield f"{where}: a text of {len(value)} characters; twins take {MAX_TEXT} bytes"
    elif isinstance(value, int) and not -_LARGEST - 1 <= value <= _LARGEST:
        yield f"{where}: {str(value)[:40]} is too large a number"


def _measure(value: object) -> int:
    """As IoT Hub counts: names and texts in UTF-8, 8 bytes a number, 4 a truth value."""
    if isinstance(value, dict):
        return sum(len(key.encode("utf-8", "replace")) + _measure(inner) for key, inner in value.items())
    if isinstance(value, list):
        return sum(map(_measure, value))
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    return 4 if isinstance(value, bool) else 8 if isinstance(value, int | float) else 0
