"""The grammar of ``[score.mqtt]``: where readings come from, where telemetry goes, and what of it is left away.

No secret is written there: `user`, `password` and, where it pleases, addresses are references, ``env:NAME`` or ``file:/path``.
"""

from __future__ import annotations

import re

import msgspec

from wherry.declare.lengths import parse_size, parse_time
from wherry.errors import DeclarationError
from wherry.model.scoring import Broker, Method, MqttModule, Reduction

_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/.+")
_ADDRESS = re.compile(r"mqtts?://[^/@\s]+/?")
_FIELD = re.compile(r"(?:reading|result)(?:\.[^.\s]+)+")


class _Table(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    pass


class BrokerTable(_Table, frozen=True, kw_only=True):
    url: str
    user: str | None = None
    password: str | None = None
    authority: str | None = None
    certificate: str | None = None
    key: str | None = None


class ReduceTable(_Table, frozen=True, kw_only=True):
    fields: list[str]
    method: Method
    topic: str = "#"
    window: str | None = None
    points: int | None = None
    band: float | None = None
    silence: str | None = None
    always: str | None = None


class MqttTable(_Table, frozen=True, kw_only=True):
    broker: str | BrokerTable
    readings: str
    results: str = "wherry/{device}/telemetry"
    upstream: str | BrokerTable | None = None
    id: str = "id"
    time: str = "time"
    keep: str = "64MiB"
    reduce: list[ReduceTable] = []


def parse_mqtt(table: MqttTable, where: str) -> MqttModule:
    """The module that was asked for."""
    return MqttModule(
        broker=_parse_broker(table.broker, f"{where}.broker"),
        readings=_check_topic(table.readings, f"{where}.readings", filters=True),
        results=_check_topic(table.results, f"{where}.results", filters=False),
        upstream=None if table.upstream is None else _parse_broker(table.upstream, f"{where}.upstream"),
        id=table.id,
        time=table.time,
        keep=parse_size(table.keep, f"{where}.keep"),
        reductions=tuple(_parse_reduction(rule, f"{where}.reduce[{number}]") for number, rule in enumerate(table.reduce)),
    )


def _parse_broker(value: str | BrokerTable, where: str) -> Broker:
    table = BrokerTable(url=value) if isinstance(value, str) else value
    if not _ADDRESS.fullmatch(table.url) and not _REFERENCE.fullmatch(table.url):
        hint = '"mqtts://HOST:8883" or "env:NAME"; a login goes to user and password'
        raise DeclarationError("not the address of a broker", where=where, hint=hint)
    for name in ("user", "password"):
        given = getattr(table, name)
        if given is not None and not _REFERENCE.fullmatch(given):
            raise DeclarationError("not a reference", where=f"{where}.{name}", hint='"env:NAME" or "file:/run/secrets/NAME"')
    if table.key is not None and table.certificate is None:
        raise DeclarationError("a key without a certificate", where=f"{where}.key")
    return Broker(
        url=table.url,
        user=table.user,
        password=table.password,
        authority=table.authority,
        certificate=table.certificate,
        key=table.key,
    )


def _check_topic(text: str, where: str, *, filters: bool) -> str:
    """By the rules of MQTT 3.1.1, section 4.7."""
    levels = text.split("/")
    odd = any(("#" in level and level != "#") or ("+" in level and level != "+") for level in levels) or "#" in levels[:-1]
    if not text or odd or "\0" in text or len(text.encode()) > 65535 or (not filters and ("#" in text or "+" in text)):
        raise DeclarationError(
            f"{text!r} is no topic{' filter' if filters else ''}", where=where, hint='"plant/+/readings"' if filters else None
        )
    return text


def _parse_reduction(table: ReduceTable, where: str) -> Reduction:
    for path in (*table.fields, *([table.always] if table.always else [])):
        if not _FIELD.fullmatch(path):
            raise DeclarationError(f"{path!r} is no field", where=where, hint='"reading.celsius" or "result.anomaly"')
    if not table.fields or any(one != other and other.startswith(f"{one}.") for one in table.fields for other in table.fields):
        raise DeclarationError("no fields, or one within another", where=f"{where}.fields", hint='fields = ["reading.celsius"]')
    _refuse_others(table, where)
    least = {Method.LTTB: 3, Method.MIN_MAX: 2}.get(table.method, 1)
    points = 4 if table.points is None else table.points
    if not least <= points <= 10_000:
        raise DeclarationError(f"{points} points cannot be kept", where=f"{where}.points", hint=f"{least} or more")
    band = 0.0 if table.band is None else table.band
    if not 0 <= band < float("inf"):
        raise DeclarationError(f"{band} is no width of a band", where=f"{where}.band")
    window = 60.0 if table.window is None else parse_time(table.window, f"{where}.window")
    if not 0 < window <= 86400:
        raise DeclarationError(f"{table.window!r} is no window", where=f"{where}.window", hint="a day at most")
    return Reduction(
        topic=_check_topic(table.topic, f"{where}.topic", filters=True),
        fields=tuple(table.fields),
        method=table.method,
        window=window,
        points=points,
        band=float(band),
        silence=None if table.silence is None else parse_time(table.silence, f"{where}.silence"),
        always=table.always,
    )


def _refuse_others(table: ReduceTable, where: str) -> None:
    """Keys that this method does not read are an error, not passed over."""
    read = {"window"} if table.method.has_window else {"band", "silence"}
    if table.method in (Method.LTTB, Method.MIN_MAX):
        read.add("points")
    given = {name for name in ("window", "points", "band", "silence") if getattr(table, name) is not None}
    if unread := sorted(given - read):
        raise DeclarationError(
            f"{table.method.value} has no {', '.join(unread)}", where=where, hint=f"it has {', '.join(sorted(read))}"
        )
    if table.method is Method.DEAD_BAND and table.band is None:
        raise DeclarationError("how wide is the band?", where=where, hint="band = 0.5")
