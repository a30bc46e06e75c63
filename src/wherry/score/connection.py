"""A connection to a broker of MQTT (3.1.1): where it is and how it knows us, by reference; again after each break.

A reference is ``env:NAME`` or ``file:/path``, whose value is read when it is needed; anything else stands for itself.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from wherry.errors import DeclarationError, StoreError
from wherry.model.scoring import Broker

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_SOONEST, _LATEST = 1, 120  # seconds between two attempts
_KEEP_ALIVE = 60
_HINT = "mqtt://HOST:PORT or mqtts://HOST:PORT"


def resolve_reference(text: str, env: Mapping[str, str], where: str) -> str:
    """The value that a text stands for."""
    kind, colon, name = text.partition(":")
    if colon and kind == "env":
        if name not in env:
            raise DeclarationError(f"${name} is not set", where=where, hint=f"-e {name}=…")
        return env[name]
    if colon and kind == "file":
        try:
            return Path(name).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"cannot be read: {error}", where=f"{where}: {name}", hint="mount it: -v …:ro") from error
    return text


def make_client(
    broker: Broker, name: str, env: Mapping[str, str], *, acknowledge: bool = False, keep_session: bool = False
) -> Client:
    """A client that is not connected yet. With `acknowledge` what came is confirmed by hand; with `keep_session` the broker
    keeps what comes while we are away."""
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=name,
        clean_session=not keep_session,
        protocol=MQTTProtocolVersion.MQTTv311,
        manual_ack=acknowledge,
    )
    client.reconnect_delay_set(_SOONEST, _LATEST)
    host, port, secure = parse_address(resolve_reference(broker.url, env, "broker"))
    if broker.user is not None:
        password = resolve_reference(broker.password, env, "password") if broker.password is not None else None
        client.username_pw_set(resolve_reference(broker.user, env, "user"), password)
    if secure:
        client.tls_set_context(_make_context(broker, env))
    # By itself it connects in its own thread, as soon as that runs, and again whenever it has to.
    client.connect_async(host, port, _KEEP_ALIVE)
    return client


def parse_address(url: str) -> tuple[str, int, bool]:
    """Host, port, and whether it speaks TLS. Logins in addresses end up in logs, and are refused."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise DeclarationError(f"not the address of a broker: {error}", where="broker", hint=_HINT) from None
    if parts.scheme not in _PORTS or not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise DeclarationError("not the address of a broker", where="broker", hint=_HINT)
    if "@" in parts.netloc:
        raise DeclarationError(
            "an address with a login", where="broker", hint='user = "env:NAME", password = "file:/run/secrets/mqtt"'
        )
    return host, port or _PORTS[parts.scheme], parts.scheme == "mqtts"


def say_connections(client: Client, what: str) -> None:
    """Tell the log of every break, and why it did not come to a connection."""
    client.on_connect_fail = lambda *_: _tell(what, "cannot be reached, trying again")
    client.on_disconnect = lambda _client, _data, _flags, reason, _properties: _tell(what, f"disconnected: {reason}")


def is_refused(what: str, reason: ReasonCode) -> bool:
    """Whether the broker answered that it does not want us; then the log says why, and it is tried again."""
    if reason.is_failure:
        _tell(what, f"refused: {reason}")
    return bool(reason.is_failure)


def _tell(what: str, text: str) -> None:
    print(f"mqtt: {what}: {text}", file=sys.stderr, flush=True)


def _make_context(broker: Broker, env: Mapping[str, str]) -> ssl.SSLContext:
    def path(text: str | None, where: str) -> str | None:
        return (
            None if text is None else resolve_reference(text, env, where) if text.startswith("env:") else text.removeprefix("file:")
        )

    try:
        context = ssl.create_default_context(cafile=path(broker.authority, "authority"))
        if (certificate := path(broker.certificate, "certificate")) is not None:
            context.load_cert_chain(certificate, path(broker.key, "key"))
    except (OSError, ssl.SSLError) as error:
        raise StoreError(f"a certificate cannot be read: {error}", where="broker", hint="mount it: -v …:ro") from error
    return context
