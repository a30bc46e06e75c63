"""What probes ask of this machine, for real (`HostPorts`). Requests are few, small, made once, and each has an end."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from wherry.check.host import Server, ServerAnswer
from wherry.engines.choice import make_engine
from wherry.engines.device_choice import make_device_engine
from wherry.engines.network_probe import Target, Tried, try_network
from wherry.engines.port import EngineInfo
from wherry.errors import TransferError
from wherry.formats.urls import login_in, strip_login
from wherry.model.host import Space
from wherry.sources.credentials import keep_credentials
from wherry.store.host_state import read_space
from wherry.store.http import ConnectionProblem, Connections, Response, discard, find_proxy, is_loopback
from wherry.store.places import cache_path
from wherry.store.posix import is_root
from wherry.store.registry_http import Patience, Transport, explain_http_error
from wherry.store.registry_session import Call, RegistrySession

_SECONDS = 6.0
_CONTAINER = 20.0
_PORTS = {"http": 80, "https": 443}


def describe_registry(name: str, env: Mapping[str, str], *, plain_http: bool = False) -> Server:
    """The registry of this host name."""
    url = Transport(env, plain_http=plain_http).base_url(name) + "/v2/"
    return _describe(name, url, env, is_registry=True)


def describe_index(url: str, env: Mapping[str, str]) -> Server:
    """An index of packages; its login, if it has one in its address, is not shown."""
    return _describe(urlsplit(url).hostname or url, url, env, is_registry=False)


def _describe(name: str, url: str, env: Mapping[str, str], *, is_registry: bool) -> Server:
    """Where a proxy stands in between, that is what containers have to reach."""
    own = urlsplit(url)
    proxy = None if is_loopback(own.hostname or "") else find_proxy(url, env)
    parts = urlsplit(proxy) if proxy else own
    host = parts.hostname or ""
    port = parts.port or _PORTS.get(parts.scheme, 443)
    target = Target(host=host, port=port, is_name=not host.replace(".", "").isdigit() and ":" not in host)
    return Server(name=name, url=url, target=target, is_local=is_loopback(host), is_registry=is_registry)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThisMachine:
    """`certificates` and `trusted_hosts` are those of the index's configuration."""

    env: Mapping[str, str]
    certificates: Path | None = None
    trusted_hosts: tuple[str, ...] = ()
    plain_http: bool = False
    root: Path = Path("/")

    @property
    def is_root(self) -> bool:
        return is_root()

    def probe_engine(self, name: str) -> EngineInfo:
        return make_engine(name, self.env).probe()

    def run_container(self, engine: str, targets: Sequence[Target]) -> Tried:
        return try_network(make_device_engine(engine, self.env, cache_path(self.env)), self.env, targets, _CONTAINER)

    def ask_server(self, server: Server) -> ServerAnswer:
        connections = Connections(
            self.env,
            connect=_SECONDS,
            stall=_SECONDS,
            certificates=None if server.is_registry else self.certificates,
            trusted_hosts=() if server.is_registry else self.trusted_hosts,
            proxy_of=lambda url: None if server.is_local else find_proxy(url, self.env),
        )
        try:
            login = login_in(server.url)
            headers = {"Authorization": "Basic " + b64encode(":".join(login).encode()).decode()} if login else {}
            exchange = connections.exchange("GET" if server.is_registry else "HEAD", strip_login(server.url), headers)
            discard(exchange.response)
        except ConnectionProblem as problem:
            raise explain_http_error(problem, server.url) from None
        except ValueError:
            raise TransferError("not a web address", where=server.name) from None
        finally:
            connections.close()
        response = exchange.response
        if response.status >= 500:
            raise TransferError(f"answers {response.status}", hint="again later")
        return ServerAnswer(date=_read_date(response), wants_login=response.status == 401)

    def try_login(self, server: Server) -> bool:
        credentials = keep_credentials(self.env)
        if credentials(server.name, "").credential is None:
            return False
        patience = Patience(connect=_SECONDS, stall=_SECONDS, attempts=1)
        transport = Transport(self.env, patience=patience, plain_http=self.plain_http)
        try:
            session = RegistrySession(server.name, "", transport, credentials)
            discard(session.request(Call(method="GET", url=server.url, scopes=(), repeat=False), {200}))
        finally:
            transport.close()
        return True

    def read_space(self, place: Path) -> Space:
        return read_space(place)

    def now(self) -> datetime:
        return datetime.now(UTC)


def _read_date(response: Response) -> datetime | None:
    with suppress(ValueError, TypeError):
        found = parsedate_to_datetime(response.headers.get("Date", ""))
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return None
