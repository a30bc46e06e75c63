"""What a channel's TUF targets say of one platform's image (docs/spec/channel.md, "A target"): values and back.

`custom` is made canonical and small: no member that says nothing, so that it compresses against its predecessor.
Refused: another form than the specified one, more layers than an image can have, sizes out of reason. Unknown members
are let be: a later wherry may say more. Opens nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from wherry.errors import DeclarationError, FormatError
from wherry.model.digest import DiffId, Digest
from wherry.model.platform import Platform
from wherry.model.release import Health, ReleaseLayer, ReleaseTarget

MAX_LAYERS = 512
MAX_MANIFEST = 4 << 20
MAX_LAYER = 1 << 40
MAX_MEMORY = 1 << 32
MAX_RELEASE = 1 << 53
_HEALTH = {"command", "http", "log", "within", "seconds"}
_T = TypeVar("_T")


def render_release_custom(target: ReleaseTarget) -> dict[str, Any]:
    """The `custom` member of a platform's TUF target."""
    custom: dict[str, Any] = {
        "layers": [{"diff_id": str(layer.diff_id), "size": layer.size} for layer in target.layers],
        "release": target.release,
    }
    if target.memory:
        custom["memory"] = target.memory
    if target.health:
        custom["health"] = _render_health(target.health)
    return custom


def parse_release_target(path: str, length: int, sha256: str, custom: object) -> ReleaseTarget:
    """Read a TUF target: its path, its length, its sha256 in hex and its `custom`."""
    where = f"targets.json: {path[:80]}"
    try:
        platform = Platform.parse(path)
    except DeclarationError as error:
        raise FormatError(error.what, where=where) from error
    if str(platform) != path:
        raise FormatError(f"a platform is written {platform}", where=where)
    value = _typed(custom, dict, where, "custom")
    layers = _typed(value.get("layers"), list, where, "layers")
    if len(layers) > MAX_LAYERS:
        raise FormatError(f"{len(layers)} layers, at most {MAX_LAYERS} are possible", where=where)
    health = value.get("health")
    return ReleaseTarget(
        platform=platform,
        manifest=Digest.parse(f"sha256:{sha256}"),
        size=_number(length, 1, MAX_MANIFEST, where, "length"),
        release=_number(value.get("release"), 1, MAX_RELEASE, where, "release"),
        layers=tuple(_parse_layer(layer, where) for layer in layers),
        health=None if health is None else _parse_health(health, where),
        memory=_number(value.get("memory", 0), 0, MAX_MEMORY, where, "memory"),
    )


def _parse_layer(layer: object, where: str) -> ReleaseLayer:
    value = _typed(layer, dict, where, "a layer")
    return ReleaseLayer(
        diff_id=DiffId.parse(_typed(value.get("diff_id"), str, where, "diff_id")),
        size=_number(value.get("size"), 0, MAX_LAYER, where, "size"),
    )


def _render_health(health: Health) -> dict[str, Any]:
    given: dict[str, Any] = {"command": list(health.command), "http": health.http, "log": health.log}
    return {name: value for name, value in given.items() if value} | {"within": health.within, "seconds": health.seconds}


def _parse_health(health: object, where: str) -> Health:
    value: Mapping[str, Any] = _typed(health, dict, where, "health")
    if unknown := sorted(set(value) - _HEALTH):
        # Not let be: a device that does not understand a check must not take the release for well.
        raise FormatError(f"an unknown health check: {', '.join(unknown)[:80]}", where=where, hint="a newer wherry-agent")
    command = _typed(value.get("command", []), list, where, "command")
    return Health(
        command=tuple(_typed(word, str, where, "command") for word in command),
        http=_typed(value.get("http", ""), str, where, "http"),
        log=_typed(value.get("log", ""), str, where, "log"),
        within=_number(value.get("within"), 1, 86_400, where, "within"),
        seconds=_number(value.get("seconds"), 0, 86_400, where, "seconds"),
    )


def _typed(value: object, kind: type[_T], where: str, name: str) -> _T:
    if not isinstance(value, kind):
        raise FormatError(f"{name} is {type(value).__name__}, expected {kind.__name__}", where=where)
    return value


def _number(value: object, least: int, most: int, where: str, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise FormatError(f"{name} is {str(value)[:40]}, expected a number from {least} to {most}", where=where)
    return value
