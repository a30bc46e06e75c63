"""Who we are to a registry: what its 401 asks for and what is then sent (distribution's token specification, RFC 6750, RFC
7617).

Pure decisions plus one exchange with the token server. Rules: a credential goes to the registry that it was kept for,
and to the token server which that registry named over the same or better transport; never anywhere else, and never into
a text. A token is fetched once for a set of scopes and used until shortly before its end. Refused: token servers over
plain http (loopback apart), schemes other than Basic and Bearer.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

from wherry.errors import TransferError
from wherry.formats.urls import place
from wherry.store.http import Exchange, Response, discard
from wherry.store.registry_http import Transport, read_body

_PARAMETER = re.compile(r'([a-zA-Z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(r"(?:^|,)\s*(Basic|Bearer)\b", re.IGNORECASE)
_TOKEN_LIMIT = 1 << 20
_EARLY = 10.0  # seconds before its end at which a token counts as spent


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A login: user and password, or an identity token, or a bearer token as it is. Never shown."""

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What was found for a registry. `notes` say what was tried in vain, for whoever gets a 401."""

    credential: Credential | None = None
    notes: tuple[str, ...] = ()


Credentials = Callable[[str, str], Login]
"""The port to where credentials are kept: from registry and repository to a login."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    scheme: str  # basic or bearer
    realm: str = ""
    service: str = ""
    scope: str = ""


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    ends: float


def anonymous(registry: str, repository: str) -> Login:  # noqa: ARG001 - the port's shape
    """Nobody."""
    return Login()


def parse_challenges(headers: list[str]) -> tuple[Challenge, ...]:
    """Read `WWW-Authenticate` headers; what is neither Basic nor Bearer is left out."""
    found = []
    for header in headers:
        starts = [*_SCHEME.finditer(header)]
        ends = [start.start() for start in starts[1:]] + [len(header)]
        for start, end in zip(starts, ends, strict=False):
            pairs = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(header[start.end() : end])}
            chosen = {name: re.sub(r"\\(.)", r"\1", pairs.get(name, "")) for name in ("realm", "service", "scope")}
            found.append(Challenge(scheme=start[1].lower(), **chosen))
    return tuple(found)


class Authorizer:
    """The state of one registry's logins: the challenge it gave and the tokens got. Safe to share among threads."""

    def __init__(self, transport: Transport, login: Callable[[], Login], clock: Callable[[], float] = time.monotonic) -> None:
        self._transport = transport
        self._find_login = login
        self._login: Login | None = None
        self._clock = clock
        self._lock = threading.RLock()
        self._challenge: Challenge | None = None
        self._base = ""
        self._tokens: dict[tuple[str, ...], _Token] = {}

    @property
    def login(self) -> Login:
        with self._lock:
            if self._login is None:
                self._login = self._find_login()
            return self._login

    def header(self, scopes: tuple[str, ...]) -> dict[str, str]:
        """What to send along now, with what the registry has asked for so far."""
        with self._lock:
            challenge = self._challenge
            if challenge is None:
                return {}
            if challenge.scheme == "basic":
                return {"Authorization": _basic(self.login.credential)} if self.login.credential else {}
            token = self._token(challenge, scopes)
            return {"Authorization": f"Bearer {token}"} if token else {}

    def answer(self, response: Response, url: str, scopes: tuple[str, ...], sent: str | None) -> bool:
        """Take in a 401; True when a request with the header that now comes has a chance. `sent` is the refused one."""
        offered = parse_challenges(response.headers.getlist("WWW-Authenticate"))
        usable = [one for one in offered if one.scheme == "bearer"] or [one for one in offered if one.scheme == "basic"]
        if not usable:
            return False
        with self._lock:
            self._base = url
            self._challenge = usable[0]
            known = self._tokens.get(scopes)
            if known and sent == f"Bearer {known.text}":
                del self._tokens[scopes]
            return self.header(scopes).get("Authorization") not in (None, sent)

    def _token(self, challenge: Challenge, scopes: tuple[str, ...]) -> str:
        credential = self.login.credential
        if credential and credential.registry_token:
            return credential.registry_token
        known = self._tokens.get(scopes)
        if known and known.ends > self._clock():
            return known.text
        token = self._fetch_token(challenge, tuple(dict.fromkeys((*scopes, *challenge.scope.split()))), credential)
        self._tokens[scopes] = token
        return token.text

    def _fetch_token(self, challenge: Challenge, scopes: tuple[str, ...], credential: Credential | None) -> _Token:
        self._transport.check_url(challenge.realm, origin=self._base)
        exchange = self._ask(challenge, scopes, credential)
        response = exchange.response
        if response.status != 200:
            discard(response)
            raise TokenRefusedError(
                f"the token server answered {response.status}", where=place(challenge.realm), status=response.status
            )
        try:
            document = json.loads(read_body(response, _TOKEN_LIMIT, challenge.realm))
            text = document.get("token") or document.get("access_token")
            seconds = float(document.get("expires_in") or 60)
        except (ValueError, AttributeError, TypeError):
            text, seconds = None, 0.0
        if not isinstance(text, str) or not text.isprintable() or not text:
            raise TransferError("the token server's answer has no token", where=place(challenge.realm))
        return _Token(text, self._clock() + max(seconds - _EARLY, seconds / 2))

    def _ask(self, challenge: Challenge, scopes: tuple[str, ...], credential: Credential | None) -> Exchange:
        service = [("service", challenge.service)] if challenge.service else []
        if credential and credential.identity_token:
            form = [("grant_type", "refresh_token"), ("refresh_token", credential.identity_token), *service]
            form += [("scope", " ".join(scopes)), ("client_id", "wherry")]
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return self._transport.exchange("POST", challenge.realm, headers, urlencode(form).encode())
        query = urlencode([*service, *(("scope", scope) for scope in scopes)])
        headers = {"Authorization": _basic(credential)} if credential else {}
        return self._transport.exchange("GET", f"{challenge.realm}{'&' if '?' in challenge.realm else '?'}{query}", headers)


class TokenRefusedError(TransferError):
    """The token server said no. `status` is its HTTP status."""

    def __init__(self, what: str, *, where: str, status: int) -> None:
        super().__init__(what, where=where)
        self.status = status


def _basic(credential: Credential | None) -> str:
    login = f"{credential.user}:{credential.password}" if credential else ":"
    return f"Basic {base64.b64encode(login.encode()).decode()}"
